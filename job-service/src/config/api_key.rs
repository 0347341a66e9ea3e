//! The command line of `api-key`.

use clap::{Args, Subcommand};

use super::DataArgs;

/// What to do with API keys.
#[derive(Debug, Clone, Subcommand)]
pub enum ApiKeyCommand {
    /// Make a key. It is shown once; only digests of it are kept. From the
    /// first one on, every call needs a key, for good.
    Create(CreateArgs),
    /// Show all keys, without what proves them.
    List(ListArgs),
    /// Take a key out of use at once. It stays in the list.
    Revoke(RevokeArgs),
}

/// The key to make.
#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// See [`DataArgs`].
    #[command(flatten)]
    pub data: DataArgs,
    /// Who or what will use it.
    #[arg(long)]
    pub name: String,
    /// What it may do; repeat or separate by commas. Of jobs:read, jobs:write,
    /// jobs:read-all, queue:admin, servers:admin, keys:admin, models:read,
    /// models:write, admin.
    #[arg(long, value_delimiter = ',', default_value = "jobs:read,jobs:write")]
    pub scopes: Vec<String>,
    /// For people.
    #[arg(long, default_value = "")]
    pub description: String,
    /// Hours from now until it is good no more; absent is never.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=876_000))]
    pub expires_in_hours: Option<u32>,
    /// Print JSON, for scripts.
    #[arg(long)]
    pub json: bool,
}

/// How to show keys.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// See [`DataArgs`].
    #[command(flatten)]
    pub data: DataArgs,
    /// Print JSON, for scripts.
    #[arg(long)]
    pub json: bool,
}

/// The key to take out of use.
#[derive(Debug, Clone, Args)]
pub struct RevokeArgs {
    /// See [`DataArgs`].
    #[command(flatten)]
    pub data: DataArgs,
    /// Its id, as create and list print it.
    pub key_id: String,
    /// Remove it from the list, too.
    #[arg(long)]
    pub delete: bool,
}

impl ApiKeyCommand {
    /// Where the keys are.
    #[must_use]
    pub fn data(&self) -> &DataArgs {
        match self {
            Self::Create(create) => &create.data,
            Self::List(list) => &list.data,
            Self::Revoke(revoke) => &revoke.data,
        }
    }
}
