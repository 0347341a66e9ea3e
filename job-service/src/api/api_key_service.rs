//! ApiKeyService: each handler parses, asks one use case, converts.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use service_kit::{
    audit::AuditTarget,
    auth::Caller,
    clock::from_proto_duration,
    page::{PageToken, page_size},
    status::Failure,
};
use stablequeue_proto::jobs::v1::{self as proto, api_key_service_server::ApiKeyService};
use tonic::{Request, Response, Status};

use super::{
    convert::api_key as convert,
    parse::{invalid, request_id},
    status,
};
use crate::{
    api_key::{ApiKeyRecord, KeysAdmin, OVERLAP_DEFAULT, OVERLAP_MAX},
    error::Error,
    keys::{Keys, Shown},
    request::Violation,
};

/// Bytes that the id of a key may have; older ones are not all UUIDs.
const KEY_ID_BYTES_MAX: usize = 128;
/// What a page token of keys is bound to.
const LISTED: &[u8] = b"api_keys";

/// The handlers.
pub(crate) struct ApiKeyApi {
    keys: Arc<Keys>,
    /// Whether callers are on the machine itself.
    local: bool,
}

impl ApiKeyApi {
    /// For callers of the port.
    pub(crate) fn new(keys: Arc<Keys>) -> Self {
        Self { keys, local: false }
    }

    /// For whoever may open the data folder.
    pub(crate) fn local(keys: Arc<Keys>) -> Self {
        Self { keys, local: true }
    }

    fn admin<T>(&self, request: &Request<T>) -> Result<KeysAdmin, Status> {
        Ok(KeysAdmin {
            scopes: caller(request)?.scopes,
            local: self.local,
        })
    }

    /// Tells the audit which key a call is about; nothing that is no key's id,
    /// since that could be anything.
    fn note<T>(&self, request: &Request<T>, id: &str) {
        if self.keys.get(id).is_ok() {
            AuditTarget::note(request.extensions(), id);
        }
    }

    fn shown(&self, record: ApiKeyRecord) -> proto::ApiKey {
        convert::api_key(record, self.keys.now())
    }
}

#[tonic::async_trait]
impl ApiKeyService for ApiKeyApi {
    async fn create_api_key(
        &self,
        request: Request<proto::CreateApiKeyRequest>,
    ) -> Result<Response<proto::CreateApiKeyResponse>, Status> {
        let admin = self.admin(&request)?;
        let mut violations = Vec::new();
        let own_id = caller(&request)?.key_id.clone();
        let target = AuditTarget::of(request.extensions());
        let proto::CreateApiKeyRequest {
            api_key,
            request_id: id,
        } = request.into_inner();
        let id = request_id("request_id", id, own_id.as_deref(), &mut violations);
        let new = convert::new_key(api_key, self.keys.now(), &mut violations);
        let Some(new) = new.filter(|_| violations.is_empty()) else {
            return Err(status(Error::Invalid(violations)));
        };
        let Shown { record, proof } = self.keys.create(new, admin, id).await.map_err(status)?;
        target.set(&record.id);
        Ok(Response::new(proto::CreateApiKeyResponse {
            api_key: Some(self.shown(record)),
            proof: proof.as_ref().map(convert::proof),
        }))
    }

    async fn get_api_key(
        &self,
        request: Request<proto::GetApiKeyRequest>,
    ) -> Result<Response<proto::GetApiKeyResponse>, Status> {
        self.note(&request, &request.get_ref().key_id);
        let id = key_id("key_id", request.into_inner().key_id)?;
        let record = self.keys.get(&id).map_err(status)?;
        Ok(Response::new(proto::GetApiKeyResponse {
            api_key: Some(self.shown(record)),
        }))
    }

