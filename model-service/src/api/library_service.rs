//! Owns the RPCs of LibraryService.

use prost_types::Timestamp;
use service_kit::auth::Caller;
use service_kit::clock;
use service_kit::operations::{Operation, OperationCaller, wire_operation};
use service_kit::status::{Failure, Violations};
use stablequeue_proto::admin::v1::Operation as WireOperation;
use stablequeue_proto::models::v1 as wire;
use stablequeue_proto::models::v1::library_service_server::LibraryService;
use tonic::{Extensions, Request, Response, Status};

use super::{convert, duplicates, library_request, missing_models, request};
use crate::error::ModelError;
use crate::library::{Library, RootNow};

pub(super) struct LibraryApi {
    pub(super) library: Library,
}

/// Who asks, and the id that they gave the call.
struct Asker {
    caller: OperationCaller,
    request_id: Option<String>,
}

impl Asker {
    fn read(
        violations: &mut Violations,
        extensions: &Extensions,
        request_id: &str,
    ) -> Result<Self, Status> {
        let id = request::request_id(violations, request_id);
        Ok(Self {
            caller: Caller::of(extensions)?.into(),
            request_id: id.map(|id| id.as_str().to_owned()),
        })
    }
}

fn started(begun: Result<Operation, ModelError>) -> Result<Option<WireOperation>, Status> {
    Ok(Some(wire_operation(begun.map_err(Failure::from)?)))
}

fn to_root(now: RootNow) -> wire::LibraryRoot {
    let RootNow {
        root,
        free_bytes,
        scanned,
    } = now;
    let scan_time: Option<Timestamp> = scanned
        .as_ref()
        .map(|scanned| clock::to_timestamp(scanned.scanned_at));
    wire::LibraryRoot {
        name: root.name().to_owned(),
        path: root.path().to_string_lossy().into_owned(),
        r#type: root.kind().map_or(0, convert::to_kind),
        readable: free_bytes.is_some(),
        scan_time,
        file_count: scanned.as_ref().map_or(0, |scanned| scanned.file_count),
        problem_count: scanned.as_ref().map_or(0, |scanned| scanned.problem_count),
        free_bytes: free_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
    }
}

#[tonic::async_trait]
impl LibraryService for LibraryApi {
    async fn list_library_roots(
        &self,
        _: Request<wire::ListLibraryRootsRequest>,
    ) -> Result<Response<wire::ListLibraryRootsResponse>, Status> {
        let roots = self.library.roots().await.map_err(Failure::from)?;
        let roots = roots.into_iter().map(to_root).collect();
        Ok(Response::new(wire::ListLibraryRootsResponse { roots }))
    }

    async fn start_scan(
        &self,
        request: Request<wire::StartScanRequest>,
    ) -> Result<Response<wire::StartScanResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let mut violations = Violations::new();
        let asker = Asker::read(&mut violations, &extensions, &request.request_id)?;
        let asked = library_request::scan(&mut violations, request);
        violations.finish()?;
        let begun = self
            .library
            .start_scan(asked, asker.caller, asker.request_id);
        let operation = started(begun.await)?;
        Ok(Response::new(wire::StartScanResponse { operation }))
    }

    async fn start_hashing(
        &self,
        request: Request<wire::StartHashingRequest>,
    ) -> Result<Response<wire::StartHashingResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let mut violations = Violations::new();
        let asker = Asker::read(&mut violations, &extensions, &request.request_id)?;
        let asked = library_request::hashing(&mut violations, request);
        violations.finish()?;
        let begun = self
            .library
            .start_hashing(asked, asker.caller, asker.request_id);
        let operation = started(begun.await)?;
        Ok(Response::new(wire::StartHashingResponse { operation }))
    }

    async fn start_enrichment(
        &self,
        request: Request<wire::StartEnrichmentRequest>,
    ) -> Result<Response<wire::StartEnrichmentResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let mut violations = Violations::new();
        let asker = Asker::read(&mut violations, &extensions, &request.request_id)?;
        let asked = library_request::enrichment(&mut violations, request);
        violations.finish()?;
        let begun = self
            .library
            .start_enrichment(asked, asker.caller, asker.request_id);
        let operation = started(begun.await)?;
        Ok(Response::new(wire::StartEnrichmentResponse { operation }))
    }

    async fn start_download(
        &self,
        request: Request<wire::StartDownloadRequest>,
    ) -> Result<Response<wire::StartDownloadResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let mut violations = Violations::new();
        let asker = Asker::read(&mut violations, &extensions, &request.request_id)?;
        let asked = library_request::download(&mut violations, request);
        violations.finish()?;
        let begun = self
            .library
            .start_download(asked, asker.caller, asker.request_id);
        let operation = started(begun.await)?;
        Ok(Response::new(wire::StartDownloadResponse { operation }))
    }

    async fn download_missing(
        &self,
        request: Request<wire::DownloadMissingRequest>,
    ) -> Result<Response<wire::DownloadMissingResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = Caller::of(&extensions)?.into();
        let models = missing_models::download(&self.library, &caller, request);
        Ok(Response::new(models.await?))
    }

    async fn find_duplicates(
        &self,
        request: Request<wire::FindDuplicatesRequest>,
    ) -> Result<Response<wire::FindDuplicatesResponse>, Status> {
        let found = duplicates::find(&self.library, request.into_inner());
        Ok(Response::new(found.await?))
    }
}
