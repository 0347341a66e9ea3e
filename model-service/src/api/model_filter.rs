//! Owns the rules of a filter of models. It does not filter.

use service_kit::status::Violations;
use stablequeue_proto::models::v1 as wire;

use super::convert;
use super::request::{self, text};
use crate::model::{ModelFilter, SEARCH_WORDS_MAX, SearchFault, SearchWords};

/// Digits of a hash prefix.
const PREFIX_DIGITS: std::ops::RangeInclusive<usize> = 4..=64;
/// Longest text of a filter, in bytes.
const FILTER_BYTES_MAX: usize = 256;

/// Reads a filter; it counts only without violations.
pub(super) fn read(violations: &mut Violations, request: &wire::ListModelsRequest) -> ModelFilter {
    let wire::ListModelsRequest {
        page_size: _,
        page_token: _,
        view: _,
        r#type,
        metadata_status,
        hash_prefix,
        base_model,
        server,
        text: part,
        trained_word,
        civitai_model_id,
        civitai_version_id,
        search,
        missing,
        facets: _,
    } = request;
    let hexadecimal = hash_prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    let usable = PREFIX_DIGITS.contains(&hash_prefix.len()) && hexadecimal;
    if !hash_prefix.is_empty() && !usable {
        violations.add("hash_prefix", "must be 4 to 64 hexadecimal digits");
    }
    if !server.is_empty() {
        request::server(violations, "server", server);
    }
    for (field, value) in [
        ("base_model", base_model),
        ("text", part),
        ("trained_word", trained_word),
        ("civitai_model_id", civitai_model_id),
        ("civitai_version_id", civitai_version_id),
        ("search", search),
    ] {
        text(violations, field, value, 0..=FILTER_BYTES_MAX);
    }
    let set = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ModelFilter {
        kind: request::optional_kind(violations, "type", *r#type),
        metadata_status: convert::metadata_status(violations, "metadata_status", *metadata_status),
        hash_prefix: set(&hash_prefix.to_ascii_lowercase()),
        base_model: set(base_model),
        server: set(server),
        text: set(part),
        trained_word: set(trained_word),
        civitai_model_id: set(civitai_model_id),
        civitai_version_id: set(civitai_version_id),
        search: words(violations, search),
        missing: *missing,
    }
}

fn words(violations: &mut Violations, search: &str) -> Option<SearchWords> {
    if search.is_empty() {
        return None;
    }
    let rule = match SearchWords::parse(search) {
        Ok(words) => return Some(words),
        Err(SearchFault::TooManyWords) => format!("must be at most {SEARCH_WORDS_MAX} words"),
        Err(SearchFault::NoWord) => "must have a letter or a digit".to_owned(),
    };
    violations.add("search", rule);
    None
}
