//! Owns the RPCs of ModelService.

use service_kit::status::{Failure, Violations};
use stablequeue_proto::models::v1 as wire;
use stablequeue_proto::models::v1::model_service_server::ModelService;
use tonic::{Request, Response, Status};

use super::convert::{self, TITLE_BYTES_MAX};
use super::request::{self, Page, text};
use super::{model_change, model_use, new_model};
use crate::model::ModelFilter;
use crate::models::{Models, Resolved, View};

/// Digits of a hash prefix.
const PREFIX_DIGITS: std::ops::RangeInclusive<usize> = 4..=64;
/// Longest text to search for, in bytes.
const SEARCH_BYTES_MAX: usize = 256;
/// Longest name of a base model, in bytes.
const BASE_MODEL_BYTES_MAX: usize = 256;

pub(super) struct ModelApi {
    pub(super) models: Models,
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

fn filter(violations: &mut Violations, request: &wire::ListModelsRequest) -> ModelFilter {
    let wire::ListModelsRequest {
        page_size: _,
        page_token: _,
        view: _,
        r#type,
        metadata_status,
        hash_prefix,
        base_model,
        server,
        text: search,
    } = request;
    let hexadecimal = hash_prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    let usable = PREFIX_DIGITS.contains(&hash_prefix.len()) && hexadecimal;
    if !hash_prefix.is_empty() && !usable {
        violations.add("hash_prefix", "must be 4 to 64 hexadecimal digits");
    }
    if !server.is_empty() {
        request::server(violations, "server", server);
    }
    text(
        violations,
        "base_model",
        base_model,
        0..=BASE_MODEL_BYTES_MAX,
    );
    text(violations, "text", search, 0..=SEARCH_BYTES_MAX);
    let set = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ModelFilter {
        kind: request::optional_kind(violations, "type", *r#type),
        metadata_status: convert::metadata_status(violations, "metadata_status", *metadata_status),
        hash_prefix: set(&hash_prefix.to_ascii_lowercase()),
        base_model: set(base_model),
        server: set(server),
        text: set(search),
    }
}

fn to_resolution(reference: wire::ModelReference, resolved: Resolved) -> wire::ModelResolution {
    let mut resolution = wire::ModelResolution {
        reference: Some(reference),
        ..wire::ModelResolution::default()
    };
    match resolved {
        Resolved::None => {}
        Resolved::One(model, kind) => {
            resolution.r#match = convert::to_match(kind);
            resolution.model = Some(convert::to_model(*model));
        }
        Resolved::Many(models) => {
            resolution.candidates = models.into_iter().map(convert::to_model).collect();
        }
    }
    resolution
}

#[tonic::async_trait]
impl ModelService for ModelApi {
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
            model: Some(convert::to_model(created.map_err(Failure::from)?)),
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
            model: Some(convert::to_model(updated.map_err(Failure::from)?)),
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
            model: Some(convert::to_model(model)),
        }))
    }

    async fn list_models(
        &self,
        request: Request<wire::ListModelsRequest>,
    ) -> Result<Response<wire::ListModelsResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::new();
        let filter = filter(&mut violations, &request);
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
        let models = self.models.list(filter, view, after, page.fetch()).await;
        let models = models.map_err(Failure::from)?;
        let (models, next_page_token) = page.fill(models, |model| model.id, convert::to_model);
        Ok(Response::new(wire::ListModelsResponse {
            models,
            next_page_token,
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
        let resolutions = resolutions.collect();
        Ok(Response::new(wire::ResolveModelsResponse { resolutions }))
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
            alias: Some(convert::to_alias(alias)),
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
        let (aliases, next_page_token) = page.fill(aliases, |alias| alias.id, convert::to_alias);
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
