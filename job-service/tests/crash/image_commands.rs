//! `images import` and `images verify`: the pictures of the earlier
//! application, and whether every image is where its row says.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Output,
};

use image::{ImageFormat, RgbImage};
use job_service::config::{DATABASE_FILE, IMAGES_FOLDER};
use serde_json::{Value, json};
use service_kit::exit::Exit;
use stablequeue_proto::jobs::v1::{
    Image, ListJobImagesRequest, job_service_client::JobServiceClient,
};
use tempfile::TempDir;

use crate::{
    program::{Program, command},
    world::{Client, World},
};

const TEXT: &str = "a castle\nSteps: 20, Sampler: Euler, Seed: 77, Size: 6x4";
const OLD: &str = "old-done";

fn ended(arguments: &[&str], data_dir: &Path) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command(arguments, data_dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn said(arguments: &[&str], data_dir: &Path) -> String {
    let (code, said, errors) = ended(arguments, data_dir);
    assert_eq!(code, Some(0), "{arguments:?}: {said}{errors}");
    said
}

fn code(exit: Exit) -> Option<i32> {
    Some(exit.code().into())
}

/// A PNG with the text that Forge writes.
fn png(path: &Path) {
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), 6, 4);
    encoder.set_color(png::ColorType::Rgb);
    encoder
        .add_text_chunk("parameters".to_owned(), TEXT.to_owned())
        .unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[9; 6 * 4 * 3]).unwrap();
}

/// An old folder of pictures, and a data folder with the job that names them.
struct Old {
    folder: TempDir,
    pictures: PathBuf,
}

impl Old {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pictures = folder.path().join("output");
        fs::create_dir(&pictures).unwrap();
        png(&pictures.join("a.png"));
        let jpeg = RgbImage::new(5, 3);
        jpeg.save_with_format(pictures.join("b.jpg"), ImageFormat::Jpeg)
            .unwrap();
        fs::write(pictures.join("notes.txt"), "no picture").unwrap();
        png(&folder.path().join("secret.png"));
        let outside = folder.path().join("secret.png");
        std::os::unix::fs::symlink(&outside, pictures.join("link.png")).unwrap();
        let names = json!([
            "a.png",
            "gone.png",
            "b.jpg",
            "../secret.png",
            "notes.txt",
            "link.png",
            outside,
            "a.png"
        ]);
        let old = Self { folder, pictures };
        let list = json!([
            {"mobilesd_job_id": OLD, "status": "completed", "generation_params": {},
             "creation_timestamp": "2025-05-13T10:00:00.000Z",
             "result_details": {"images": ["other.png"], "saved_filenames": names,
                "generation_info": {"all_seeds": [5, 6, 7]}}},
            {"mobilesd_job_id": "old-broken", "status": "failed", "generation_params": {},
             "result_details": "Forge said no"},
            {"mobilesd_job_id": "old-bare", "status": "cancelled", "generation_params": {}},
        ]);
        let file = old.folder.path().join("job_queue.json");
        fs::write(&file, list.to_string()).unwrap();
        let flag = format!("--import-json={}", file.display());
        said(&["migrate", &flag], &old.data_dir());
        old
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn images(&self) -> PathBuf {
        self.data_dir().join(IMAGES_FOLDER)
    }

    fn import(&self, further: &[&str]) -> String {
        let pictures = self.pictures.to_str().unwrap();
        let arguments = [&["images", "import", pictures], further].concat();
        said(&arguments, &self.data_dir())
    }

    fn verify(&self) -> (Option<i32>, Value) {
        let (code, said, _) = ended(&["images", "verify", "--json"], &self.data_dir());
        (code, serde_json::from_str(&said).unwrap())
    }

    /// Every file below the folder of images.
    fn files(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.images()).unwrap();
        let folders = folders.map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> = folders
            .flat_map(|folder| fs::read_dir(folder).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }
}

#[test]
fn pictures_that_old_results_name_become_images_of_their_jobs_once() {
    let old = Old::new();
    let done: Value = serde_json::from_str(&old.import(&["--json"])).unwrap();
    assert_eq!(done["imported"], 3, "{done}");
    assert_eq!(done["missing"], 1, "{done}");
    assert_eq!(done["missing_files"][0]["name"], "gone.png");
    let refused = done["refused_files"].as_array().unwrap();
    let reasons: Vec<&str> = refused
        .iter()
        .map(|one| one["reason"].as_str().unwrap())
        .collect();
    for (reason, part) in
        reasons
            .iter()
            .zip(["leads out", "format is unknown", "link that", "leads"])
    {
        assert!(reason.contains(part), "{part}: {reasons:?}");
    }
    assert_eq!(reasons.len(), 4, "{reasons:?}");
    // The same file twice is one on disk, and the old one has a second name.
    let files = old.files();
    assert_eq!(files.len(), 2, "{files:?}");
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let theirs = [
        inode(&old.pictures.join("a.png")),
        inode(&old.pictures.join("b.jpg")),
    ];
    assert!(files.iter().all(|file| theirs.contains(&inode(file))));

    let again: Value = serde_json::from_str(&old.import(&["--json"])).unwrap();
    assert_eq!(
        (&again["imported"], &again["present"]),
        (&json!(0), &json!(3))
    );
    // A picture that turns up later is taken at its place.
    png(&old.pictures.join("gone.png"));
    let told = old.import(&[]);
    assert!(told.starts_with("imported 1 pictures of "), "{told}");
    assert!(told.contains("4 were refused"), "{told}");
    let (code_of, found) = old.verify();
    assert_eq!(code_of, code(Exit::Clean), "{found}");
    assert_eq!(
        (&found["files"], &found["unneeded"]),
        (&json!(2), &json!(0))
    );
}

