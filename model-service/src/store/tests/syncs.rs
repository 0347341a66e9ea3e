//! Inventories against the tables.

use std::time::Instant;

use diesel::prelude::*;

use super::{Fixture, now};
use crate::inventory::{Asset, AssetKind, InventoryMode, InventoryUpdate, ListedModel};
use crate::model::{ModelKind, Sha256};
use crate::store::{aliases, events, inventories, lookup, merge, sync};

fn listed(name: &str, sha256: Option<String>) -> ListedModel {
    ListedModel {
        kind: ModelKind::Checkpoint,
        title: name.to_owned(),
        path: format!("/models/{name}"),
        sha256: sha256.and_then(|digits| Sha256::parse(&digits)),
        alias: String::new(),
    }
}

fn full(server: &str, models: impl IntoIterator<Item = ListedModel>) -> InventoryUpdate {
    let mut update = InventoryUpdate::new(server.into(), "1".into(), InventoryMode::Full);
    for model in models {
        update.add_model(model, false);
    }
    update
}

fn apply(fixture: &mut Fixture, update: &InventoryUpdate) -> sync::Applied {
    let on_file = inventories::get(&mut fixture.connection, &update.server).unwrap();
    sync::apply(&mut fixture.connection, update, on_file.as_ref(), now()).unwrap()
}

#[test]
fn ten_thousand_items_take_effect_in_seconds_and_a_repetition_in_less() {
    let mut fixture = Fixture::new();
    let items = |hashed: bool| {
        (0..10_000).map(move |number: u32| {
            listed(
                &format!("folder {}/model {number}.safetensors", number % 50),
                hashed.then(|| format!("{number:064x}")),
            )
        })
    };
    diesel::sql_query("BEGIN IMMEDIATE")
        .execute(&mut fixture.connection)
        .unwrap();
    let start = Instant::now();
    let first = apply(&mut fixture, &full("left", items(false)));
    let second = apply(&mut fixture, &full("left", items(true)));
    let third = apply(&mut fixture, &full("left", items(true)));
    let took = start.elapsed();
    diesel::sql_query("COMMIT")
        .execute(&mut fixture.connection)
        .unwrap();
    assert_eq!((first.added_count, first.created_count), (10_000, 10_000));
    assert_eq!(
        (
            second.added_count,
            second.created_count,
            second.removed_count
        ),
        (0, 0, 0)
    );
    assert_eq!((third.added_count, third.events.len()), (0, 0));
    assert_eq!(third.inventory.checkpoint_count, 10_000);
    // An unoptimised build on a busy machine; a quadratic step would take minutes.
    assert!(took.as_secs() < 60, "{took:?}");
}

#[test]
fn more_changes_than_watchers_are_told_one_by_one_are_one_event() {
    let mut fixture = Fixture::new();
    let items = (0..=sync::EVENTS_PER_SYNC_MAX).map(|number| listed(&format!("{number}.pt"), None));
    let applied = apply(&mut fixture, &full("left", items));
    let kinds: Vec<&str> = applied
        .events
        .iter()
        .map(|event| event.kind.as_str())
        .collect();
    assert_eq!(kinds, ["registry_changed", "inventory_changed"]);
}

#[test]
fn assets_are_replaced_by_a_full_inventory_and_changed_by_a_delta() {
    let mut fixture = Fixture::new();
    let asset = |name: &str| Asset {
        kind: AssetKind::Sampler,
        name: name.to_owned(),
    };
    let mut first = full("left", []);
    first.add_asset(asset("Euler"), false);
    first.add_asset(asset("DDIM"), false);
    assert_eq!(apply(&mut fixture, &first).inventory.asset_count, 2);
    let mode = InventoryMode::Delta { base: "1".into() };
    let mut delta = InventoryUpdate::new("left".into(), "2".into(), mode);
    delta.add_asset(asset("DDIM"), true);
    delta.add_asset(asset("UniPC"), false);
    let changed = apply(&mut fixture, &delta);
    assert_eq!(changed.inventory.asset_count, 2);
    assert_eq!(changed.events.len(), 1);
    let names = "SELECT name AS text FROM server_assets ORDER BY name";
    assert_eq!(fixture.texts(names), ["Euler", "UniPC"]);
    apply(&mut fixture, &full("left", []));
    assert!(fixture.texts(names).is_empty());
}

