//! Owns the rules of uses of models, and how it is told what became of them.

use service_kit::clock;
use service_kit::status::Violations;
use stablequeue_proto::models::v1 as wire;

use super::request;
use crate::models::{ModelUse, Touched, UsedModel};

/// Most uses in one request.
const USES_MAX: usize = 256;

/// Reads uses; they count only without violations.
pub(super) fn read(violations: &mut Violations, uses: &[wire::ModelUse]) -> Vec<ModelUse> {
    if uses.is_empty() || uses.len() > USES_MAX {
        violations.add("uses", format!("must be 1 to {USES_MAX}"));
        return Vec::new();
    }
    let mut read = Vec::with_capacity(uses.len());
    for (index, wire::ModelUse { use_time, model }) in uses.iter().enumerate() {
        let mut at = violations.at_index("uses", index);
        let used_at = use_time.as_ref().and_then(clock::from_timestamp);
        if use_time.is_some() && used_at.is_none() {
            at.add("use_time", "must be a time of the years 1 to 9999");
        }
        let model = match model {
            None => {
                at.add("model", "must be set");
                continue;
            }
            Some(wire::model_use::Model::ModelId(id)) => {
                UsedModel::Id(request::id(&mut at, "model_id", id))
            }
            Some(wire::model_use::Model::Reference(reference)) => {
                UsedModel::Reference(request::reference(&mut at.at("reference"), reference))
            }
        };
        read.push(ModelUse { model, used_at });
    }
    read
}

/// What became of a use.
pub(super) fn to_result(touched: Touched) -> wire::TouchResult {
    let (state, model_id) = match touched {
        Touched::Model(id) => (wire::TouchState::Touched, id.to_string()),
        Touched::Unknown => (wire::TouchState::Unknown, String::new()),
        Touched::Ambiguous => (wire::TouchState::Ambiguous, String::new()),
    };
    wire::TouchResult {
        state: state.into(),
        model_id,
    }
}
