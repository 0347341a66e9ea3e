//! Owns how requests about the library are read, with every fault of each at
//! once. It does not know which roots and models there are.

use std::ops::RangeInclusive;
use std::path::Path;

use service_kit::status::Violations;
use stablequeue_proto::models::v1 as wire;

use super::request::{self, text};
use crate::config::{ROOT_NAME_BYTES_MAX, ROOTS_MAX};
use crate::file_header::Format;
use crate::library::download::DownloadAsked;
use crate::library::enrich::EnrichmentAsked;
use crate::library::hash::HashingAsked;
use crate::library::scan::ScanAsked;

/// Models whose files one request has hashed.
const HASHED_MODELS_MAX: usize = 1_000;
/// Models that one request asks Civitai about.
const ENRICHED_MODELS_MAX: usize = 10_000;
/// Longest folder of a download, in bytes.
const FOLDER_BYTES_MAX: usize = 1_024;
/// Longest file name of a download, in bytes.
const FILENAME_BYTES_MAX: usize = 255;
/// Which waiting download goes first.
const PRIORITIES: RangeInclusive<i32> = -100..=100;

/// The name of a root; whether there is one is seen later.
pub(super) fn root(violations: &mut Violations, field: &str, name: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=ROOT_NAME_BYTES_MAX).contains(&name.len());
    if !fits || !name.bytes().all(plain) {
        let rule = "must be the name of a library root, as ListLibraryRoots shows them";
        violations.add(field, rule);
    }
}

/// Names of roots, each once.
fn roots(violations: &mut Violations, names: Vec<String>) -> Vec<String> {
    if names.len() > ROOTS_MAX {
        violations.add("roots", format!("must be at most {ROOTS_MAX}"));
        return Vec::new();
    }
    for (index, name) in names.iter().enumerate() {
        root(violations, &format!("roots[{index}]"), name);
    }
    each_once(names)
}

fn model_ids(violations: &mut Violations, ids: &[String], most: usize) -> Vec<i64> {
    if ids.len() > most {
        let rule = format!("must be at most {most}; begin one operation after the other for more");
        violations.add("model_ids", rule);
        return Vec::new();
    }
    let ids = ids.iter().enumerate();
    each_once(
        ids.map(|(index, id)| request::id(violations, &format!("model_ids[{index}]"), id))
            .collect(),
    )
}

fn each_once<T: Ord>(mut names: Vec<T>) -> Vec<T> {
    names.sort_unstable();
    names.dedup();
    names
}

/// What to scan.
pub(super) fn scan(violations: &mut Violations, request: wire::StartScanRequest) -> ScanAsked {
    let wire::StartScanRequest {
        roots: names,
        full,
        request_id: _,
        guess_from_names,
    } = request;
    ScanAsked {
        roots: roots(violations, names),
        full,
        guess_from_names,
    }
}

/// What to hash.
pub(super) fn hashing(
    violations: &mut Violations,
    request: wire::StartHashingRequest,
) -> HashingAsked {
    let wire::StartHashingRequest {
        roots: names,
        model_ids: ids,
        again,
        request_id: _,
    } = request;
    HashingAsked {
        roots: roots(violations, names),
        model_ids: model_ids(violations, &ids, HASHED_MODELS_MAX),
        again,
    }
}

/// What to ask Civitai.
pub(super) fn enrichment(
    violations: &mut Violations,
    request: wire::StartEnrichmentRequest,
) -> EnrichmentAsked {
    let wire::StartEnrichmentRequest {
        model_ids: ids,
        refresh,
        request_id: _,
    } = request;
    EnrichmentAsked {
        model_ids: model_ids(violations, &ids, ENRICHED_MODELS_MAX),
        refresh,
    }
}

/// What to fetch.
pub(super) fn download(
    violations: &mut Violations,
    request: wire::StartDownloadRequest,
) -> DownloadAsked {
    let wire::StartDownloadRequest {
        version_id,
        file_id,
        root: into,
        folder,
        filename,
        with_sidecar,
        with_preview,
        priority,
        request_id: _,
    } = request;
    request::id(violations, "version_id", &version_id);
    if !file_id.is_empty() {
        request::id(violations, "file_id", &file_id);
    }
    root(violations, "root", &into);
    text(violations, "folder", &folder, 0..=FOLDER_BYTES_MAX);
    if !folder.is_empty() && !folder.split('/').all(is_name) {
        let rule = "must be names with '/' between them, beneath the root: none begins with \
                    a dot, no '\\', no control characters, and no '/' at either end";
        violations.add("folder", rule);
    }
    text(violations, "filename", &filename, 0..=FILENAME_BYTES_MAX);
    let is_usable = is_name(&filename) && is_model_name(&filename);
    if !filename.is_empty() && !is_usable {
        let rule = "must be a name without folders that ends like a model file, such as \
                    fox.safetensors: no '/', no '\\', no control characters, no dot at its beginning";
        violations.add("filename", rule);
    }
    if !PRIORITIES.contains(&priority) {
        violations.add("priority", "must be -100 to 100");
    }
    let set = |text: String| (!text.is_empty()).then_some(text);
    DownloadAsked {
        version_id,
        file_id: set(file_id),
        sha256: None,
        root: into,
        folder,
        filename: set(filename),
        with_sidecar,
        with_preview,
        priority,
    }
}

