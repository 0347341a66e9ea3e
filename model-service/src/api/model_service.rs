//! Owns the RPCs of ModelService.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use service_kit::page::PAGE_BYTES_MAX;
use service_kit::status::{Failure, Violations};
use stablequeue_proto::models::v1 as wire;
use stablequeue_proto::models::v1::model_service_server::ModelService;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::convert::{self, TITLE_BYTES_MAX};
use super::preview_stream::{self, PreviewStream};
use super::request::{self, Page, text};
use super::{model_change, model_filter, model_use, model_view, new_model};
use crate::library::Library;
use crate::models::{Models, Resolution, Resolved, View};

/// When a caller should come again whose picture was one too many.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct ModelApi {
    pub(super) models: Models,
    pub(super) library: Library,
    /// Limits the pictures that are sent at one time.
    pub(super) previews: Arc<Semaphore>,
}

fn view(violations: &mut Violations, view: i32) -> View {
    match wire::ModelView::try_from(view) {
        Ok(wire::ModelView::Unspecified | wire::ModelView::Basic) => View::Basic,
        Ok(wire::ModelView::Full) => View::Full,
        Err(_) => {
            violations.add("view", format!("{view} is not a view"));
            View::Basic
        }
    }
}

fn to_resolution(reference: wire::ModelReference, resolution: Resolution) -> wire::ModelResolution {
    let Resolution {
        resolved,
        explanation,
    } = resolution;
    let bare = wire::ModelResolution {
        reference: Some(reference),
        explanation,
        ..wire::ModelResolution::default()
    };
    match resolved {
        Resolved::None => bare,
        Resolved::One(model, kind) => wire::ModelResolution {
            r#match: convert::to_match(kind),
            model: Some(model_view::to_model(Arc::unwrap_or_clone(model))),
            ..bare
        },
        Resolved::Many(models) => {
            let models = models.into_iter().map(Arc::unwrap_or_clone);
            wire::ModelResolution {
                candidates: models.map(model_view::to_model).collect(),
                ..bare
            }
        }
    }
}

#[tonic::async_trait]
impl ModelService for ModelApi {
    type GetModelPreviewStream = PreviewStream;

    async fn get_model_preview(
        &self,
        request: Request<wire::GetModelPreviewRequest>,
    ) -> Result<Response<PreviewStream>, Status> {
        let mut violations = Violations::new();
        let id = request::id(&mut violations, "model_id", &request.into_inner().model_id);
        violations.finish()?;
        let permit = Arc::clone(&self.previews)
            .try_acquire_owned()
            .map_err(|_| {
                let text = "too many pictures are being sent";
                Failure::exhausted("PREVIEW_LIMIT", "previews", text, Some(RETRY_AFTER))
            })?;
        let preview = self.library.preview(id).await.map_err(Failure::from)?;
        Ok(Response::new(preview_stream::stream(preview, permit)))
    }

    async fn create_model(
        &self,
        request: Request<wire::CreateModelRequest>,
    ) -> Result<Response<wire::CreateModelResponse>, Status> {
        let wire::CreateModelRequest { model, request_id } = request.into_inner();
        let mut violations = Violations::new();
        let request_id = request::request_id(&mut violations, &request_id);
        let model = match model {
            Some(model) => new_model::read(&mut violations.at("model"), model),
            None => {
                violations.add("model", "must be set");
                None
            }
        };
        violations.finish()?;
        let model = model.ok_or_else(Failure::internal)?;
        let created = self.models.create(model, request_id).await;
        Ok(Response::new(wire::CreateModelResponse {
            model: Some(model_view::to_model(created.map_err(Failure::from)?)),
        }))
    }

    async fn update_model(
        &self,
        request: Request<wire::UpdateModelRequest>,
    ) -> Result<Response<wire::UpdateModelResponse>, Status> {
        let wire::UpdateModelRequest { model, update_mask } = request.into_inner();
        let mut violations = Violations::new();
        if model.is_none() {
            violations.add("model", "must be set");
        }
        let model = model.unwrap_or_default();
        let id = request::id(&mut violations, "model.model_id", &model.model_id);
        let etag = (!model.etag.is_empty()).then(|| model.etag.clone());
        let change = model_change::read(&mut violations, model, update_mask);
        violations.finish()?;
        let updated = self.models.update(id, etag, change).await;
        Ok(Response::new(wire::UpdateModelResponse {
            model: Some(model_view::to_model(updated.map_err(Failure::from)?)),
        }))
    }

    async fn get_model(
        &self,
        request: Request<wire::GetModelRequest>,
    ) -> Result<Response<wire::GetModelResponse>, Status> {
        let wire::GetModelRequest {
            model_id,
            view: asked,
        } = request.into_inner();
        let mut violations = Violations::new();
        let id = request::id(&mut violations, "model_id", &model_id);
        let view = view(&mut violations, asked);
        violations.finish()?;
        let model = self.models.get(id, view).await.map_err(Failure::from)?;
        Ok(Response::new(wire::GetModelResponse {
            model: Some(model_view::to_model(model)),
        }))
    }

