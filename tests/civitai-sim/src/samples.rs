//! The recorded and composed answers in `tests/fixtures/civitai`. It does not decide when they are given.

use std::path::PathBuf;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::plays::broken;
use crate::version::digest_of;

fn folder(name: &str) -> PathBuf {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/civitai");
    PathBuf::from(fixtures).join(name)
}

/// A version as Civitai gives it, by the name of its file without the ending.
///
/// # Panics
/// When there is no such file, or no JSON in it.
pub fn sample_version(name: &str) -> Value {
    let path = folder("versions").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all sample versions.
///
/// # Panics
/// When the folder cannot be read.
pub fn sample_names() -> Vec<String> {
    let entries = std::fs::read_dir(folder("versions")).expect("the sample versions are there");
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            Some(name.strip_suffix(".json")?.to_owned())
        })
        .collect();
    names.sort();
    names
}

/// The SHA-256 of the file of a sample, by what follows `civitai-sample:`; upper case.
pub fn sample_digest(of: &str) -> String {
    digest_of(&format!("civitai-sample:{of}"))
}

/// An answer as it is in a file: status line, headers, blank line, body.
pub(crate) fn http(name: &str) -> Response {
    let path = folder("http").join(format!("{name}.http"));
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|digits| digits.parse::<u16>().ok());
    let body = Bytes::from(body.to_owned());
    let mut response = Response::new(Body::from(body.clone()));
    *response.status_mut() = status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or_else(|| panic!("{} has no status", path.display()));
    let mut promised = None;
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        let header = HeaderName::from_bytes(name.as_bytes());
        let header = header.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if header == header::CONTENT_LENGTH {
            promised = value.parse().ok();
            continue;
        }
        let value = HeaderValue::from_str(value);
        let value = value.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        response.headers_mut().append(header, value);
    }
    match promised {
        Some(length) if length > body.len() => broken(response, body, length),
        _ => response,
    }
}
