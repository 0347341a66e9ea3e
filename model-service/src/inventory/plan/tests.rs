//! Which listed file is which model.

use super::*;
use crate::inventory::ListedModel;
use crate::model::{MetadataStatus, Sha256};
use crate::names;

const SHA: &str = "2870ca6e33d3665391b10c77641074755bf3b0283449ef1d52486dc7cfe392c8";
const OTHER: &str = "fc03d15844113d66863f59e8c296ec1cc549be7f6f93c6904c51333e9e2364fc";

fn plan(update: &InventoryUpdate, before: Before) -> Plan {
    super::plan(update, before, DateTime::UNIX_EPOCH)
}

fn listed(name: &str, sha256: Option<&str>) -> ListedModel {
    let hash = sha256
        .map(|digits| format!(" [{}]", &digits[..10]))
        .unwrap_or_default();
    ListedModel {
        kind: ModelKind::Checkpoint,
        title: format!("{name}{hash}"),
        path: format!("/models/{name}"),
        sha256: sha256.and_then(Sha256::parse),
        alias: String::new(),
    }
}

fn full(models: &[ListedModel]) -> InventoryUpdate {
    let mut update = InventoryUpdate::new("left".into(), "2".into(), InventoryMode::Full);
    for model in models {
        update.add_model(model.clone(), false);
    }
    update
}

fn row(id: i64, path: &str, sha256: Option<&str>) -> ModelRow {
    ModelRow {
        id,
        kind: ModelKind::Checkpoint,
        local_path: path.to_owned(),
        forge_format: Some(names::last_part(path).to_owned()),
        autov2: sha256.map(|digits| digits[..10].to_owned()),
        sha256: sha256.map(str::to_owned),
    }
}

fn before(files: &[(i64, ListedModel)], models: Vec<ModelRow>) -> Before {
    Before {
        files: files
            .iter()
            .enumerate()
            .map(|(place, (model_id, file))| FileRow {
                id: 100 + i64::try_from(place).unwrap(),
                model_id: *model_id,
                item_key: file.item_key(),
                listed: true,
                doubted_since: None,
                file: file.clone(),
            })
            .collect(),
        available: files
            .iter()
            .map(|(id, file)| (*id, Some(file.title.clone())))
            .collect(),
        models,
        doubted_since: None,
        next_model_id: 50,
    }
}

#[test]
fn an_unknown_file_becomes_a_model_named_after_it() {
    let plan = plan(
        &full(&[listed("sub/Foo.v2.safetensors", None)]),
        before(&[], vec![]),
    );
    let [(50, created)] = plan.created.as_slice() else {
        panic!("{:?}", plan.created);
    };
    assert_eq!(created.name, "Foo.v2");
    assert_eq!(created.filename, "Foo.v2.safetensors");
    assert_eq!(created.local_path, "/models/sub/Foo.v2.safetensors");
    assert_eq!(
        created.forge_format.as_deref(),
        Some("sub/Foo.v2.safetensors")
    );
    assert_eq!(created.metadata_status, MetadataStatus::Incomplete);
    assert_eq!(plan.available.len(), 1);
}

#[test]
fn a_title_that_gains_its_hash_stays_the_same_model() {
    let old = listed("x.safetensors", None);
    let state = before(&[(7, old)], vec![row(7, "/models/x.safetensors", None)]);
    let plan = plan(&full(&[listed("x.safetensors", Some(SHA))]), state);
    assert!(plan.created.is_empty() && plan.merged.is_empty() && plan.new_files.is_empty());
    assert_eq!(plan.learned[0].sha256.as_deref(), Some(SHA));
    assert_eq!(
        plan.learned[0].forge_format.as_deref(),
        Some("x.safetensors [2870ca6e33]")
    );
    assert_eq!(plan.changed_files.len(), 1);
    assert_eq!(
        plan.available[&7].as_deref(),
        Some("x.safetensors [2870ca6e33]")
    );
}

#[test]
fn equal_hashes_make_two_models_one_and_the_older_stays() {
    let old = listed("x.safetensors", None);
    let models = vec![
        row(7, "/models/x.safetensors", None),
        row(3, "/lib/y.safetensors", Some(SHA)),
    ];
    let state = before(&[(7, old)], models);
    let plan = plan(&full(&[listed("x.safetensors", Some(SHA))]), state);
    assert_eq!(plan.merged, [(3, 7)]);
    assert_eq!(plan.available.keys().collect::<Vec<_>>(), [&3]);
    assert_eq!(plan.was_available.keys().collect::<Vec<_>>(), [&3]);
}

#[test]
fn different_hashes_are_never_one_model() {
    let old = listed("x.safetensors", Some(OTHER));
    let state = before(
        &[(7, old)],
        vec![row(7, "/models/x.safetensors", Some(OTHER))],
    );
    let plan = plan(&full(&[listed("x.safetensors", Some(SHA))]), state);
    assert_eq!(plan.created.len(), 1);
    assert!(plan.merged.is_empty() && plan.learned.is_empty());
    assert_eq!(plan.available.keys().collect::<Vec<_>>(), [&50]);
    assert_eq!(plan.was_available.keys().collect::<Vec<_>>(), [&7]);
}