#[test]
fn what_is_missing_or_another_is_told_and_what_nobody_needs_is_left() {
    let old = Old::new();
    old.import(&[]);
    let files = old.files();
    let unneeded = [
        old.images().join(format!("ab/ab{}.png", "0".repeat(62))),
        old.images().join("note.txt"),
        files[0].with_extension("webp"),
    ];
    for file in &unneeded {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "left").unwrap();
    }
    let (code_of, found) = old.verify();
    assert_eq!(code_of, code(Exit::Clean), "{found}");
    assert_eq!(
        (&found["unneeded"], &found["unneeded_bytes"]),
        (&json!(3), &json!(12))
    );
    assert!(unneeded.iter().all(|file| file.exists()));

    let whole = fs::read(&files[0]).unwrap();
    for (bytes, part) in [
        (
            Some([&whole[..whole.len() - 1], b"?"].concat()),
            "holds something else",
        ),
        (Some(whole[..9].to_vec()), "has 9 bytes"),
        (None, "is missing"),
    ] {
        // Not into the file itself, which is the old one too.
        fs::remove_file(&files[0]).unwrap();
        if let Some(bytes) = &bytes {
            fs::write(&files[0], bytes).unwrap();
        }
        let (code_of, found) = old.verify();
        assert_eq!(code_of, code(Exit::BadData), "{found}");
        assert_eq!(found["faults"][0]["job_id"], OLD);
        let fault = found["faults"][0]["fault"].as_str().unwrap();
        assert!(fault.contains(part), "{part}: {fault}");
        let (_, told, _) = ended(&["images", "verify"], &old.data_dir());
        assert!(
            told.contains(part) && told.contains("3 files, 12 bytes"),
            "{told}"
        );
        if bytes.is_none() {
            break;
        }
    }
}

#[test]
fn looking_leaves_no_file_beside_the_database_and_needs_one() {
    let old = Old::new();
    let beside = || fs::read_dir(old.data_dir()).unwrap().count();
    let before = beside();
    for arguments in [
        &["images", "verify"][..],
        &["migrate", "--status"],
        &["backups", "list"],
    ] {
        said(arguments, &old.data_dir());
        assert_eq!(beside(), before, "{arguments:?}");
    }
    let nowhere = tempfile::tempdir().unwrap();
    let pictures = old.pictures.to_str().unwrap();
    let own = old.images();
    fs::create_dir_all(&own).unwrap();
    let own = own.to_str().unwrap();
    let data_dir = old.data_dir();
    for (arguments, data_dir, part) in [
        (&["images", "verify"][..], nowhere.path(), "no database"),
        (
            &["images", "import", pictures],
            nowhere.path(),
            "no database",
        ),
        (
            &["images", "import", "/nowhere"],
            &data_dir,
            "the folder /nowhere",
        ),
        (
            &["images", "import", own],
            &data_dir,
            "folder of images of this service",
        ),
    ] {
        let (code_of, _, errors) = ended(arguments, data_dir);
        assert_eq!(code_of, code(Exit::BadConfiguration), "{errors}");
        assert!(errors.contains(part), "{part}: {errors}");
    }
    assert!(!nowhere.path().join(DATABASE_FILE).exists());
}

/// The images of a job, as callers see them.
async fn listed(program: &Program, job_id: &str) -> Vec<Image> {
    let url = format!("http://{}", program.serves().await);
    let mut client = JobServiceClient::connect(url).await.unwrap();
    let request = ListJobImagesRequest {
        job_id: job_id.to_owned(),
    };
    let answer = client.list_job_images(request).await.unwrap();
    answer.into_inner().images
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_pictures_are_served_and_a_running_service_is_looked_at_but_not_written_to() {
    let old = Old::new();
    let world = World::new().await;
    let data_dir = world.data_dir();
    fs::create_dir_all(&data_dir).unwrap();
    let flag = format!(
        "--import-json={}",
        old.folder.path().join("job_queue.json").display()
    );
    said(&["migrate", &flag], &data_dir);
    let pictures = old.pictures.to_str().unwrap();
    said(&["images", "import", pictures], &data_dir);

    let mut program = world.start(&[]);
    let images = listed(&program, OLD).await;
    let seen: Vec<_> = images
        .iter()
        .map(|image| {
            (
                image.position,
                image.seed,
                image.width,
                image.infotext.as_str(),
            )
        })
        .collect();
    assert_eq!(seen, [(0, 77, 6, TEXT), (2, 7, 5, ""), (7, 77, 6, TEXT)]);

    let mut client = Client::of(&program).await;
    let job = client.submit("a lighthouse").await;
    client.completed(&job).await;
    let found = said(&["images", "verify"], &data_dir);
    assert!(found.starts_with("3 images, "), "{found}");
    let (code_of, _, errors) = ended(&["images", "import", pictures], &data_dir);
    assert_eq!(code_of, code(Exit::Locked), "{errors}");
    assert!(errors.contains("stop that first"), "{errors}");
    program.terminate();
    assert!(program.ends().await.success());
}