/// Whether a text names one file or folder and nothing else.
fn is_name(name: &str) -> bool {
    let odd = |character: char| character.is_control() || matches!(character, '/' | '\\');
    let fits = (1..=FILENAME_BYTES_MAX).contains(&name.len());
    fits && !name.starts_with('.') && !name.contains(odd)
}

/// Whether a scan would find a file of that name.
fn is_model_name(name: &str) -> bool {
    Format::of_path(Path::new(name)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(read: impl FnOnce(&mut Violations)) -> Vec<String> {
        let mut violations = Violations::new();
        read(&mut violations);
        match violations.finish() {
            Ok(()) => Vec::new(),
            Err(failure) => {
                let mut faults: Vec<String> = failure
                    .fields()
                    .iter()
                    .map(|fault| fault.field.clone())
                    .collect();
                faults.dedup();
                faults
            }
        }
    }

    fn fetched(change: impl FnOnce(&mut wire::StartDownloadRequest)) -> Vec<String> {
        let mut request = wire::StartDownloadRequest {
            version_id: "7".into(),
            root: "main".into(),
            ..Default::default()
        };
        change(&mut request);
        faults(|violations| drop(download(violations, request)))
    }

    #[test]
    fn all_faults_of_a_download_are_named_at_once() {
        let none: [&str; 0] = [];
        assert_eq!(fetched(|_| {}), none);
        assert_eq!(fetched(|asked| asked.folder = "a/b c/ä".into()), none);
        let all = fetched(|asked| {
            asked.version_id = "07".into();
            asked.file_id = "x".into();
            asked.root = "a/b".into();
            asked.folder = "..".into();
            asked.filename = "a/b".into();
            asked.priority = 101;
        });
        let fields = [
            "version_id",
            "file_id",
            "root",
            "folder",
            "filename",
            "priority",
        ];
        assert_eq!(all, fields);
    }

    #[test]
    fn a_download_stays_beneath_its_root() {
        for folder in [
            "/a", "a/", "a//b", "a/../b", "./a", "a\\b", "a\nb", "..", ".a",
        ] {
            let found = fetched(|asked| asked.folder = folder.into());
            assert_eq!(found, ["folder"], "{folder:?}");
        }
        let long = "x".repeat(256);
        assert!(fetched(|asked| asked.filename = "a b.SFT".into()).is_empty());
        for filename in [
            "a/b.pt", "..", ".pt", "a\\b.pt", "a\0b.pt", "a\nb.pt", "a.zip", &long,
        ] {
            let found = fetched(|asked| asked.filename = filename.into());
            assert_eq!(found, ["filename"], "{filename:?}");
        }
    }

    #[test]
    fn names_and_ids_are_taken_once_and_counted() {
        let mut violations = Violations::new();
        let asked = wire::StartHashingRequest {
            roots: vec!["b".into(), "a".into(), "b".into()],
            model_ids: vec!["2".into(), "1".into(), "2".into()],
            ..Default::default()
        };
        let read = hashing(&mut violations, asked);
        assert_eq!(
            (read.roots, read.model_ids),
            (vec!["a".into(), "b".into()], vec![1, 2])
        );
        let many = |count| wire::StartScanRequest {
            roots: vec!["a".into(); count],
            ..Default::default()
        };
        assert!(faults(|violations| drop(scan(violations, many(64)))).is_empty());
        assert_eq!(
            faults(|violations| drop(scan(violations, many(65)))),
            ["roots"]
        );
        let ids = |count| wire::StartEnrichmentRequest {
            model_ids: vec!["1".into(); count],
            ..Default::default()
        };
        assert!(faults(|violations| drop(enrichment(violations, ids(10_000)))).is_empty());
        assert_eq!(
            faults(|violations| drop(enrichment(violations, ids(10_001)))),
            ["model_ids"]
        );
    }
}
