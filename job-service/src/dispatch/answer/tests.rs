use std::fs;

use super::*;
use crate::images::ImageStore;

struct Folder {
    dir: tempfile::TempDir,
    store: ImageStore,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&dir.path().join("images")).unwrap();
        Self { dir, store }
    }

    fn read(&self, answer: &str) -> Result<Answer, AnswerError> {
        let spool = self.dir.path().join("answer.json");
        fs::write(&spool, answer).unwrap();
        read_answer(&spool, &self.store)
    }

    fn broken(&self, answer: &str) -> String {
        match self.read(answer) {
            Err(AnswerError::Broken(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    fn staged_files(&self) -> usize {
        fs::read_dir(self.dir.path().join("images/.staging"))
            .unwrap()
            .count()
    }
}

fn recorded(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/forge")
        .join(format!("{name}.response.txt"));
    let text = fs::read_to_string(file).unwrap();
    text[text.find("{\"images\"").unwrap()..].to_owned()
}

#[test]
fn a_recorded_answer_is_read() {
    let folder = Folder::new();
    let answer = folder
        .read(&recorded("02-txt2img/04-batch-size-2"))
        .unwrap();
    assert_eq!(answer.images.len(), 2);
    assert_eq!(answer.info.seeds, [7, 8]);
    assert_eq!(answer.info.sd_model_hash.as_deref(), Some("e3a7fe4d8c"));
    assert_eq!(answer.info.sampler_name.as_deref(), Some("Euler"));
    assert_eq!(answer.info.job_timestamp.as_deref(), Some("20261122112907"));
    for (at, image) in answer.images.iter().enumerate() {
        assert_eq!((image.width, image.height), (64, 64));
        assert_eq!(image.infotext.as_deref(), answer.info.infotext_of(at));
    }
    assert_eq!(folder.staged_files(), 2);
    drop(answer);
    assert_eq!(folder.staged_files(), 0);
}

#[test]
fn a_grid_shifts_the_seeds() {
    let folder = Folder::new();
    let name = "05-interrupt-skip/03-interrupt-batch_size-2-save_images.txt2img";
    let answer = folder.read(&recorded(name)).unwrap();
    assert_eq!(answer.images.len(), 3);
    assert_eq!(answer.info.index_of_first_image, 1);
    assert_eq!(answer.info.seed_of(0), None);
    assert_eq!(answer.info.seed_of(1), Some(1));
}

#[test]
fn an_answer_cut_anywhere_is_broken_and_leaves_nothing() {
    let folder = Folder::new();
    let whole = recorded("02-txt2img/04-batch-size-2");
    for eighth in 0..8 {
        folder.broken(&whole[..whole.len() * eighth / 8]);
    }
    assert_eq!(folder.staged_files(), 0);
}

#[test]
fn what_is_not_an_answer_is_broken() {
    let folder = Folder::new();
    for text in [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"images":null,"info":"{}"}"#,
        r#"{"images":[],"info":"nothing"}"#,
        r#"{"images":[],"info":"[]"}"#,
        r#"{"images":[]}"#,
        r#"{"images":["!!!"],"info":"{}"}"#,
        r#"{"images":["AAAA"],"info":"{}"}"#,
        r#"{"images":[],"info":"{}"} trailing"#,
    ] {
        folder.broken(text);
    }
    let many = vec!["\"AAAA\""; ANSWER_IMAGES_MAX + 1].join(",");
    folder.broken(&format!(r#"{{"images":[{many}],"info":"{{}}"}}"#));
}