#[test]
fn a_file_is_the_registered_model_of_its_path_unless_hashes_differ() {
    let registered = || vec![row(7, "/models/x.safetensors", Some(OTHER))];
    let same = plan(
        &full(&[listed("x.safetensors", None)]),
        before(&[], registered()),
    );
    assert_eq!(same.available.keys().collect::<Vec<_>>(), [&7]);
    let other = plan(
        &full(&[listed("x.safetensors", Some(SHA))]),
        before(&[], registered()),
    );
    assert_eq!(other.available.keys().collect::<Vec<_>>(), [&50]);
    let mut two = registered();
    two.push(row(8, "/models/x.safetensors", None));
    let unclear = plan(&full(&[listed("x.safetensors", None)]), before(&[], two));
    assert_eq!(unclear.available.keys().collect::<Vec<_>>(), [&50]);
}

#[test]
fn two_copies_of_one_file_are_one_model_whatever_their_order() {
    for names in [
        ["a.safetensors", "b.safetensors"],
        ["b.safetensors", "a.safetensors"],
    ] {
        let old = listed(names[0], None);
        let path = format!("/models/{}", names[0]);
        let state = before(&[(7, old)], vec![row(7, &path, None)]);
        let both = [listed(names[0], Some(SHA)), listed(names[1], Some(SHA))];
        let plan = plan(&full(&both), state);
        assert!(
            plan.created.is_empty() && plan.merged.is_empty(),
            "{plan:?}"
        );
        assert_eq!(plan.available.keys().collect::<Vec<_>>(), [&7]);
        assert_eq!(plan.new_files.len() + plan.changed_files.len(), 2);
    }
}

#[test]
fn what_a_full_inventory_does_not_list_is_gone_and_a_delta_keeps_it() {
    let files = [
        (7, listed("x.safetensors", None)),
        (8, listed("y.safetensors", None)),
    ];
    let models = || {
        vec![
            row(7, "/models/x.safetensors", None),
            row(8, "/models/y.safetensors", None),
        ]
    };
    let replaced = plan(&full(&[files[0].1.clone()]), before(&files, models()));
    assert_eq!(replaced.gone_files, [(101, 8)]);
    assert_eq!(replaced.available.keys().collect::<Vec<_>>(), [&7]);

    let mode = InventoryMode::Delta { base: "1".into() };
    let mut delta = InventoryUpdate::new("left".into(), "2".into(), mode);
    let by_title = ListedModel {
        path: String::new(),
        ..files[1].1.clone()
    };
    delta.add_model(by_title, true);
    let changed = plan(&delta, before(&files, models()));
    assert_eq!(changed.gone_files, [(101, 8)]);
    assert!(changed.changed_files.is_empty());
    assert_eq!(changed.available.keys().collect::<Vec<_>>(), [&7]);
}

#[test]
fn an_unchanged_inventory_changes_nothing() {
    let files = [(
        7,
        ListedModel {
            alias: "sub_x".into(),
            ..listed("sub/x.safetensors", Some(SHA))
        },
    )];
    let mut model = row(7, "/models/sub/x.safetensors", Some(SHA));
    model.forge_format = Some(files[0].1.title.clone());
    let again = ListedModel {
        alias: String::new(),
        ..files[0].1.clone()
    };
    let plan = plan(&full(&[again]), before(&files, vec![model]));
    let expected = Plan {
        checkpoint_count: 1,
        available: plan.was_available.clone(),
        was_available: plan.was_available.clone(),
        ..Plan::default()
    };
    assert_eq!(plan, expected);
}

fn registered_at(path: &str) -> Vec<ModelRow> {
    vec![row(7, path, None)]
}

#[test]
fn without_a_hash_one_file_on_two_machines_is_two_models_until_the_hash_is_known() {
    let on_windows = |sha256: Option<&str>| ListedModel {
        path: r"Z:\models\a.safetensors".to_owned(),
        ..listed("a.safetensors", sha256)
    };
    let mounted = || registered_at("/mnt/models/a.safetensors");
    let apart = plan(&full(&[on_windows(None)]), before(&[], mounted()));
    assert_eq!(apart.available.keys().collect::<Vec<_>>(), [&50]);
    assert_eq!(apart.created[0].1.filename, "a.safetensors");

    // The other machine has loaded it, and so does this one.
    let mut models = mounted();
    models[0].sha256 = Some(SHA.to_owned());
    models.push(row(50, r"Z:\models\a.safetensors", None));
    let hashed = plan(
        &full(&[on_windows(Some(SHA))]),
        before(&[(50, on_windows(None))], models),
    );
    assert_eq!(hashed.merged, [(7, 50)]);
    assert_eq!(hashed.available.keys().collect::<Vec<_>>(), [&7]);
    assert_eq!(hashed.was_available.keys().collect::<Vec<_>>(), [&7]);
}

#[test]
fn servers_that_share_a_folder_under_one_path_share_the_model() {
    let path = r"Z:\models\a.safetensors";
    let shared = ListedModel {
        path: path.to_owned(),
        ..listed("a.safetensors", None)
    };
    let plan = plan(&full(&[shared]), before(&[], registered_at(path)));
    assert!(plan.created.is_empty());
    assert_eq!(plan.available.keys().collect::<Vec<_>>(), [&7]);
}

#[test]
fn equal_file_names_in_different_folders_are_different_models() {
    let both = [
        listed("one/x.safetensors", None),
        listed(r"two\x.safetensors", None),
    ];
    let plan = plan(&full(&both), before(&[], vec![]));
    assert_eq!(plan.created.len(), 2);
    assert_eq!(plan.available.len(), 2);
}
