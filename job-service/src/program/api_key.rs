//! The command `api-key`: on a stopped service it takes the database itself, on
//! a running one it goes through the admin socket. Both ways lead to the same
//! service, so that they check and refuse alike.

use std::path::Path;

use chrono::Duration;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use service_kit::{
    audit::{Audit, AuditLimits},
    clock::{Clock, from_timestamp, to_text, to_timestamp},
    database::{DatabaseError, LockError},
    exit::Exit,
    shutdown::{GRACE_DEFAULT, Shutdown},
};
use stablequeue_proto::jobs::v1::{self as proto, api_key_service_client::ApiKeyServiceClient};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{StdError, http},
    service::Routes,
};
use tower::{Service, ServiceExt as _, util::BoxService};

use crate::{
    admin_socket::{self, SocketError},
    api,
    config::{ApiKeyCommand, CreateArgs, RevokeArgs},
    run::{self, StartError},
};

/// The same calls, whichever way they go.
type Client = ApiKeyServiceClient<BoxService<http::Request<Body>, http::Response<Body>, StdError>>;

/// Keys on one page of a list.
const PAGE: i32 = 1000;

/// Why the command did nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    /// The database cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It is in use, and its holder cannot be reached.
    #[error("{held}; its admin socket cannot be used")]
    Unreachable {
        /// Who has it.
        held: LockError,
        /// Why it cannot be reached.
        source: SocketError,
    },
    /// The service refuses.
    #[error("{}", .0.message())]
    Refused(#[from] Status),
    /// The database cannot be closed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl CommandError {
    /// How the program ends because of it.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Start(error) => error.exit(),
            Self::Unreachable { .. } => Exit::Locked,
            Self::Refused(status) if status.code() == Code::InvalidArgument => {
                Exit::BadConfiguration
            }
            Self::Refused(_) | Self::Database(_) => Exit::Failure,
        }
    }
}

/// Does it, and answers what is to be printed.
pub(super) async fn perform(command: &ApiKeyCommand, clock: Clock) -> Result<String, CommandError> {
    let data_dir = &command.data().data_dir;
    let shutdown = Shutdown::new(clock.clone());
    match run::open_keys(data_dir, &clock, &shutdown).await {
        Ok((database, keys)) => {
            let audit = Audit::start(
                database.clone(),
                &AuditLimits::default(),
                &mut Registry::default(),
                &shutdown,
                clock.clone(),
            );
            let routes = Routes::new(api::local_keys(keys, audit, admin_socket::introduce));
            let client = client(routes);
            let done = ask(client, command, &clock).await;
            if let Err(still_running) = shutdown.wait(GRACE_DEFAULT).await {
                tracing::warn!(%still_running, "cut off");
            }
            database.close().await?;
            Ok(done?)
        }
        Err(StartError::Lock(held @ LockError::Held { .. })) => {
            let client = running(data_dir, held).await?;
            Ok(ask(client, command, &clock).await?)
        }
        Err(error) => Err(error.into()),
    }
}

fn client<S>(service: S) -> Client
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Send + 'static,
    S::Error: Into<StdError>,
    S::Future: Send,
{
    ApiKeyServiceClient::new(service.map_err(Into::into).boxed())
}

async fn running(data_dir: &Path, held: LockError) -> Result<Client, CommandError> {
    match admin_socket::connect(data_dir).await {
        Ok(channel) => Ok(client(channel)),
        Err(source) => Err(CommandError::Unreachable { held, source }),
    }
}

async fn ask(client: Client, command: &ApiKeyCommand, clock: &Clock) -> Result<String, Status> {
    match command {
        ApiKeyCommand::Create(create) => make(client, create, clock).await,
        ApiKeyCommand::List(list) => {
            let keys = all(client).await?;
            Ok(if list.json {
                Value::from_iter(keys.iter().map(as_json)).to_string()
            } else {
                table(&keys)
            })
        }
        ApiKeyCommand::Revoke(revoke) => take(client, revoke).await,
    }
}

async fn make(mut client: Client, create: &CreateArgs, clock: &Clock) -> Result<String, Status> {
    let hours = create
        .expires_in_hours
        .map(|hours| Duration::hours(hours.into()));
    let api_key = proto::ApiKey {
        name: create.name.clone(),
        description: create.description.clone(),
        scopes: create.scopes.clone(),
        expire_time: hours.map(|hours| to_timestamp(clock.now() + hours)),
        ..proto::ApiKey::default()
    };
    let request = proto::CreateApiKeyRequest {
        api_key: Some(api_key),
        request_id: String::new(),
    };
    let answer = client.create_api_key(request).await?.into_inner();
    let proto::ApiKeyProof { key, secret, token } = answer.proof.unwrap_or_default();
    let id = answer.api_key.unwrap_or_default().key_id;
    Ok(if create.json {
        json!({"keyId": id, "key": key, "secret": secret, "token": token}).to_string()
    } else {
        format!(
            "key id: {id}\nkey:    {key}\nsecret: {secret}\ntoken:  {token}\n\
             Key, secret and token are shown this once; only digests of them are kept."
        )
    })
}

async fn all(mut client: Client) -> Result<Vec<proto::ApiKey>, Status> {
    let mut request = proto::ListApiKeysRequest {
        page_size: PAGE,
        page_token: String::new(),
    };
    let mut keys = Vec::new();
    loop {
        let page = client.list_api_keys(request.clone()).await?.into_inner();
        keys.extend(page.api_keys);
        if page.next_page_token.is_empty() {
            return Ok(keys);
        }
        request.page_token = page.next_page_token;
    }
}

async fn take(mut client: Client, revoke: &RevokeArgs) -> Result<String, Status> {
    let key_id = revoke.key_id.clone();
    if revoke.delete {
        client
            .delete_api_key(proto::DeleteApiKeyRequest { key_id })
            .await?;
        return Ok(format!("key {} is deleted", revoke.key_id));
    }
    let api_key = proto::ApiKey {
        key_id,
        active: Some(false),
        ..proto::ApiKey::default()
    };
    let request = proto::UpdateApiKeyRequest {
        api_key: Some(api_key),
        update_mask: None,
    };
    client.update_api_key(request).await?;
    Ok(format!("key {} is revoked", revoke.key_id))
}

fn as_json(key: &proto::ApiKey) -> Value {
    json!({
        "keyId": key.key_id,
        "name": key.name,
        "description": key.description,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "active": key.active(),
        "createTime": time(key.create_time),
        "lastUseTime": time(key.last_use_time),
        "expireTime": time(key.expire_time),
    })
}

/// One line for each key.
fn table(keys: &[proto::ApiKey]) -> String {
    let line = |key: &proto::ApiKey| {
        let state = if key.active() { "active" } else { "revoked" };
        let until = time(key.expire_time).map_or(String::new(), |at| format!(" until {at}"));
        let used =
            time(key.last_use_time).map_or("never used".to_owned(), |at| format!("used {at}"));
        let (id, prefix, name) = (&key.key_id, &key.prefix, &key.name);
        format!(
            "{id}  sq_{prefix}  {state}{until}  {used}  {}  {name}",
            key.scopes.join(",")
        )
    };
    let lines: Vec<_> = keys.iter().map(line).collect();
    if lines.is_empty() {
        return "there is no key".to_owned();
    }
    lines.join("\n")
}

fn time(time: Option<prost_types::Timestamp>) -> Option<String> {
    from_timestamp(&time?).map(to_text)
}
