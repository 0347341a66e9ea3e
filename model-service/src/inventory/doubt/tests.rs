//! What a full inventory lacks: believed at once, or only when another agrees.

use std::collections::BTreeMap;

use super::*;
use crate::inventory::plan::{Before, ModelRow, Plan, plan};
use crate::inventory::{Asset, ListedModel};

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn listed(kind: ModelKind, number: usize) -> ListedModel {
    ListedModel {
        kind,
        title: format!("{number}.safetensors"),
        path: format!("/models/{}/{number}.safetensors", kind.as_str()),
        sha256: None,
        alias: String::new(),
    }
}

fn checkpoints(numbers: std::ops::Range<usize>) -> Vec<ListedModel> {
    numbers
        .map(|number| listed(ModelKind::Checkpoint, number))
        .collect()
}

fn full(models: Vec<ListedModel>) -> InventoryUpdate {
    let mut update = InventoryUpdate::new("left".into(), "2".into(), InventoryMode::Full);
    for model in models {
        update.add_model(model, false);
    }
    update
}

/// Files, each of a model of its own, whose ids begin with 1; since when they
/// are in doubt.
fn before(files: Vec<(ListedModel, Option<i64>)>) -> Before {
    let rows = files.into_iter().zip(1..).map(|((file, doubted), id)| {
        let row = FileRow {
            id: 100 + id,
            model_id: id,
            item_key: file.item_key(),
            listed: true,
            doubted_since: doubted.map(at),
            file,
        };
        let model = ModelRow {
            id,
            kind: row.file.kind,
            local_path: row.file.path.clone(),
            forge_format: Some(row.file.title.clone()),
            autov2: None,
            sha256: None,
        };
        (row, model)
    });
    let (files, models): (Vec<_>, Vec<_>) = rows.unzip();
    let available: BTreeMap<_, _> = files
        .iter()
        .map(|row| (row.model_id, Some(row.file.title.clone())))
        .collect();
    Before {
        doubted_since: files.iter().filter_map(|row| row.doubted_since).min(),
        files,
        available,
        models,
        next_model_id: 1000,
    }
}

fn certain(files: Vec<ListedModel>) -> Vec<(ListedModel, Option<i64>)> {
    files.into_iter().map(|file| (file, None)).collect()
}

/// Models that come into doubt, that are in doubt afterwards, and that go.
fn counts(plan: &Plan) -> (usize, usize, usize) {
    (
        plan.doubted_files.len(),
        plan.doubted_count,
        plan.gone_files.len(),
    )
}

#[test]
fn an_empty_listing_removes_nothing_at_once() {
    let plan = plan(&full(vec![]), before(certain(checkpoints(0..1))), at(0));
    assert_eq!(counts(&plan), (1, 1, 0));
    assert_eq!(plan.available, plan.was_available);
    assert_eq!(
        (plan.checkpoint_count, plan.doubted_since),
        (0, Some(at(0)))
    );
}

#[test]
fn more_than_half_and_at_least_five_are_too_many() {
    for (had, left, doubted) in [
        (8, 4, 0),
        (7, 3, 0),
        (9, 5, 0),
        (10, 5, 0),
        (9, 4, 5),
        (100, 49, 51),
        (100, 50, 0),
        (2, 1, 0),
    ] {
        let before = before(certain(checkpoints(0..had)));
        let plan = plan(&full(checkpoints(0..left)), before, at(0));
        let gone = had - left - doubted;
        assert_eq!(counts(&plan), (doubted, doubted, gone), "{had} to {left}");
        assert_eq!(plan.checkpoint_count, left);
        assert_eq!(plan.available.len(), left + doubted);
    }
}

#[test]
fn each_kind_is_listed_by_itself() {
    let mut had = checkpoints(0..20);
    had.push(listed(ModelKind::Lora, 20));
    had.push(listed(ModelKind::Lora, 21));
    let plan = plan(&full(checkpoints(1..20)), before(certain(had)), at(0));
    assert_eq!(counts(&plan), (2, 2, 1), "no LoRA is listed");
    assert_eq!((plan.checkpoint_count, plan.lora_count), (19, 0));
}

