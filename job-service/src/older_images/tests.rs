use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::images::STAGING_FOLDER;

fn names(result: &str) -> Vec<Value> {
    NamedPictures::of(result).names
}

#[test]
fn the_saved_names_are_believed_before_the_other_list() {
    let both = r#"{"images":["00028.png"],"saved_filenames":["a.png","b.png"]}"#;
    assert_eq!(names(both), ["a.png", "b.png"]);
    let none_saved = r#"{"images":["a.png"],"saved_filenames":[]}"#;
    assert_eq!(names(none_saved), ["a.png"]);
    for nothing in [
        "",
        "[1]",
        "{}",
        r#"{"images":"a.png"}"#,
        r#"{"images":null}"#,
    ] {
        assert_eq!(names(nothing), Vec::<Value>::new(), "{nothing}");
    }
}

#[test]
fn more_pictures_than_a_job_may_have_are_told() {
    let many: Vec<String> = (0..=PICTURES_MAX).map(|at| format!("{at}.png")).collect();
    let named = NamedPictures::of(&json!({ "images": many }).to_string());
    assert_eq!(named.names.len(), PICTURES_MAX);
    assert_eq!(named.first_too_many, Some(json!("256.png")));
}

fn left(folder: &Path, name: Value) -> Option<String> {
    match beneath(folder, &name) {
        Ok(_) => None,
        Err(Left::Missing) => Some("missing".to_owned()),
        Err(Left::Refused(why)) => Some(why),
    }
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let all = tempfile::tempdir().unwrap();
    let all = fs::canonicalize(all.path()).unwrap();
    let folder = all.join("old");
    fs::create_dir_all(folder.join("deep")).unwrap();
    fs::write(all.join("secret"), "s").unwrap();
    fs::write(folder.join("deep/a.png"), "a").unwrap();
    std::os::unix::fs::symlink("../secret", folder.join("out.png")).unwrap();
    std::os::unix::fs::symlink("..", folder.join("up")).unwrap();
    std::os::unix::fs::symlink("deep/a.png", folder.join("in.png")).unwrap();

    assert_eq!(left(&folder, json!("deep/a.png")), None);
    assert_eq!(left(&folder, json!("in.png")), None);
    assert_eq!(left(&folder, json!("b.png")).unwrap(), "missing");
    assert_eq!(left(&folder, json!("deep/a.png/b")).unwrap(), "missing");
    let outside = all.join("secret").display().to_string();
    for (name, why) in [
        (json!("../secret"), "leads out"),
        (json!("deep/../../secret"), "leads out"),
        (json!(outside), "leads out"),
        (json!("out.png"), "link that leads out"),
        (json!("up/secret"), "link that leads out"),
        (json!("deep"), "no file"),
        (json!(""), "is none"),
        (json!("a\0b"), "is none"),
        (json!({"path": "a"}), "no name"),
    ] {
        let said = left(&folder, name.clone());
        assert!(
            said.as_ref().is_some_and(|said| said.contains(why)),
            "{name}: {said:?}"
        );
    }
}

fn stored() -> StoredImage {
    let folder = tempfile::tempdir().unwrap();
    let store = ImageStore::open(folder.path()).unwrap();
    let picture = folder.path().join("a.png");
    image::RgbImage::new(3, 2).save(&picture).unwrap();
    store.put(&store.stage_link(&picture).unwrap()).unwrap()
}

#[test]
fn the_seed_of_a_picture_is_that_of_its_text_or_of_the_result_or_is_not_known() {
    let text = "a\nSteps: 9, Sampler: Euler, Seed: 77, Size: 8x8";
    let later =
        r#"{"images":["a","b"],"generation_info":{"all_seeds":[5,6],"infotexts":["x","y"]}}"#;
    let earliest = r#"{"images":["a"],"all_seeds":[8]}"#;
    let as_text = r#"{"images":["a"],"generation_info":"{\"all_seeds\":[9]}"}"#;
    let broken = r#"{"images":["a"],"generation_info":{"all_seeds":"?"}}"#;
    for (result, at, said, seed) in [
        (later, 1, None, 6),
        (later, 1, Some(text), 77),
        (later, 7, None, SEED_UNKNOWN),
        (earliest, 0, None, 8),
        (as_text, 0, None, 9),
        (broken, 0, None, SEED_UNKNOWN),
    ] {
        let named = NamedPictures::of(result);
        let image = named.image(at, stored(), said.map(str::to_owned));
        assert_eq!(image.seed, seed, "{result}");
        assert_eq!((image.width, image.height), (3, 2));
        assert_eq!(image.verification, Verification::Unverified);
    }
    let image = NamedPictures::of(later).image(1, stored(), None);
    assert_eq!(image.infotext, "y");
}

proptest! {
    #[test]
    fn no_result_makes_it_panic(
        key in prop::sample::select(vec!["images", "saved_filenames", "generation_info"]),
        text in "[\\[\\]{}\",:0-9a-z.]{0,40}",
    ) {
        let named = NamedPictures::of(&format!("{{\"{key}\":{text}}}"));
        prop_assert!(named.names.len() <= PICTURES_MAX);
    }
}

#[test]
fn a_fault_of_our_folder_ends_the_import_and_is_not_the_picture_s() {
    let all = tempfile::tempdir().unwrap();
    let all = fs::canonicalize(all.path()).unwrap();
    let picture = image::RgbImage::new(5, 3);
    picture.save(all.join("a.png")).unwrap();
    let store = ImageStore::open(&all.join("images")).unwrap();
    let name = json!("a.png");
    assert!(matches!(taken(&store, &all, &name), Ok(Ok(_))));
    fs::remove_dir_all(all.join("images").join(STAGING_FOLDER)).unwrap();
    assert!(matches!(taken(&store, &all, &name), Err(Error::Images(_))));
}

#[test]
fn of_a_long_name_the_beginning_is_told() {
    let result = OlderResult {
        job_id: "1".to_owned(),
        result_json: String::new(),
    };
    let mut done = OlderImages::default();
    done.missing(&result, &json!("ö".repeat(NAME_BYTES_MAX)));
    done.refused(&result, &json!(["x".repeat(NAME_BYTES_MAX)]), String::new());
    assert_eq!(done.missing_files[0].name, "ö".repeat(NAME_BYTES_MAX / 2));
    assert_eq!(done.refused_files[0].name.len(), NAME_BYTES_MAX);
}
