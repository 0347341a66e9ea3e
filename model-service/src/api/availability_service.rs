//! Owns the RPCs of AvailabilityService.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use service_kit::auth::Caller;
use service_kit::clock;
use service_kit::resume::ResumeToken;
use service_kit::shutdown::Shutdown;
use service_kit::status::{Failure, Violations};
use stablequeue_proto::models::v1 as wire;
use stablequeue_proto::models::v1::availability_service_server::AvailabilityService;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use super::access::may_report;
use super::convert::{self, TITLE_BYTES_MAX};
use super::inventory_stream;
use super::request::{self, Page, text};
use super::watch_stream::Watch;
use crate::availability::AvailabilityFilter;
use crate::inventories::{Inventories, Question};
use crate::ledger::Ledger;
use crate::metrics::ModelMetrics;
use crate::watch::Watcher;

/// When a caller should try again after a limit of streams.
const RETRY_AFTER: Duration = Duration::from_secs(5);

pub(super) struct AvailabilityApi {
    pub(super) inventories: Inventories,
    pub(super) ledger: Ledger,
    pub(super) metrics: ModelMetrics,
    pub(super) shutdown: Shutdown,
    pub(super) watches: Arc<Semaphore>,
    pub(super) syncs: Arc<Semaphore>,
    /// How old a sight may be when the request does not say.
    pub(super) stale_after: Duration,
}

fn max_age(
    violations: &mut Violations,
    max_age: Option<prost_types::Duration>,
    default: Duration,
) -> Duration {
    match max_age.as_ref().map(clock::from_proto_duration) {
        None => default,
        Some(Some(max_age)) => max_age,
        Some(None) => {
            violations.add("max_age", "must not be negative");
            default
        }
    }
}

