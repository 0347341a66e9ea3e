//! Which model a found file is of.

use super::*;
use crate::store::library_models::KnownHashes;

/// A new LoRA that says nothing.
pub(in crate::library) fn item() -> Item {
    named(KindFound::Said(ModelKind::Lora), false)
}

fn named(kind: KindFound, only_of_its_name: bool) -> Item {
    Item {
        what: What::New {
            same_as: None,
            only_of_its_name,
        },
        file: FileNow {
            root: "main".into(),
            path: b"x/a.sft".to_vec(),
            stamp: FileStamp {
                size_bytes: 1,
                modified_ns: 2,
                device: 3,
                inode: 4,
            },
            beside_stamp: "-".into(),
            preview_path: None,
            header_problem: None,
        },
        kind,
        stem: "a".into(),
        filename: "a.sft".into(),
        local_path: "/m/x/a.sft".into(),
        findings: Vec::new(),
        sidecars: 0,
        of_another_file: false,
        was_unproven: false,
        sha256: None,
    }
}

fn namesake(id: i64, kind: ModelKind, local_path: &str) -> Namesake {
    Namesake {
        id,
        kind: Some(kind),
        local_path: local_path.into(),
        has_file: false,
        hashes: KnownHashes::default(),
    }
}

#[test]
fn a_path_tells_the_model_with_either_slash_and_before_a_name() {
    let (lora, full) = (ModelKind::Lora, ModelKind::Checkpoint);
    let models = [
        namesake(1, lora, "/y/a.sft"),
        namesake(2, full, r"\m\x\a.sft"),
    ];
    let own = |item: Item, claimed: &[i64]| item.own(&models, &claimed.iter().copied().collect());
    assert_eq!(own(named(KindFound::Said(lora), true), &[]), Some(2));
    assert_eq!(own(named(KindFound::Other, false), &[]), Some(2));
    assert_eq!(own(named(KindFound::Said(lora), false), &[2]), None);
}

#[test]
fn a_name_tells_the_model_only_when_nothing_else_goes_by_it() {
    let (lora, full) = (ModelKind::Lora, ModelKind::Checkpoint);
    let mut models = vec![namesake(1, lora, ""), namesake(2, full, "")];
    let own = |item: Item, models: &[Namesake]| item.own(models, &HashSet::new());
    assert_eq!(own(named(KindFound::Said(lora), true), &models), Some(1));
    // Another new file has the name as well.
    assert_eq!(own(named(KindFound::Said(lora), false), &models), None);
    // Nobody says of what kind the file is, and there is one of each.
    assert_eq!(own(named(KindFound::Taken(lora), true), &models), None);
    assert_eq!(
        own(named(KindFound::Taken(lora), true), &models[1..]),
        Some(2)
    );
    let with_hash = |byte| Item {
        sha256: Some(Sha256::of([byte; 32])),
        ..named(KindFound::Said(lora), true)
    };
    models[0].hashes.sha256 = Some(Sha256::of([1; 32]).as_str().to_owned());
    assert_eq!(own(with_hash(1), &models), Some(1));
    // The name of the one and the content of another.
    assert_eq!(own(with_hash(2), &models), None);
    models[0].has_file = true;
    assert_eq!(own(named(KindFound::Said(lora), true), &models), None);
}
