//! Owns DownloadMissing on the wire: how its request is read and its answer written. What becomes of
//! a model is the library's to decide.

use service_kit::clock;
use service_kit::operations::{OperationCaller, wire_operation};
use service_kit::status::{Failure, Violations};
use stablequeue_proto::models::v1 as wire;
use tonic::Status;

use super::request;
use crate::library::Library;
use crate::library::missing::{Fate, MISSING_MAX, MissingModel};
use crate::reference::Reference;

/// Reads the request, has it done, and writes the answer.
pub(super) async fn download(
    library: &Library,
    caller: &OperationCaller,
    request: wire::DownloadMissingRequest,
) -> Result<wire::DownloadMissingResponse, Status> {
    let references = references(&request.references)?;
    let missing = library.download_missing(&references, caller).await;
    let models = missing.map_err(Failure::from)?;
    let models = models.into_iter().map(to_missing).collect();
    Ok(wire::DownloadMissingResponse { models })
}

fn references(given: &[wire::ModelReference]) -> Result<Vec<Reference>, Status> {
    let mut violations = Violations::new();
    if given.is_empty() || given.len() > MISSING_MAX {
        violations.add("references", format!("must be 1 to {MISSING_MAX}"));
    }
    let mut references = Vec::with_capacity(given.len());
    for (index, one) in given.iter().take(MISSING_MAX).enumerate() {
        let mut violations = violations.at_index("references", index);
        references.push(request::reference(&mut violations, one));
        if one.r#type == wire::ModelType::Unspecified as i32 {
            violations.add("type", "must be set: it says where the file goes");
        }
    }
    violations.finish()?;
    Ok(references)
}

fn to_missing(model: MissingModel) -> wire::MissingModel {
    use wire::MissingModelState as State;
    let MissingModel {
        sha256,
        fate,
        words,
        retry_after,
    } = model;
    let (state, operation) = match fate {
        Fate::Downloading(operation) => (State::Downloading, Some(operation)),
        Fate::AlreadyInLibrary => (State::AlreadyInLibrary, None),
        Fate::NotAtCivitai => (State::NotAtCivitai, None),
        Fate::NotIdentified => (State::NotIdentified, None),
        Fate::NotAllowed => (State::NotAllowed, None),
        Fate::Unavailable => (State::Unavailable, None),
        Fate::Failed(operation) => (State::Failed, Some(operation)),
    };
    wire::MissingModel {
        state: state.into(),
        message: words,
        sha256: sha256.unwrap_or_default(),
        operation: operation.map(|operation| wire_operation(*operation)),
        retry_after: retry_after.map(clock::to_proto_duration),
    }
}
