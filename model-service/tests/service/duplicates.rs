//! Files with the same content, and what each copy costs.

use std::fs;

use stablequeue_proto::models::v1::*;
use tonic::Code;

use crate::harness::fields;
use crate::hashing_shelf::{Desk, ROOT, Shelf};

async fn found(desk: &mut Desk, request: FindDuplicatesRequest) -> FindDuplicatesResponse {
    desk.library
        .find_duplicates(request)
        .await
        .unwrap()
        .into_inner()
}

fn costs(group: &DuplicateGroup) -> Vec<(String, i64)> {
    let cost = |file: &DuplicateFile| (file.file.clone().unwrap().path, file.cost_bytes);
    group.files.iter().map(cost).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_copy_costs_its_size_and_a_further_link_nothing() {
    let shelf = Shelf::new();
    shelf.put("newest.ckpt", b"same content");
    shelf.put("oldest.ckpt", b"same content");
    shelf.dated("oldest.ckpt", "2020-01-01T00:00:00.000Z");
    fs::hard_link(shelf.path("oldest.ckpt"), shelf.path("link.ckpt")).unwrap();
    shelf.put("other.ckpt", b"else");
    let service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    desk.scan().await;
    let before = found(&mut desk, FindDuplicatesRequest::default()).await;
    assert_eq!((before.groups.len(), before.unhashed_count), (0, Some(4)));
    desk.hash().await;
    let after = found(&mut desk, FindDuplicatesRequest::default()).await;
    assert_eq!(
        (after.wasted_bytes, after.unhashed_count),
        (Some(12), Some(0))
    );
    assert_eq!(after.next_page_token, "");
    let [group] = after.groups.as_slice() else {
        panic!("{after:#?}");
    };
    assert_eq!(
        (group.size_bytes, group.file_count, group.wasted_bytes),
        (12, 3, 12)
    );
    let mut costs = costs(group);
    assert_eq!(costs.pop(), Some(("newest.ckpt".to_owned(), 12)));
    // Which of two links is the first is not told.
    let links: i64 = costs.iter().map(|(_, cost)| cost).sum();
    assert_eq!((costs.len(), links), (2, 12));
    let model_ids: Vec<&str> = group.files.iter().map(|file| &*file.model_id).collect();
    assert!(
        model_ids.iter().all(|id| *id == model_ids[0]),
        "{model_ids:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_come_in_pages_and_the_totals_with_the_first() {
    let shelf = Shelf::new();
    for (name, content) in [
        ("a1", "a"),
        ("a2", "a"),
        ("b1", "bb"),
        ("b2", "bb"),
        ("b3", "bb"),
    ] {
        shelf.put(&format!("{name}.ckpt"), content.as_bytes());
    }
    let service = shelf.service().await;
    let mut desk = Desk::of(&service).await;
    desk.scan().await;
    desk.hash().await;
    let request = FindDuplicatesRequest {
        page_size: 1,
        root: ROOT.to_owned(),
        ..FindDuplicatesRequest::default()
    };
    let first = found(&mut desk, request.clone()).await;
    assert_eq!((first.groups.len(), first.wasted_bytes), (1, Some(1 + 4)));
    let next = FindDuplicatesRequest {
        page_token: first.next_page_token.clone(),
        ..request.clone()
    };
    let second = found(&mut desk, next.clone()).await;
    assert_eq!((second.groups.len(), second.wasted_bytes), (1, None));
    assert_eq!(second.next_page_token, "");
    assert!(first.groups[0].sha256 < second.groups[0].sha256);
    let counts = [&first.groups[0], &second.groups[0]].map(|group| group.file_count);
    assert!(counts == [2, 3] || counts == [3, 2], "{counts:?}");
    // A file that is gone is no copy any more.
    fs::remove_file(shelf.path("a1.ckpt")).unwrap();
    desk.scan().await;
    let rest = found(&mut desk, FindDuplicatesRequest::default()).await;
    assert_eq!((rest.groups.len(), rest.wasted_bytes), (1, Some(4)));
    let other_filters = FindDuplicatesRequest {
        root: String::new(),
        ..next
    };
    let refused = desk
        .library
        .find_duplicates(other_filters)
        .await
        .unwrap_err();
    assert_eq!(fields(&refused), ["page_token"]);
    let no_root = FindDuplicatesRequest {
        root: "other".to_owned(),
        ..FindDuplicatesRequest::default()
    };
    let refused = desk.library.find_duplicates(no_root).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}
