//! Owns the rules of single request fields and of pages. It does not know whole
//! requests.

use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use service_kit::page::{self, PAGE_BYTES_MAX, PageToken};
use service_kit::status::Violations;
use stablequeue_proto::models::v1 as wire;

use super::convert;
use crate::model::ModelKind;
use crate::reference::Reference;
use crate::request_id::{REQUEST_ID_BYTES_MAX, RequestId};

/// Longest alias of a server, in bytes; job-service has the same rule.
const SERVER_BYTES_MAX: usize = 63;
/// Most servers in one request.
pub(super) const SERVERS_MAX: usize = 256;
/// Most references in one request.
pub(super) const REFERENCES_MAX: usize = 256;
/// Longest reference, in bytes.
const REFERENCE_BYTES_MAX: usize = 1024;

/// Checks a text: its length in bytes, and no NUL, which SQLite's functions
/// would take for its end.
pub(super) fn text(
    violations: &mut Violations,
    field: &str,
    value: &str,
    bytes: std::ops::RangeInclusive<usize>,
) {
    if !bytes.contains(&value.len()) {
        let (least, most) = (bytes.start(), bytes.end());
        let rule = if *least == 0 {
            format!("must be at most {most} bytes")
        } else {
            format!("must be {least} to {most} bytes")
        };
        violations.add(field, rule);
    }
    if value.contains('\0') {
        violations.add(field, "must not contain a NUL character");
    }
}

/// Checks the alias of a server.
pub(super) fn server(violations: &mut Violations, field: &str, alias: &str) {
    let starts = alias.starts_with(|first: char| first.is_ascii_alphanumeric());
    let plain = alias
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !starts || !plain || alias.len() > SERVER_BYTES_MAX {
        violations.add(
            field,
            format!(
                "must be 1 to {SERVER_BYTES_MAX} of a-z, A-Z, 0-9, '.', '_' and '-', beginning \
                 with a letter or digit"
            ),
        );
    }
}

/// Checks aliases of servers in a repeated field.
pub(super) fn servers(violations: &mut Violations, aliases: &[String]) {
    if aliases.len() > SERVERS_MAX {
        violations.add("servers", format!("must be at most {SERVERS_MAX}"));
        return;
    }
    for (index, alias) in aliases.iter().enumerate() {
        server(violations, &format!("servers[{index}]"), alias);
    }
}

/// Reads an id; 0 when it is none.
pub(super) fn id(violations: &mut Violations, field: &str, value: &str) -> i64 {
    match value.parse::<i64>() {
        Ok(id) if id > 0 && id.to_string() == value => id,
        _ => {
            violations.add(
                field,
                "must be an id: a decimal number without leading zeros",
            );
            0
        }
    }
}

/// Reads the kind of a model that must be given.
pub(super) fn kind(violations: &mut Violations, field: &str, value: i32) -> Option<ModelKind> {
    let kind = optional_kind(violations, field, value);
    if value == wire::ModelType::Unspecified as i32 {
        violations.add(field, "must be set");
    }
    kind
}

/// Reads the kind of a model that may be absent.
pub(super) fn optional_kind(
    violations: &mut Violations,
    field: &str,
    value: i32,
) -> Option<ModelKind> {
    match wire::ModelType::try_from(value) {
        Ok(kind) => convert::kind(kind),
        Err(_) => {
            violations.add(field, format!("{value} is not a model type"));
            None
        }
    }
}

/// Reads references.
pub(super) fn references(
    violations: &mut Violations,
    references: &[wire::ModelReference],
) -> Vec<Reference> {
    if references.is_empty() || references.len() > REFERENCES_MAX {
        violations.add("references", format!("must be 1 to {REFERENCES_MAX}"));
        return Vec::new();
    }
    let mut parsed = Vec::with_capacity(references.len());
    for (index, one) in references.iter().enumerate() {
        parsed.push(reference(
            &mut violations.at_index("references", index),
            one,
        ));
    }
    parsed
}

/// Reads one reference.
pub(super) fn reference(
    violations: &mut Violations,
    wire::ModelReference { reference, r#type }: &wire::ModelReference,
) -> Reference {
    text(violations, "reference", reference, 1..=REFERENCE_BYTES_MAX);
    if !reference.is_empty() && reference.trim().is_empty() {
        violations.add("reference", "must not be blank");
    }
    let kind = optional_kind(violations, "type", *r#type);
    Reference::parse(reference, kind)
}

/// Reads the id of a request; absent when empty.
pub(super) fn request_id(violations: &mut Violations, id: &str) -> Option<RequestId> {
    let parsed = RequestId::parse(id);
    if parsed.is_none() && !id.is_empty() {
        violations.add(
            "request_id",
            format!("must be 1 to {REQUEST_ID_BYTES_MAX} printable ASCII characters"),
        );
    }
    parsed
}

/// Which page is asked for.
#[derive(Debug)]
pub(super) struct Page<C> {
    /// Items on it at most.
    pub(super) size: usize,
    /// What the page before ended with.
    pub(super) after: Option<C>,
    filters: String,
}

impl<C: Serialize + DeserializeOwned> Page<C> {
    /// Reads size and token; `filters` is everything that selects the items.
    pub(super) fn read(
        violations: &mut Violations,
        size: i32,
        token: &str,
        filters: String,
    ) -> Self {
        let size = page::page_size(size).unwrap_or_else(|error| {
            violations.add("page_size", error.to_string());
            0
        });
        let after = if token.is_empty() {
            None
        } else {
            PageToken::decode(token, filters.as_bytes())
                .map_err(|error| violations.add("page_token", error.to_string()))
                .ok()
        };
        Self {
            size,
            after,
            filters,
        }
    }

    /// How many items to fetch: one more than fit, to know whether there are more.
    pub(super) fn fetch(&self) -> usize {
        self.size + 1
    }

    /// Converts what fits on the page; the token of the next one is empty on
    /// the last. A page has at least one item, however large.
    pub(super) fn fill<T, W: Message>(
        &self,
        items: Vec<T>,
        cursor: impl Fn(&T) -> C,
        wire: impl Fn(T) -> W,
    ) -> (Vec<W>, String) {
        let mut filled: Vec<W> = Vec::with_capacity(items.len().min(self.size));
        let mut last = None;
        let mut bytes = 0;
        for item in items {
            let at = cursor(&item);
            let message = wire(item);
            bytes += message.encoded_len();
            if filled.len() == self.size || (bytes > PAGE_BYTES_MAX && !filled.is_empty()) {
                let token = last.map(|last: C| PageToken::encode(self.filters.as_bytes(), &last));
                return (filled, token.unwrap_or_default());
            }
            filled.push(message);
            last = Some(at);
        }
        (filled, String::new())
    }
}