#[test]
fn a_merge_keeps_what_both_rows_had() {
    let mut fixture = Fixture::new();
    let connection = &mut fixture.connection;
    for sql in [
        "INSERT INTO models (id, name, type, local_path, filename, civitai_id, last_used) VALUES
         (3, 'old', 'lora', '/a/x.pt', 'x.pt', NULL, '2026-01-01 00:00:00'),
         (7, 'new', 'lora', '/b/y.pt', 'y.pt', '42', '2026-02-01 00:00:00')",
        "INSERT INTO model_aliases (model_id, alias_path) VALUES (3, 'both'), (7, 'both'), (7, 'mine')",
        "INSERT INTO model_server_availability (model_id, server_id, last_seen) VALUES
         (3, 'left', '2026-01-01 00:00:00'), (7, 'left', '2026-02-01 00:00:00'),
         (7, 'right', '2026-02-01 00:00:00')",
        "INSERT INTO request_ids SELECT '', 'AddModelAlias', id, '', NULL, id, ''
         FROM model_aliases WHERE model_id = 7",
        "INSERT INTO request_ids VALUES ('', 'CreateModel', 'm', '', 7, NULL, '')",
    ] {
        diesel::sql_query(sql).execute(connection).unwrap();
    }
    merge::merge(connection, 3, 7).unwrap();
    let names = aliases::list(connection, 3, 0, 10).unwrap();
    let names: Vec<String> = names.into_iter().map(|alias| alias.alias_path).collect();
    assert_eq!(names, ["both", "mine", "/b/y.pt"]);
    assert_eq!(
        fixture
            .texts("SELECT server_id || ' ' || last_seen AS text FROM model_server_availability"),
        ["left 2026-02-01 00:00:00", "right 2026-02-01 00:00:00"]
    );
    assert_eq!(
        fixture.texts("SELECT id || ' ' || civitai_id || ' ' || last_used AS text FROM models"),
        ["3 42 2026-02-01 00:00:00"]
    );
    let made = "SELECT ifnull(r.model_id, a.alias_path) || ' ' || ifnull(a.model_id, '') AS text
        FROM request_ids AS r LEFT JOIN model_aliases AS a ON a.id = r.alias_id
        ORDER BY text";
    assert_eq!(fixture.texts(made), ["3 ", "both 3", "mine 3"]);
    assert_eq!(
        fixture.texts("SELECT revision || '' AS text FROM models"),
        ["2"]
    );
}

#[test]
fn only_the_last_events_are_kept_and_numbers_go_on() {
    let mut fixture = Fixture::new();
    let connection = &mut fixture.connection;
    let many: Vec<_> = (0..10)
        .map(|id| crate::events::NewEvent::registry(Some(id)))
        .collect();
    events::append(connection, &many, 4, now()).unwrap();
    let history = events::history(connection).unwrap();
    assert_eq!((history.forgotten, history.last), (6, 10));
    assert_eq!(events::after(connection, 8, 10).unwrap().len(), 2);
    diesel::sql_query("DELETE FROM availability_events")
        .execute(connection)
        .unwrap();
    let history = events::history(connection).unwrap();
    assert_eq!((history.forgotten, history.last), (10, 10));
}

#[test]
fn a_name_that_thousands_share_is_cut_and_said_to_be() {
    let mut fixture = Fixture::new();
    let items = (0..=lookup::ROWS_MAX).map(|number| listed(&format!("{number}/x.pt"), None));
    apply(&mut fixture, &full("left", items));
    let by_name = [crate::reference::Reference::parse("x", None)];
    let found = lookup::may_fit(&mut fixture.connection, &by_name).unwrap();
    assert!(found[0].truncated);
    assert_eq!(found[0].models.len(), lookup::ROWS_MAX);
}