    async fn list_api_keys(
        &self,
        request: Request<proto::ListApiKeysRequest>,
    ) -> Result<Response<proto::ListApiKeysResponse>, Status> {
        let proto::ListApiKeysRequest {
            page_size: size,
            page_token,
        } = request.into_inner();
        let mut violations = Vec::new();
        let size = page_size(size).unwrap_or_else(|error| {
            violations.push(Violation::new("page_size", error.to_string()));
            1
        });
        let after = match page_token.as_str() {
            "" => None,
            token => cursor(token, &mut violations),
        };
        if !violations.is_empty() {
            return Err(status(Error::Invalid(violations)));
        }
        let mut records = self.keys.list(after.as_ref(), size + 1);
        let more = records.len() > size;
        records.truncate(size);
        let next = records.last().filter(|_| more).map(|last| {
            let created = last.created_at.timestamp_millis();
            PageToken::encode(LISTED, &(created, &last.id))
        });
        Ok(Response::new(proto::ListApiKeysResponse {
            api_keys: records.into_iter().map(|key| self.shown(key)).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn update_api_key(
        &self,
        request: Request<proto::UpdateApiKeyRequest>,
    ) -> Result<Response<proto::UpdateApiKeyResponse>, Status> {
        let admin = self.admin(&request)?;
        if let Some(key) = &request.get_ref().api_key {
            self.note(&request, &key.key_id);
        }
        let proto::UpdateApiKeyRequest {
            api_key,
            update_mask,
        } = request.into_inner();
        let key = api_key.ok_or_else(|| invalid("api_key", "is required"))?;
        let id = key_id("api_key.key_id", key.key_id.clone())?;
        let mut violations = Vec::new();
        let (change, revision) =
            convert::change(key, update_mask, self.keys.now(), &mut violations);
        if !violations.is_empty() {
            return Err(status(Error::Invalid(violations)));
        }
        let updated = self.keys.update(&id, change, revision, admin).await;
        Ok(Response::new(proto::UpdateApiKeyResponse {
            api_key: Some(self.shown(updated.map_err(status)?)),
        }))
    }

    async fn rotate_api_key(
        &self,
        request: Request<proto::RotateApiKeyRequest>,
    ) -> Result<Response<proto::RotateApiKeyResponse>, Status> {
        let admin = self.admin(&request)?;
        self.note(&request, &request.get_ref().key_id);
        let proto::RotateApiKeyRequest {
            key_id: id,
            overlap,
        } = request.into_inner();
        let id = key_id("key_id", id)?;
        let overlap = overlap_of(overlap)?;
        let rotated = self.keys.rotate(&id, overlap, admin).await;
        let Shown { record, proof } = rotated.map_err(status)?;
        Ok(Response::new(proto::RotateApiKeyResponse {
            api_key: Some(self.shown(record)),
            proof: proof.as_ref().map(convert::proof),
        }))
    }

    async fn delete_api_key(
        &self,
        request: Request<proto::DeleteApiKeyRequest>,
    ) -> Result<Response<proto::DeleteApiKeyResponse>, Status> {
        let admin = self.admin(&request)?;
        self.note(&request, &request.get_ref().key_id);
        let id = key_id("key_id", request.into_inner().key_id)?;
        self.keys.delete(&id, admin).await.map_err(status)?;
        Ok(Response::new(proto::DeleteApiKeyResponse {}))
    }
}

fn caller<T>(request: &Request<T>) -> Result<&Caller, Status> {
    Caller::of(request.extensions()).map_err(Failure::into_status)
}

/// An id that could be one.
fn key_id(path: &str, id: String) -> Result<String, Status> {
    if id.is_empty() || id.len() > KEY_ID_BYTES_MAX {
        let words = format!("must have 1 to {KEY_ID_BYTES_MAX} bytes");
        return Err(invalid(path, &words));
    }
    Ok(id)
}

/// The place that a page token names.
fn cursor(token: &str, violations: &mut Vec<Violation>) -> Option<(DateTime<Utc>, String)> {
    let decoded = PageToken::decode::<(i64, String)>(token, LISTED);
    let place = decoded
        .map_err(|error| error.to_string())
        .and_then(|(created, id)| {
            let created = DateTime::from_timestamp_millis(created);
            created
                .map(|at| (at, id))
                .ok_or("is not a token of this service".to_owned())
        });
    match place {
        Ok(place) => Some(place),
        Err(fault) => {
            violations.push(Violation::new("page_token", fault));
            None
        }
    }
}

fn overlap_of(overlap: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let Some(overlap) = overlap else {
        return Ok(OVERLAP_DEFAULT);
    };
    from_proto_duration(&overlap)
        .and_then(|overlap| Duration::from_std(overlap).ok())
        .filter(|overlap| *overlap <= OVERLAP_MAX)
        .ok_or_else(|| invalid("overlap", "must be 0 to 30 days"))
}
