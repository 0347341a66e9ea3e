//! The methods of OperationService: read the request, call once, convert.

use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use stablequeue_proto::admin::v1::operation_service_server::OperationService;
use stablequeue_proto::admin::v1::*;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Response, Status};

use super::store::cursor_of;
use super::{Follow, OperationError, OperationKind, Operations, WATCH_EVERY, convert, request};
use crate::audit::AuditTarget;
use crate::auth::{Caller, Scope};
use crate::clock::Clock;
use crate::layers::Deadline;
use crate::page::PageToken;
use crate::status::Failure;

/// The messages of a watch.
type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchOperationResponse, Status>> + Send>>;

#[tonic::async_trait]
impl OperationService for Operations {
    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<GetOperationResponse>, Status> {
        let id = request::operation_id(&request.get_ref().operation_id)?;
        AuditTarget::note(request.extensions(), &id);
        let operation = self.seen(&id, &request).await?.now();
        Ok(Response::new(GetOperationResponse {
            operation: Some(convert::wire_operation(operation)),
        }))
    }

    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let mut wanted = request::page(request.get_ref())?;
        if !sees_all(&request)? {
            wanted.filter.only_of_library();
        }
        let page = self.page(wanted.filter, wanted.behind, wanted.size + 1);
        let mut page = page.await.map_err(status)?;
        let more = page.len() > wanted.size;
        page.truncate(wanted.size);
        let last = page.last().filter(|_| more);
        let next_page_token = last.map_or_else(String::new, |last| {
            PageToken::encode(&wanted.made_for, &cursor_of(last))
        });
        Ok(Response::new(ListOperationsResponse {
            operations: page.into_iter().map(convert::listed_operation).collect(),
            next_page_token,
        }))
    }

    type WatchOperationStream = WatchStream;

    async fn watch_operation(
        &self,
        request: Request<WatchOperationRequest>,
    ) -> Result<Response<WatchStream>, Status> {
        let id = request::operation_id(&request.get_ref().operation_id)?;
        AuditTarget::note(request.extensions(), &id);
        let place = self.watch_place().map_err(status)?;
        let follow = self.seen(&id, &request).await?;
        let watch = Watch {
            follow,
            clock: self.0.clock.clone(),
            told_at: None,
            _place: place,
        };
        Ok(Response::new(watch.messages()))
    }

    async fn wait_operation(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> Result<Response<WaitOperationResponse>, Status> {
        let asked = request.get_ref();
        let (id, limit) = request::wait(&asked.operation_id, asked.timeout.as_ref())?;
        AuditTarget::note(request.extensions(), &id);
        let clock = &self.0.clock;
        // After its own deadline nobody is there to be answered.
        let deadline = request.extensions().get::<Deadline>();
        let limit = deadline.map_or(limit, |deadline| limit.min(deadline.remaining(clock)));
        let _place = self.watch_place().map_err(status)?;
        let follow = self.seen(&id, &request).await?;
        let operation = follow.end_within(limit, clock).await.map_err(status)?;
        Ok(Response::new(WaitOperationResponse {
            operation: Some(convert::wire_operation(operation)),
        }))
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Result<Response<CancelOperationResponse>, Status> {
        let id = request::operation_id(&request.get_ref().operation_id)?;
        AuditTarget::note(request.extensions(), &id);
        self.seen(&id, &request).await?;
        let operation = self.cancel(&id).await.map_err(status)?;
        Ok(Response::new(CancelOperationResponse {
            operation: Some(convert::wire_operation(operation)),
        }))
    }
}

impl Operations {
    /// The operation, if the caller may see it; to others it is not there.
    async fn seen<T: Sync>(&self, id: &str, request: &Request<T>) -> Result<Follow, Status> {
        let sees_all = sees_all(request)?;
        let follow = self.follow(id).await.map_err(status)?;
        if sees_all || follow.now().kind.is_some_and(OperationKind::is_of_library) {
            return Ok(follow);
        }
        Err(status(OperationError::NotFound(id.to_owned())))
    }
}

/// Whether the caller sees all operations and not only those of a library.
fn sees_all<T>(request: &Request<T>) -> Result<bool, Failure> {
    let caller = Caller::of(request.extensions())?;
    Ok(caller.scopes.allow(Scope::Admin))
}

/// A watch under way.
struct Watch {
    follow: Follow,
    clock: Clock,
    /// When the last message was made, on the monotonic clock.
    told_at: Option<Duration>,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    /// The messages; nothing is looked at before the client takes the last one.
    fn messages(self) -> WatchStream {
        Box::pin(futures_util::stream::unfold(
            Some(self),
            |watch| async move {
                let mut watch = watch?;
                match watch.next().await {
                    Ok(operation) => {
                        let ended = operation.end_time.is_some();
                        let message = WatchOperationResponse {
                            operation: Some(operation),
                        };
                        Some((Ok(message), (!ended).then_some(watch)))
                    }
                    Err(error) => Some((Err(status(error)), None)),
                }
            },
        ))
    }

    async fn next(&mut self) -> Result<Operation, OperationError> {
        let operation = match self.told_at {
            None => self.follow.look(),
            Some(told_at) => {
                let next = told_at.saturating_add(WATCH_EVERY);
                self.follow.moved_after(next, &self.clock).await?
            }
        };
        self.told_at = Some(self.clock.monotonic());
        Ok(convert::wire_operation(operation))
    }
}

fn status(error: OperationError) -> Status {
    Failure::from(error).into_status()
}
