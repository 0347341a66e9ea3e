//! How fast jobs get in and out to a server, always beside a bound that is
//! measured in the same run: `cargo bench -p system-tests`. Absolute times
//! are noise on shared machines; the ratios are what counts. Parts by name:
//! `cargo bench -p system-tests -- backup start`.

mod backup;
mod dispatch;
mod echo;
mod fifth;
mod figures;
mod start;
mod submit;

use anyhow::ensure;

const PARTS: [&str; 6] = ["submit", "keys", "backup", "dispatch", "start", "fifth"];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
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
            "submit" => submit::run().await?,
            "keys" => submit::run_with_keys().await?,
            "backup" => backup::run().await?,
            "dispatch" => dispatch::run().await?,
            "start" => start::run().await?,
            _ => fifth::run().await?,
        }
    }
    Ok(())
}
