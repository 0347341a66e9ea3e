//! The command `backup` on a running service: through its admin socket.

use std::path::Path;

use service_kit::{
    clock::{from_timestamp, to_text},
    commands::Outcome,
    database::LockError,
    exit::Exit,
};
use stablequeue_proto::admin::v1::{CreateBackupRequest, admin_service_client::AdminServiceClient};

use super::api_key::CommandError;
use crate::admin_socket;

/// Has the service that holds the database make a backup of it.
pub(super) async fn of_running(data_dir: &Path, held: LockError) -> Result<Outcome, CommandError> {
    let channel = match admin_socket::connect(data_dir).await {
        Ok(channel) => channel,
        Err(source) => return Err(CommandError::Unreachable { held, source }),
    };
    let mut client = AdminServiceClient::new(channel);
    let made = client.create_backup(CreateBackupRequest::default()).await?;
    let made = made.into_inner().backup.unwrap_or_default();
    let time = made.create_time.as_ref().and_then(from_timestamp);
    let time = time.map(to_text).unwrap_or_default();
    Ok(Outcome {
        text: format!("{}  {time}  {} bytes", made.name, made.size_bytes),
        exit: Exit::Clean,
    })
}
