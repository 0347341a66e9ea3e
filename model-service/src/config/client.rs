//! Owns how commands reach a running service, and what they ask of it. It does
//! not ask.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use service_kit::auth::Token;

use super::LISTEN_DEFAULT;

/// Which service to ask, and as whom.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// Where the service listens; a wildcard address is asked on loopback.
    #[arg(long, env = "MODEL_SERVICE_LISTEN", default_value = LISTEN_DEFAULT)]
    pub address: SocketAddr,
    /// The file of the token to present, which needs models:read and
    /// models:write; absent where the service wants none.
    #[arg(long, env = "MODEL_SERVICE_CLIENT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

/// What to scan.
#[derive(Debug, Clone, Args)]
pub struct ScanArgs {
    /// Names or paths of configured roots; none: all.
    #[arg(value_name = "ROOT")]
    pub roots: Vec<String>,
    /// Read every file again, also those whose size, time and inode are as
    /// before.
    #[arg(long)]
    pub full: bool,
    /// Fill empty fields also with what names of files and folders suggest.
    #[arg(long)]
    pub guess_from_names: bool,
    /// See [`ClientArgs`].
    #[command(flatten)]
    pub client: ClientArgs,
}

/// What to hash.
#[derive(Debug, Clone, Args)]
pub struct HashArgs {
    /// Names or paths of configured roots; none: all.
    #[arg(value_name = "ROOT")]
    pub roots: Vec<String>,
    /// Hash again what is hashed already.
    #[arg(long)]
    pub again: bool,
    /// See [`ClientArgs`].
    #[command(flatten)]
    pub client: ClientArgs,
}

impl ClientArgs {
    /// The token, if there is to be one.
    ///
    /// # Errors
    /// What is wrong with its file, never a part of it.
    pub fn token(&self) -> Result<Option<Token>, String> {
        let Some(path) = &self.token_file else {
            return Ok(None);
        };
        let flag = "--token-file";
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{flag} {}: {error}", path.display()))?;
        let token = Token::parse(text.trim());
        token
            .map(Some)
            .map_err(|_| format!("{flag} {}: holds no token", path.display()))
    }
}