    async fn list_models(
        &self,
        request: Request<wire::ListModelsRequest>,
    ) -> Result<Response<wire::ListModelsResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let filter = model_filter::read(&mut violations, &request);
        let view = view(&mut violations, request.view);
        let filters = format!("ListModels {filter:?}");
        let page = Page::read(
            &mut violations,
            request.page_size,
            &request.page_token,
            filters,
        );
        violations.finish()?;
        let after = page.after.unwrap_or(0);
        let facets = if request.facets && page.after.is_none() {
            let facets = self.models.facets(filter.clone()).await;
            facets.map_err(Failure::from)?
        } else {
            Vec::new()
        };
        let models = self.models.list(filter, view, after, page.fetch()).await;
        let models = models.map_err(Failure::from)?;
        let (models, next_page_token) = page.fill(models, |model| model.id, model_view::to_model);
        Ok(Response::new(wire::ListModelsResponse {
            models,
            next_page_token,
            facets: facets.into_iter().map(model_view::to_facet).collect(),
        }))
    }

    async fn delete_model(
        &self,
        request: Request<wire::DeleteModelRequest>,
    ) -> Result<Response<wire::DeleteModelResponse>, Status> {
        let mut violations = Violations::new();
        let id = request::id(&mut violations, "model_id", &request.into_inner().model_id);
        violations.finish()?;
        self.models.delete(id).await.map_err(Failure::from)?;
        Ok(Response::new(wire::DeleteModelResponse {}))
    }

    async fn resolve_models(
        &self,
        request: Request<wire::ResolveModelsRequest>,
    ) -> Result<Response<wire::ResolveModelsResponse>, Status> {
        let wire::ResolveModelsRequest { references } = request.into_inner();
        let mut violations = Violations::new();
        let parsed = request::references(&mut violations, &references);
        violations.finish()?;
        let resolved = self.models.resolve(parsed).await.map_err(Failure::from)?;
        let pairs = references.into_iter().zip(resolved);
        let resolutions = pairs.map(|(reference, resolved)| to_resolution(reference, resolved));
        let mut answer = wire::ResolveModelsResponse {
            resolutions: resolutions.collect(),
        };
        for leave_out in model_view::LEFT_OUT {
            if answer.encoded_len() <= PAGE_BYTES_MAX {
                break;
            }
            answer.resolutions.iter_mut().for_each(leave_out);
        }
        Ok(Response::new(answer))
    }

    async fn touch_models(
        &self,
        request: Request<wire::TouchModelsRequest>,
    ) -> Result<Response<wire::TouchModelsResponse>, Status> {
        let mut violations = Violations::new();
        let uses = model_use::read(&mut violations, &request.into_inner().uses);
        violations.finish()?;
        let touched = self.models.touch(uses).await.map_err(Failure::from)?;
        let results = touched.into_iter().map(model_use::to_result).collect();
        Ok(Response::new(wire::TouchModelsResponse { results }))
    }

    async fn add_model_alias(
        &self,
        request: Request<wire::AddModelAliasRequest>,
    ) -> Result<Response<wire::AddModelAliasResponse>, Status> {
        let wire::AddModelAliasRequest {
            model_id,
            alias_path,
            request_id,
        } = request.into_inner();
        let mut violations = Violations::new();
        let id = request::id(&mut violations, "model_id", &model_id);
        text(
            &mut violations,
            "alias_path",
            &alias_path,
            1..=TITLE_BYTES_MAX,
        );
        if alias_path.trim() != alias_path {
            violations.add("alias_path", "must not begin or end with a space");
        }
        let request_id = request::request_id(&mut violations, &request_id);
        violations.finish()?;
        let alias = self
            .models
            .add_alias(id, alias_path, request_id)
            .await
            .map_err(Failure::from)?;
        Ok(Response::new(wire::AddModelAliasResponse {
            alias: Some(model_view::to_alias(alias)),
        }))
    }

    async fn list_model_aliases(
        &self,
        request: Request<wire::ListModelAliasesRequest>,
    ) -> Result<Response<wire::ListModelAliasesResponse>, Status> {
        let wire::ListModelAliasesRequest {
            model_id,
            page_size,
            page_token,
        } = request.into_inner();
        let mut violations = Violations::new();
        let id = request::id(&mut violations, "model_id", &model_id);
        let filters = format!("ListModelAliases {id}");
        let page = Page::read(&mut violations, page_size, &page_token, filters);
        violations.finish()?;
        let after = page.after.unwrap_or(0);
        let aliases = self.models.list_aliases(id, after, page.fetch()).await;
        let aliases = aliases.map_err(Failure::from)?;
        let (aliases, next_page_token) = page.fill(aliases, |alias| alias.id, model_view::to_alias);
        Ok(Response::new(wire::ListModelAliasesResponse {
            aliases,
            next_page_token,
        }))
    }

    async fn delete_model_alias(
        &self,
        request: Request<wire::DeleteModelAliasRequest>,
    ) -> Result<Response<wire::DeleteModelAliasResponse>, Status> {
        let mut violations = Violations::new();
        let id = request::id(&mut violations, "alias_id", &request.into_inner().alias_id);
        violations.finish()?;
        self.models.delete_alias(id).await.map_err(Failure::from)?;
        Ok(Response::new(wire::DeleteModelAliasResponse {}))
    }
}
