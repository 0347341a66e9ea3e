//! Owns the RPC FindDuplicates: its request, its pages, its answer.

use service_kit::status::{Failure, Violations};
use stablequeue_proto::models::v1 as wire;
use tonic::Status;

use super::model_view::to_file;
use super::request::{Page, text};
use crate::config::ROOT_NAME_BYTES_MAX;
use crate::library::Library;
use crate::library::duplicates::{DuplicateFile, DuplicateGroup};
use crate::model::Sha256;

/// Answers a page of duplicates.
pub(super) async fn find(
    library: &Library,
    request: wire::FindDuplicatesRequest,
) -> Result<wire::FindDuplicatesResponse, Status> {
    let wire::FindDuplicatesRequest {
        page_size,
        page_token,
        root,
    } = request;
    let mut violations = Violations::new();
    text(&mut violations, "root", &root, 0..=ROOT_NAME_BYTES_MAX);
    let filters = format!("find_duplicates\n{root}");
    let page: Page<String> = Page::read(&mut violations, page_size, &page_token, filters);
    let after = page.after.as_deref().map(|digits| {
        let parsed = Sha256::parse(digits);
        if parsed.is_none() {
            violations.add("page_token", "is not a page token of this service");
        }
        parsed
    });
    violations.finish()?;
    let root = (!root.is_empty()).then_some(root);
    let found = library
        .duplicates(root, after.flatten(), page.fetch())
        .await;
    let (groups, totals) = found.map_err(Failure::from)?;
    let (groups, next_page_token) = page.fill(groups, |group| group.sha256.clone(), to_group);
    Ok(wire::FindDuplicatesResponse {
        groups,
        next_page_token,
        wasted_bytes: totals.map(|totals| totals.wasted_bytes),
        unhashed_count: totals.map(|totals| count(totals.unhashed_count)),
    })
}

fn count(count: i64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn to_group(group: DuplicateGroup) -> wire::DuplicateGroup {
    let DuplicateGroup {
        sha256,
        size_bytes,
        files,
        file_count,
        wasted_bytes,
    } = group;
    wire::DuplicateGroup {
        sha256,
        size_bytes,
        files: files.into_iter().map(to_duplicate).collect(),
        file_count: count(file_count),
        wasted_bytes,
    }
}

fn to_duplicate(duplicate: DuplicateFile) -> wire::DuplicateFile {
    let DuplicateFile {
        file,
        model_id,
        cost_bytes,
    } = duplicate;
    wire::DuplicateFile {
        file: Some(to_file(file)),
        model_id: model_id.map(|id| id.to_string()).unwrap_or_default(),
        cost_bytes,
    }
}
