//! How fast the library of models is read, always beside a bound that is
//! measured in the same run: `cargo bench -p system-tests --bench library`.
//! Parts by name: `cargo bench -p system-tests --bench library -- scan`.

mod check;
#[path = "../queue/figures.rs"]
mod figures;
mod hash;
mod inventories;
mod scan;
mod service;
mod sync;

use anyhow::ensure;

const PARTS: [&str; 4] = ["scan", "hash", "sync", "check"];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if hash::run_child().await? {
        return Ok(());
    }
    // Cargo adds flags of its own.
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    wanted.retain(|it| !it.starts_with("--"));
    for name in &wanted {
        let known = PARTS.contains(&name.as_str());
        ensure!(known, "there is no part {name}; there are {PARTS:?}");
    }
    for part in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|it| it == part) {
            continue;
        }
        match part {
            "scan" => scan::run().await?,
            "sync" => sync::run().await?,
            "check" => check::run().await?,
            _ => hash::run().await?,
        }
    }
    Ok(())
}
