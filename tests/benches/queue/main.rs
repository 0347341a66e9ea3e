//! How fast jobs get in and out to a server, always beside a bound that is
//! measured in the same run: `cargo bench -p system-tests`. Absolute times
//! are noise on shared machines; the ratios are what counts.

mod backup;
mod dispatch;
mod echo;
mod figures;
mod submit;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    submit::run().await?;
    submit::run_with_keys().await?;
    backup::run().await?;
    dispatch::run().await
}
