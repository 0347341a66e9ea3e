//! An inventory of 10,000 models against a raw upsert of the rows that it comes
//! to, on the same schema and with the same pragmas: the first one, and a later
//! one of which a tenth has changed.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use stablequeue_proto::models::v1::InventoryModel;

use crate::figures::{median, ms};
use crate::inventories::{client, model, start, sync};

/// Models that the server lists.
const MODELS: usize = 10_000;
/// Of so many, one has gained its hash in the later inventory.
const CHANGED_OF: usize = 10;
/// Rounds, each on databases of its own; one more before them warms up.
const ROUNDS: usize = 5;
/// How many times as long as the raw upsert an inventory may take.
const BOUND: f64 = 3.0;

/// The tables that an inventory comes to, their columns, what names a row, and
/// what an upsert changes.
const TABLES: [(&str, &str, &str, &[&str]); 3] = [
    (
        "models",
        "id, name, type, local_path, filename, forge_format, hash_autov2, hash_sha256, \
         metadata_status, created_at, revision",
        "id",
        &["forge_format", "hash_autov2", "hash_sha256", "revision"],
    ),
    (
        "server_model_files",
        "server_id, model_id, item_key, source, title, path, alias, sha256, title_key, \
         filename_key, alias_key, doubted_since",
        "server_id, item_key",
        &[
            "model_id",
            "title",
            "alias",
            "sha256",
            "title_key",
            "alias_key",
            "doubted_since",
        ],
    ),
    (
        "model_server_availability",
        "model_id, server_id, last_seen, title",
        "model_id, server_id",
        &["last_seen", "title"],
    ),
];

/// The rows of each of [`TABLES`].
type Rows = Vec<Vec<Vec<Value>>>;

/// Measures and prints.
pub(crate) async fn run() -> Result<()> {
    let (mut first_ms, mut later_ms) = (Vec::new(), Vec::new());
    let (mut raw_first_ms, mut raw_later_ms) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let folder = tempfile::tempdir()?;
        let raw_folder = tempfile::tempdir()?;
        // For the schema.
        start(raw_folder.path()).await?.stop().await?;
        let running = start(folder.path()).await?;
        let mut client = client(running.local_addr()).await?;
        let mut took = Vec::new();
        let mut rows = Vec::new();
        for (generation, changed) in [("1", false), ("2", true)] {
            let listed = listing(changed);
            let begun = Instant::now();
            let answer = sync(&mut client, "left", generation, listed).await?;
            took.push(ms(begun.elapsed()));
            let inventory = answer.inventory.context("no inventory")?;
            let count = inventory.checkpoint_count + inventory.lora_count;
            ensure!(
                usize::try_from(count)? == MODELS && inventory.generation == generation,
                "{inventory:?}"
            );
            rows.push(read_rows(folder.path())?);
        }
        running.stop().await?;
        let mut raw = Vec::new();
        let mut before = None;
        for rows in &rows {
            raw.push(upsert(raw_folder.path(), rows, before)?);
            before = Some(rows);
        }
        if round > 0 {
            first_ms.push(took[0]);
            later_ms.push(took[1]);
            raw_first_ms.push(raw[0]);
            raw_later_ms.push(raw[1]);
        }
    }
    println!("SyncServerInventory of {MODELS} models, {ROUNDS} rounds");
    print("all new", &first_ms, &raw_first_ms);
    print("a tenth changed", &later_ms, &raw_later_ms);
    Ok(())
}

fn print(name: &str, ours: &[f64], raw: &[f64]) {
    let (ours, raw) = (median(ours), median(raw));
    let ratio = ours / raw;
    println!(
        "  {name:<16} {ours:>6.0} ms, raw upsert {raw:>6.0} ms: {ratio:.2} times (at most \
         {BOUND}): {}",
        if ratio <= BOUND { "kept" } else { "missed" },
    );
}

fn listing(changed: bool) -> Vec<InventoryModel> {
    // Numbers that are no LoRAs gain a hash.
    let hashed = |number: usize| changed && number % CHANGED_OF == 1;
    (0..MODELS)
        .map(|number| model(number, hashed(number)))
        .collect()
}

fn open(folder: &Path) -> Result<Connection> {
    let path = model_service::Config::in_folder(folder).database();
    Ok(Connection::open(path)?)
}

fn read_rows(folder: &Path) -> Result<Rows> {
    let connection = open(folder)?;
    let mut all = Vec::new();
    for (table, columns, _, _) in TABLES {
        let mut select = connection.prepare(&format!("SELECT {columns} FROM {table}"))?;
        let count = select.column_count();
        let rows = select.query_map([], |row| (0..count).map(|at| row.get(at)).collect())?;
        let rows: Vec<Vec<Value>> = rows.collect::<Result<_, _>>()?;
        ensure!(rows.len() >= MODELS, "{table} has {} rows", rows.len());
        all.push(rows);
    }
    Ok(all)
}

/// Upserts the rows in one transaction, those of models only where they are
/// other ones than before; how long it takes, in milliseconds.
fn upsert(folder: &Path, rows: &Rows, before: Option<&Rows>) -> Result<f64> {
    let mut connection = open(folder)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA cache_size = -16384;",
    )?;
    let begun = Instant::now();
    let transaction = connection.transaction()?;
    for (at, (table, columns, key, changed)) in TABLES.into_iter().enumerate() {
        let places = vec!["?"; columns.split(',').count()].join(", ");
        let changed: Vec<String> = changed
            .iter()
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        let mut statement = transaction.prepare(&format!(
            "INSERT INTO {table} ({columns}) VALUES ({places}) \
             ON CONFLICT ({key}) DO UPDATE SET {}",
            changed.join(", ")
        ))?;
        for (place, row) in rows[at].iter().enumerate() {
            let same = before.is_some_and(|before| before[at].get(place) == Some(row));
            if same && table == "models" {
                continue;
            }
            statement.execute(params_from_iter(row))?;
        }
    }
    transaction.commit()?;
    Ok(ms(begun.elapsed()))
}
