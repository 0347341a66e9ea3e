//! What changes do to a model, rule by rule.

use super::*;
use crate::model::{Details, ModelKind};

const SHA: &str = "2870ca6e33d3665391b10c77641074755bf3b0283449ef1d52486dc7cfe392c8";

fn before(local_path: &str) -> NewModel {
    NewModel {
        name: "n".into(),
        kind: ModelKind::Checkpoint,
        local_path: local_path.into(),
        filename: "x.pt".into(),
        forge_format: None,
        autov2: AutoV2::parse("ffffffffff"),
        sha256: None,
        civitai: CivitaiMetadata::default(),
        metadata_status: MetadataStatus::Incomplete,
        details: Details::default(),
    }
}

fn moved(local_path: Option<&str>, filename: Option<&str>) -> ModelChange {
    ModelChange {
        local_path: local_path.map(str::to_owned),
        filename: filename.map(str::to_owned),
        ..ModelChange::default()
    }
}

#[test]
fn a_file_name_follows_its_path_and_never_leaves_it() {
    let filename = |path, change: ModelChange| Ok(change.apply(&before(path))?.filename);
    let ok = |name: &str| Ok::<_, Vec<BrokenRule>>(name.to_owned());
    assert_eq!(
        filename("/a/x.pt", moved(Some("/b/y.pt"), None)),
        ok("y.pt")
    );
    assert_eq!(filename("/a/x.pt", moved(Some(""), None)), ok("x.pt"));
    assert_eq!(filename("", moved(None, Some("y.pt"))), ok("y.pt"));
    assert_eq!(filename("/a/y.pt", moved(None, Some(""))), ok("y.pt"));
    assert_eq!(
        filename("/a/x.pt", moved(None, Some("y.pt"))),
        Err(vec![BrokenRule::FilenameApart])
    );
    for change in [moved(Some("/a/"), None), moved(Some(""), Some(""))] {
        assert_eq!(
            filename("/a/x.pt", change),
            Err(vec![BrokenRule::FilenameLength])
        );
    }
    // An older row that breaks the rule can be changed elsewhere.
    let renamed = ModelChange {
        name: Some("m".into()),
        ..ModelChange::default()
    };
    assert_eq!(filename("/a/other.pt", renamed), ok("x.pt"));
}

#[test]
fn a_short_hash_follows_the_full_one_and_never_leaves_it() {
    let sha256 = Sha256::parse(SHA);
    let autov2 = sha256.as_ref().map(Sha256::autov2);
    let change = |autov2, sha256| ModelChange {
        autov2,
        sha256,
        ..ModelChange::default()
    };
    let hashed = change(None, Some(sha256.clone()))
        .apply(&before(""))
        .unwrap();
    assert_eq!((&hashed.sha256, &hashed.autov2), (&sha256, &autov2));
    let kept = change(Some(None), None).apply(&hashed).unwrap();
    assert_eq!(kept.autov2, autov2);
    let other = Some(AutoV2::parse("0000000000"));
    assert_eq!(
        change(other, None).apply(&hashed),
        Err(vec![BrokenRule::Autov2Apart])
    );
    let cleared = change(Some(None), Some(None)).apply(&hashed).unwrap();
    assert_eq!((cleared.sha256, cleared.autov2), (None, None));
}

#[test]
fn only_known_hashes_contradict() {
    let file = |title: &str, sha256: &str| ListedModel {
        kind: ModelKind::Checkpoint,
        title: title.into(),
        path: "/a/x.pt".into(),
        sha256: Sha256::parse(sha256),
        alias: String::new(),
    };
    let mut model = before("/a/x.pt");
    assert!(!contradicts(&file("x.pt", ""), &model));
    assert!(contradicts(&file("x.pt [2870ca6e33]", ""), &model));
    assert!(contradicts(&file("x.pt", SHA), &model));
    model.autov2 = AutoV2::parse("2870ca6e33");
    assert!(!contradicts(&file("x.pt", SHA), &model));
    model.autov2 = None;
    assert!(!contradicts(&file("x.pt [2870ca6e33]", SHA), &model));
}
