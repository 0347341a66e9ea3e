//! Owns the commands `scan` and `hash`: they have a running service do it, tell
//! how far it is, and print what came of it. They touch no file and no database
//! themselves.

mod client;
mod follow;
mod report;

use service_kit::clock::Clock;
use service_kit::commands::{Counted, Outcome};
use service_kit::exit::Exit;
use stablequeue_proto::admin::v1::{Operation, OperationState};
use stablequeue_proto::models::v1::{
    ListLibraryRootsRequest, StartHashingRequest, StartScanRequest,
};
use tonic::Status;

use crate::config::{HashArgs, ScanArgs};
use client::Clients;

/// Why a command did not get to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// What was asked for cannot be asked.
    #[error("{0}")]
    Usage(String),
    /// The service did not answer as it should.
    #[error("the service answers {}: {}", .0.code(), .0.message())]
    Refused(Box<Status>),
    /// The service cannot be reached.
    #[error("{address} cannot be reached: is the service running there? (--address)")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What the connection says.
        #[source]
        source: tonic::transport::Error,
    },
    /// The terminal cannot be listened to.
    #[error("Ctrl-C cannot be listened to")]
    Signal(#[source] std::io::Error),
    /// Whoever is at the terminal did not want to wait.
    #[error("not waited for any longer; the operation {0} goes on in the service")]
    Left(String),
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl ClientError {
    /// How the program ends because of it.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::BadConfiguration,
            Self::Refused(_) | Self::Unreachable { .. } | Self::Signal(_) | Self::Left(_) => {
                Exit::Failure
            }
        }
    }
}

/// Has the service scan.
#[tokio::main]
pub(super) async fn scan(args: &ScanArgs) -> Result<Outcome, ClientError> {
    let mut clients = Clients::connect(&args.client).await?;
    let request = StartScanRequest {
        roots: roots(&mut clients, &args.roots).await?,
        full: args.full,
        request_id: String::new(),
        guess_from_names: args.guess_from_names,
    };
    let started = clients.library.start_scan(request).await?.into_inner();
    finish(clients, started.operation, "scanning", Counted::Things).await
}

/// Has the service hash.
#[tokio::main]
pub(super) async fn hash(args: &HashArgs) -> Result<Outcome, ClientError> {
    let mut clients = Clients::connect(&args.client).await?;
    let request = StartHashingRequest {
        roots: roots(&mut clients, &args.roots).await?,
        model_ids: Vec::new(),
        again: args.again,
        request_id: String::new(),
    };
    let started = clients.library.start_hashing(request).await?.into_inner();
    finish(clients, started.operation, "hashing", Counted::Bytes).await
}

/// The names of the roots that are meant by their names or paths.
async fn roots(clients: &mut Clients, asked: &[String]) -> Result<Vec<String>, ClientError> {
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let known = clients
        .library
        .list_library_roots(ListLibraryRootsRequest {});
    let known = known.await?.into_inner().roots;
    let plain = |path: &str| path.trim_end_matches('/').to_owned();
    let name = |asked: &String| {
        let by_name = known.iter().find(|root| root.name == *asked);
        let by_path = || known.iter().find(|root| plain(&root.path) == plain(asked));
        let found = by_name.or_else(by_path).map(|root| root.name.clone());
        found.ok_or_else(|| {
            let all: Vec<&str> = known.iter().map(|root| root.name.as_str()).collect();
            ClientError::Usage(format!(
                "{asked:?} is no root of the service; it has {}",
                match all.is_empty() {
                    true => "none (serve --library-root)".to_owned(),
                    false => all.join(", "),
                }
            ))
        })
    };
    asked.iter().map(name).collect()
}

/// Follows the operation to its end and tells what came of it.
async fn finish(
    clients: Clients,
    started: Option<Operation>,
    what: &'static str,
    counted: Counted,
) -> Result<Outcome, ClientError> {
    let nothing = || Status::internal("no operation was begun");
    let started = started.ok_or_else(nothing)?;
    let clock = Clock::system();
    let ended = follow::to_its_end(clients, started, what, counted, &clock).await?;
    let exit = match ended.state() {
        OperationState::Succeeded => Exit::Clean,
        _ => Exit::Failure,
    };
    Ok(Outcome {
        text: report::text(what, &ended),
        exit,
    })
}