fn resume_token(violations: &mut Violations, token: &str) -> Option<ResumeToken> {
    if token.is_empty() {
        return None;
    }
    let parsed = token
        .parse()
        .map_err(|error: service_kit::resume::MalformedResumeToken| {
            violations.add("resume_token", error.to_string());
        });
    parsed.ok()
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[tonic::async_trait]
impl AvailabilityService for AvailabilityApi {
    async fn check_availability(
        &self,
        request: Request<wire::CheckAvailabilityRequest>,
    ) -> Result<Response<wire::CheckAvailabilityResponse>, Status> {
        let wire::CheckAvailabilityRequest {
            references,
            servers,
            max_age: age,
            assets,
        } = request.into_inner();
        let mut violations = Violations::new();
        let references = request::references(&mut violations, &references);
        request::servers(&mut violations, &servers);
        let assets = inventory_stream::needed_assets(&mut violations, assets);
        let max_age = max_age(&mut violations, age, self.stale_after);
        violations.finish()?;
        let question = Question {
            references,
            assets,
            servers,
        };
        let servers = self.inventories.check(question, max_age).await;
        let servers = servers.map_err(Failure::from)?;
        self.metrics.checked(&servers);
        let servers = servers.into_iter().map(convert::to_server).collect();
        Ok(Response::new(wire::CheckAvailabilityResponse { servers }))
    }

    async fn sync_server_inventory(
        &self,
        request: Request<Streaming<wire::SyncServerInventoryRequest>>,
    ) -> Result<Response<wire::SyncServerInventoryResponse>, Status> {
        let _permit = Arc::clone(&self.syncs).try_acquire_owned().map_err(|_| {
            let text = "too many inventories are being received";
            Failure::exhausted("SYNC_LIMIT", "syncs", text, Some(RETRY_AFTER))
        })?;
        let caller = Caller::of(request.extensions())?.clone();
        let update = inventory_stream::read(self.ledger.clock(), request.into_inner()).await?;
        may_report(&caller, &update.server)?;
        let synced = self.inventories.sync(update).await.map_err(Failure::from)?;
        self.metrics.synced();
        let doubted_count = synced.inventory.doubted_count;
        Ok(Response::new(wire::SyncServerInventoryResponse {
            inventory: Some(convert::to_inventory(synced.inventory)),
            added_count: count(synced.added_count),
            removed_count: count(synced.removed_count),
            created_count: count(synced.created_count),
            doubted_count,
        }))
    }

    async fn set_model_availability(
        &self,
        request: Request<wire::SetModelAvailabilityRequest>,
    ) -> Result<Response<wire::SetModelAvailabilityResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let wire::SetModelAvailabilityRequest {
            server,
            model_id,
            title,
        } = request.into_inner();
        let mut violations = Violations::new();
        request::server(&mut violations, "server", &server);
        let id = request::id(&mut violations, "model_id", &model_id);
        text(&mut violations, "title", &title, 0..=TITLE_BYTES_MAX);
        violations.finish()?;
        may_report(&caller, &server)?;
        let title = (!title.is_empty()).then_some(title);
        let set = self
            .inventories
            .set(server, id, title)
            .await
            .map_err(Failure::from)?;
        let availability = Some(convert::to_availability(set));
        Ok(Response::new(wire::SetModelAvailabilityResponse {
            availability,
        }))
    }

    async fn delete_model_availability(
        &self,
        request: Request<wire::DeleteModelAvailabilityRequest>,
    ) -> Result<Response<wire::DeleteModelAvailabilityResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let wire::DeleteModelAvailabilityRequest { server, model_id } = request.into_inner();
        let mut violations = Violations::new();
        request::server(&mut violations, "server", &server);
        let id = request::id(&mut violations, "model_id", &model_id);
        violations.finish()?;
        may_report(&caller, &server)?;
        self.inventories
            .delete(server, id)
            .await
            .map_err(Failure::from)?;
        Ok(Response::new(wire::DeleteModelAvailabilityResponse {}))
    }

    async fn list_availability(
        &self,
        request: Request<wire::ListAvailabilityRequest>,
    ) -> Result<Response<wire::ListAvailabilityResponse>, Status> {
        let wire::ListAvailabilityRequest {
            page_size,
            page_token,
            server,
            model_id,
        } = request.into_inner();
        let mut violations = Violations::new();
        if server.is_empty() && model_id.is_empty() {
            violations.add("server", "server or model_id must be set");
        }
        if !server.is_empty() {
            request::server(&mut violations, "server", &server);
        }
        let id =
            (!model_id.is_empty()).then(|| request::id(&mut violations, "model_id", &model_id));
        let filter = AvailabilityFilter {
            server: (!server.is_empty()).then_some(server),
            model_id: id,
        };
        let filters = format!("ListAvailability {filter:?}");
        let page = Page::read(&mut violations, page_size, &page_token, filters);
        violations.finish()?;
        let after = page.after.unwrap_or(0);
        let facts = self.inventories.list(filter, after, page.fetch()).await;
        let facts = facts.map_err(Failure::from)?;
        let (availabilities, next_page_token) =
            page.fill(facts, |fact| fact.id, convert::to_availability);
        Ok(Response::new(wire::ListAvailabilityResponse {
            availabilities,
            next_page_token,
        }))
    }

    type WatchAvailabilityStream =
        Pin<Box<dyn Stream<Item = Result<wire::WatchAvailabilityResponse, Status>> + Send>>;

    async fn watch_availability(
        &self,
        request: Request<wire::WatchAvailabilityRequest>,
    ) -> Result<Response<Self::WatchAvailabilityStream>, Status> {
        let wire::WatchAvailabilityRequest {
            resume_token: token,
            servers,
        } = request.into_inner();
        let mut violations = Violations::new();
        let token = resume_token(&mut violations, &token);
        request::servers(&mut violations, &servers);
        violations.finish()?;
        let permit = Arc::clone(&self.watches).try_acquire_owned().map_err(|_| {
            let text = "too many watch streams are open";
            Failure::exhausted("WATCH_LIMIT", "watches", text, Some(RETRY_AFTER))
        })?;
        let servers = servers.into_iter().collect();
        let watcher = Watcher::begin(self.ledger.clone(), token, servers).await;
        let watcher = watcher.map_err(Failure::from)?;
        let counted = self.metrics.watching();
        let watch = Watch::new(
            &self.ledger,
            watcher,
            self.shutdown.clone(),
            permit,
            counted,
        );
        Ok(Response::new(Box::pin(watch.messages())))
    }

    async fn list_inventories(
        &self,
        request: Request<wire::ListInventoriesRequest>,
    ) -> Result<Response<wire::ListInventoriesResponse>, Status> {
        let wire::ListInventoriesRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let mut violations = Violations::new();
        let filters = "ListInventories".to_owned();
        let mut page: Page<String> = Page::read(&mut violations, page_size, &page_token, filters);
        violations.finish()?;
        let after = page.after.take().unwrap_or_default();
        let inventories = self.inventories.list_inventories(after, page.fetch()).await;
        let inventories = inventories.map_err(Failure::from)?;
        let (inventories, next_page_token) = page.fill(
            inventories,
            |inventory| inventory.server.clone(),
            convert::to_inventory,
        );
        Ok(Response::new(wire::ListInventoriesResponse {
            inventories,
            next_page_token,
        }))
    }
}
