//! Hashing of 4 GiB of model files from the page cache, as an operation of the
//! service, against a loop that makes the same digests over memory in the same
//! run; and the memory that a service takes for it.

use std::{
    fs::File,
    hint::black_box,
    io::{Read as _, Write as _},
    path::Path,
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use model_service::library::digests::READ_BYTES;
use sha2::{Digest as _, Sha256};
use stablequeue_proto::models::v1::StartHashingRequest;

use crate::figures::{median, processor_s};
use crate::service::Service;

/// Files, of one size.
const FILES: u64 = 4;
const FILE_BYTES: u64 = 1 << 30;
/// Memory that the loop passes over, again and again: more than any cache.
const MEMORY_BYTES: usize = 256 << 20;
/// Rounds of the three measurements, one after the other.
const ROUNDS: usize = 3;
/// The part of the loop's speed that one core must reach.
const CORE_BOUND: f64 = 0.9;
/// How many times as fast two cores must be.
const TWO_CORES_BOUND: f64 = 1.7;
/// Memory that a service may take while it hashes, in KiB.
const MEMORY_KIB_BOUND: u64 = 64 << 10;
/// Says to a child of this program which folder to hash.
const CHILD_FLAG: &str = "--hash-folder=";

/// Measures and prints.
pub(crate) async fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    make_files(folder.path())?;
    let memory = noise(MEMORY_BYTES);
    let (mut by_clock, mut by_processor, mut by_two) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let looped = async {
            over_memory(&memory);
            Ok(())
        };
        let memory = Speed::of(looped).await?;
        let one = Service::scanned(folder.path(), 1).await?;
        let alone = Speed::of(one.hash()).await?;
        drop(one);
        let two = Service::scanned(folder.path(), 2).await?;
        let both = Speed::of(two.hash()).await?;
        drop(two);
        println!(
            "  memory {:.2} GiB/s, one thread {:.2} GiB/s, two threads {:.2} GiB/s",
            memory.by_clock, alone.by_clock, both.by_clock
        );
        by_clock.push(alone.by_clock / memory.by_clock);
        by_processor.push(alone.by_processor / memory.by_processor);
        by_two.push(both.by_clock / alone.by_clock);
    }
    let took_kib = memory_of_child(folder.path())?;
    println!(
        "hash: {:.2} of the same digests over memory per core by processor time, {:.2} by the \
         clock (at least {CORE_BOUND}); two cores {:.2} times one (at least {TWO_CORES_BOUND}); \
         the service takes {} MiB (at most {})",
        median(&by_processor),
        median(&by_clock),
        median(&by_two),
        took_kib >> 10,
        MEMORY_KIB_BOUND >> 10,
    );
    Ok(())
}

/// GiB in a second of the clock, and in a second of a processor.
struct Speed {
    by_clock: f64,
    by_processor: f64,
}

impl Speed {
    async fn of(work: impl Future<Output = Result<()>>) -> Result<Self> {
        let (begun, used_s) = (Instant::now(), processor_s());
        work.await?;
        #[expect(clippy::cast_precision_loss, reason = "a few GiB")]
        let gib = (FILES * FILE_BYTES) as f64 / f64::from(1 << 30);
        Ok(Self {
            by_clock: gib / begun.elapsed().as_secs_f64(),
            by_processor: gib / (processor_s() - used_s),
        })
    }
}

/// The digests of one file after the other, of bytes that are in memory.
fn over_memory(memory: &[u8]) {
    for _ in 0..FILES {
        let (mut whole, mut behind_header) = (Sha256::new(), Sha256::new());
        let mut blake3 = blake3::Hasher::new();
        for _ in 0..FILE_BYTES / memory.len() as u64 {
            for piece in memory.chunks(READ_BYTES) {
                whole.update(piece);
                behind_header.update(piece);
                blake3.update(piece);
            }
        }
        black_box((
            whole.finalize(),
            behind_header.finalize(),
            blake3.finalize(),
        ));
    }
}

/// Bytes that look like weights.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Writes the files and reads them once, so that they are in the page cache.
fn make_files(folder: &Path) -> Result<()> {
    let header = br#"{"__metadata__":{"format":"pt"}}"#;
    let length = (header.len() as u64).to_le_bytes();
    let body = noise(64 << 20);
    for at in 0..FILES {
        let mut file = File::create(folder.join(format!("{at}.safetensors")))?;
        file.write_all(&[&length[..], header].concat())?;
        // Two files of one content would be one model.
        file.write_all(&at.to_le_bytes())?;
        let mut rest = FILE_BYTES - 16 - header.len() as u64;
        while rest > 0 {
            let piece = rest.min(body.len() as u64);
            file.write_all(&body[..usize::try_from(piece)?])?;
            rest -= piece;
        }
        file.sync_all()?;
        let mut read = File::open(folder.join(format!("{at}.safetensors")))?;
        let mut buffer = vec![0; 1 << 20];
        while read.read(&mut buffer)? > 0 {}
    }
    Ok(())
}

impl Service {
    /// A service whose library has been scanned.
    async fn scanned(root: &Path, threads: usize) -> Result<Self> {
        let service = Self::start(root, threads).await?;
        service.scan().await?;
        Ok(service)
    }

    async fn hash(&self) -> Result<()> {
        let mut library = self.library();
        let started = library.start_hashing(StartHashingRequest::default());
        let report = self.report(started.await?.into_inner().operation).await?;
        let bytes = i64::try_from(FILES * FILE_BYTES)?;
        ensure!(report.counts.get("bytes") == Some(&bytes), "{report:?}");
        Ok(())
    }
}

/// The most memory that a process of its own takes in which a service hashes
/// the folder on two threads, in KiB.
fn memory_of_child(folder: &Path) -> Result<u64> {
    let mut child = Command::new(std::env::current_exe()?);
    let output = child
        .arg(format!("{CHILD_FLAG}{}", folder.display()))
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// The child's part; whether this process is one.
pub(crate) async fn run_child() -> Result<bool> {
    let asked = std::env::args().find_map(|it| it.strip_prefix(CHILD_FLAG).map(str::to_owned));
    let Some(folder) = asked else {
        return Ok(false);
    };
    Service::scanned(Path::new(&folder), 2)
        .await?
        .hash()
        .await?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let most = most.context("no VmHWM")?.trim().trim_end_matches(" kB");
    println!("{most}");
    Ok(true)
}
