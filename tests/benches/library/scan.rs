//! A scan of 20,000 generated models, each with a sidecar, against a program
//! that stats every file and reads its first 8 KiB; and the next scan, of what
//! is as it was, against one that only stats. Everything is in the page cache.

use std::{
    fs::{self, File},
    hint::black_box,
    io::Read as _,
    path::Path,
    time::Instant,
};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::figures::{median, ms};
use crate::service::Service;

/// Models, each with a sidecar.
const MODELS: usize = 20_000;
/// Folders of one size that they lie in.
const FOLDERS: usize = 200;
/// Tensors that a header names.
const TENSORS: usize = 30;
/// What the program reads of each file.
const READ_BYTES: usize = 8 * 1024;
/// Rounds, in turns with the program; one more before them warms up.
const ROUNDS: usize = 5;
/// How often a library is scanned again in a round.
const AGAIN: usize = 5;
/// How many times as long as the reading program a first scan may take.
const SCAN_BOUND: f64 = 3.0;
/// How many times as long as the program that only stats the next one may take.
const AGAIN_BOUND: f64 = 1.5;

/// Measures and prints.
pub(crate) async fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    make_library(folder.path())?;
    let (mut read_ms, mut scan_ms) = (Vec::new(), Vec::new());
    let (mut stat_ms, mut again_ms) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let service = Service::start(folder.path(), 1).await?;
        let read = timed(|| walk(folder.path(), true))?;
        let begun = Instant::now();
        let report = service.scan().await?;
        let scan = ms(begun.elapsed());
        let models = i64::try_from(MODELS)?;
        ensure!(
            report.counts.get("models_created") == Some(&models),
            "{report:?}"
        );
        ensure!(report.counts.get("sidecars") == Some(&models), "{report:?}");
        if round == 0 {
            continue;
        }
        read_ms.push(read);
        scan_ms.push(scan);
        for _ in 0..AGAIN {
            stat_ms.push(timed(|| walk(folder.path(), false))?);
            let begun = Instant::now();
            let report = service.scan().await?;
            again_ms.push(ms(begun.elapsed()));
            ensure!(
                report.counts.get("unchanged") == Some(&models),
                "{report:?}"
            );
        }
    }
    println!("Scan of {MODELS} models with sidecars in {FOLDERS} folders, {ROUNDS} rounds");
    let figures = [
        (
            "first scan",
            &scan_ms,
            "stat and 8 KiB of every file",
            &read_ms,
            SCAN_BOUND,
        ),
        (
            "next scan",
            &again_ms,
            "stat of every file",
            &stat_ms,
            AGAIN_BOUND,
        ),
    ];
    for (name, ours, other, theirs, bound) in figures {
        let (ours, theirs) = (median(ours), median(theirs));
        let ratio = ours / theirs;
        println!(
            "  {name:<10} {ours:>7.0} ms, {other} {theirs:>6.0} ms: {ratio:.2} times (at most \
             {bound}): {}",
            if ratio <= bound { "kept" } else { "missed" },
        );
    }
    Ok(())
}

/// How long some work takes, in milliseconds.
fn timed(work: impl FnOnce() -> Result<usize>) -> Result<f64> {
    let begun = Instant::now();
    let files = work()?;
    let took_ms = ms(begun.elapsed());
    ensure!(files == 2 * MODELS, "there are {files} files");
    Ok(took_ms)
}

/// The plain program: how many files there are.
fn walk(folder: &Path, read: bool) -> Result<usize> {
    let mut files = 0;
    let mut folders = vec![folder.to_owned()];
    let mut buffer = vec![0; READ_BYTES];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            black_box((metadata.len(), metadata.modified()?));
            if read {
                black_box(File::open(&path)?.read(&mut buffer)?);
            }
        }
    }
    Ok(files)
}

/// Writes the models: LoRAs as kohya writes them, half of them with what a user
/// typed into Forge, half with what Civitai Helper keeps.
fn make_library(folder: &Path) -> Result<()> {
    for number in 0..MODELS {
        let folder = folder.join(format!("folder {}", number % FOLDERS));
        fs::create_dir_all(&folder)?;
        let base = folder.join(format!("model {number}"));
        fs::write(base.with_extension("safetensors"), model(number))?;
        let (ending, sidecar) = match number % 2 {
            0 => ("json", user_metadata(number)),
            _ => ("civitai.info", civitai_info(number)),
        };
        fs::write(base.with_extension(ending), sidecar.to_string())?;
    }
    Ok(())
}

fn model(number: usize) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let tags = json!({"10_fox": {"fox": 40, "red fur": 31, "forest": 22}});
    let metadata = json!({
        "ss_network_module": "networks.lora",
        "ss_network_dim": "32",
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_output_name": format!("model {number}"),
        "ss_tag_frequency": tags.to_string(),
        "modelspec.title": format!("model {number}"),
    });
    header.insert("__metadata__".to_owned(), metadata);
    for tensor in 0..TENSORS {
        let name = format!("lora_unet_down_blocks_{tensor}_attentions_0.lora_down.weight");
        let offsets = [tensor * 512, tensor * 512 + 512];
        let entry = json!({"dtype": "F16", "shape": [16, 16], "data_offsets": offsets});
        header.insert(name, entry);
    }
    let header = serde_json::Value::from(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + TENSORS * 512, 1);
    file
}

fn user_metadata(number: usize) -> serde_json::Value {
    json!({
        "description": format!("Model {number}, trained on pictures of foxes in a forest."),
        "sd version": "SDXL",
        "activation text": "red fox, forest",
        "preferred weight": 0.8,
        "negative text": "blurry",
        "notes": "works best with few steps",
    })
}

fn civitai_info(number: usize) -> serde_json::Value {
    json!({
        "id": 1_000_000 + number,
        "modelId": 500_000 + number,
        "name": "v1.0",
        "baseModel": "SDXL 1.0",
        "description": "<p>First version.</p>",
        "trainedWords": ["red fox", "forest"],
        "createdAt": "2025-01-02T03:04:05.678Z",
        "publishedAt": "2025-01-02T04:04:05.678Z",
        "model": {"name": format!("Fox {number}"), "type": "LORA", "nsfw": false, "poi": false},
        "files": [{
            "id": 2_000_000 + number,
            "name": format!("model {number}.safetensors"),
            "sizeKB": 24.0,
            "type": "Model",
            "primary": true,
        }],
        "images": [{"url": "https://image.example/fox.jpeg", "nsfwLevel": 1, "type": "image",
            "hash": "U5Ew]?00~q00", "width": 832, "height": 1216}],
    })
}