#[test]
fn additions_and_changes_take_effect_beside_a_doubt() {
    let mut less = checkpoints(0..2);
    less[0].title = "0.safetensors [2870ca6e33]".to_owned();
    less.push(listed(ModelKind::Checkpoint, 50));
    let plan = plan(&full(less), before(certain(checkpoints(0..10))), at(0));
    assert_eq!(counts(&plan), (8, 8, 0));
    assert_eq!((plan.new_files.len(), plan.changed_files.len()), (1, 1));
    assert_eq!(plan.available.len(), 11);
}

#[test]
fn a_later_look_that_lacks_them_too_removes_them_and_a_sooner_one_does_not() {
    let doubted = |doubted| {
        let each = |(number, file)| (file, (number >= 2).then_some(doubted));
        let files = checkpoints(0..10).into_iter().enumerate().map(each);
        before(files.collect())
    };
    let look = |now| plan(&full(checkpoints(0..2)), doubted(0), at(now));
    assert_eq!(counts(&look(4)), (0, 8, 0));
    assert_eq!(look(4).doubted_since, Some(at(0)));
    assert_eq!(counts(&look(5)), (0, 0, 8));
    assert_eq!((look(5).doubted_since, look(5).available.len()), (None, 2));
    assert_eq!(counts(&look(-7)), (0, 8, 0), "a clock that was set back");
}

#[test]
fn a_look_that_has_them_again_clears_the_doubt() {
    let files = checkpoints(0..10).into_iter().map(|file| (file, Some(0)));
    let mut again = checkpoints(0..10);
    again[3].title = "3.safetensors [2870ca6e33]".to_owned();
    let plan = plan(&full(again), before(files.collect()), at(1));
    assert_eq!(counts(&plan), (0, 0, 0));
    assert_eq!((plan.cleared_files.len(), plan.changed_files.len()), (9, 1));
    assert_eq!((plan.checkpoint_count, plan.doubted_since), (10, None));
}

#[test]
fn what_the_second_look_lacks_besides_needs_a_second_look_of_its_own() {
    let each = |(number, file)| (file, (number >= 4).then_some(0));
    let files = checkpoints(0..10).into_iter().enumerate().map(each);
    let plan = plan(&full(vec![]), before(files.collect()), at(60));
    assert_eq!(counts(&plan), (4, 4, 6));
    assert_eq!(plan.doubted_since, Some(at(60)));
}

#[test]
fn what_was_moved_is_not_lacking() {
    let elsewhere = checkpoints(0..10).into_iter().map(|file| ListedModel {
        path: file.path.replace("/models/", r"D:\models\"),
        ..file
    });
    let plan = plan(
        &full(elsewhere.collect()),
        before(certain(checkpoints(0..10))),
        at(0),
    );
    assert_eq!(counts(&plan), (0, 0, 10));
    assert_eq!(plan.available.len(), 10);
}

#[test]
fn a_delta_that_removes_is_believed() {
    let mode = InventoryMode::Delta { base: "1".into() };
    let mut delta = InventoryUpdate::new("left".into(), "2".into(), mode);
    for file in checkpoints(0..8) {
        delta.add_model(file, true);
    }
    delta.add_asset(
        Asset {
            kind: crate::inventory::AssetKind::Sampler,
            name: "Euler".to_owned(),
        },
        false,
    );
    let each = |(number, file)| (file, (number == 9).then_some(0));
    let files = checkpoints(0..10).into_iter().enumerate().map(each);
    let plan = plan(&delta, before(files.collect()), at(60));
    assert_eq!(counts(&plan), (0, 1, 8), "and it says nothing of the rest");
    assert_eq!((plan.checkpoint_count, plan.available.len()), (1, 2));
}

#[test]
fn models_that_no_file_is_known_of_survive_an_empty_listing_too() {
    let known = |doubted_since| Before {
        available: BTreeMap::from([(3, None)]),
        doubted_since,
        next_model_id: 9,
        ..Before::default()
    };
    let first = plan(&full(vec![]), known(None), at(0));
    assert_eq!((first.doubted_count, first.available.len()), (1, 1));
    assert_eq!(first.doubted_since, Some(at(0)));
    let second = plan(&full(vec![]), known(Some(at(0))), at(5));
    assert_eq!((second.doubted_count, second.available.len()), (0, 0));
    let other = plan(&full(checkpoints(0..1)), known(None), at(0));
    assert_eq!(other.available.keys().collect::<Vec<_>>(), [&9]);
}
