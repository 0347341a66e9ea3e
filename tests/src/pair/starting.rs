//! Starts the two services of a pair with its options. When they are started is
//! the pair's.

use std::path::PathBuf;

use anyhow::Result;
use job_service::keys::BootstrapKey;
use service_kit::clock::Clock;
use tokio::net::TcpListener;

use super::PairOptions;

pub(super) async fn start_models(
    data_dir: PathBuf,
    addr: &str,
    options: &PairOptions,
) -> Result<model_service::Running> {
    let listener = TcpListener::bind(addr).await?;
    let mut config = model_service::Config::in_folder(data_dir);
    config.tokens.clone_from(&options.model_tokens);
    config.library.clone_from(&options.library);
    Ok(model_service::start(config, listener, Clock::system()).await?)
}

pub(super) async fn start_jobs(
    data_dir: PathBuf,
    addr: &str,
    models: std::net::SocketAddr,
    options: &PairOptions,
) -> Result<job_service::Running> {
    let listener = TcpListener::bind(addr).await?;
    let mut config = job_service::Config::in_folder(data_dir, format!("http://{models}"));
    config.pace = options.pace.clone();
    config.grace = options.grace;
    config.limits = options.limits.clone();
    config.download_missing = options.download_missing;
    config.model_token.clone_from(&options.model_token);
    let key = options.key.as_ref();
    config.bootstrap_key = key
        .map(|token| BootstrapKey::parse(token.expose()))
        .transpose()?;
    Ok(job_service::start(config, listener, Clock::system()).await?)
}
