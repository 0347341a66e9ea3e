//! What each answer of Civitai and its storage means for a download.

use reqwest::header::HeaderValue;

use super::*;

fn said(status: u16, cached: &'static str, body: &str) -> Refusal {
    let mut headers = HeaderMap::new();
    let kind = match body.starts_with('<') {
        true => "text/html; charset=UTF-8",
        false => "application/json; charset=utf-8",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cached));
    of_civitai(status, &headers, body.as_bytes(), DateTime::UNIX_EPOCH)
}

fn end(refusal: Refusal) -> String {
    match refusal {
        Refusal::Final(failure) => failure.reason().to_owned(),
        Refusal::Again { .. } => "again".to_owned(),
    }
}

#[test]
fn every_refusal_has_its_own_end() {
    let public = "no-store, max-age=0";
    for (status, body, reason) in [
        (
            401,
            r#"{"error":"Unauthorized","message":"requires you to be logged in"}"#,
            "CIVITAI_KEY_NEEDED",
        ),
        (
            401,
            r#"{"error":"Unauthorized","message":"The creator of this asset has disabled downloads on this file"}"#,
            "CIVITAI_DOWNLOADS_DISABLED",
        ),
        (
            403,
            r#"{"error":"Early Access","message":"Buzz"}"#,
            "CIVITAI_EARLY_ACCESS",
        ),
        (403, r#"{"error":"Forbidden"}"#, "CIVITAI_FORBIDDEN"),
        (403, "<html>", "again"),
        (
            404,
            r#"{"error":"File not found"}"#,
            "CIVITAI_FILE_NOT_FOUND",
        ),
        (404, "<html>", "CIVITAI_REFUSES"),
        (410, r#"{"error":"Model archived"}"#, "CIVITAI_ARCHIVED"),
        (
            429,
            r#"{"error":"We've noticed an unusual amount of downloading from your account."}"#,
            "CIVITAI_QUOTA",
        ),
        (429, "<html>", "again"),
        (
            451,
            r#"{"error":"not available in your region"}"#,
            "CIVITAI_REGION",
        ),
        (400, r#"{"error":"✖ Invalid option"}"#, "CIVITAI_REFUSES"),
        (500, r#"{"error":"Error getting file"}"#, "again"),
        (503, "<html>", "again"),
        (200, r#"{"error":"odd"}"#, "CIVITAI_PAGE"),
    ] {
        assert_eq!(end(said(status, public, body)), reason, "{status} {body}");
    }
    let fault = said(404, "private, no-store", r#"{"error":"File not found"}"#);
    assert_eq!(end(fault), "again");
}

#[test]
fn early_access_says_until_when() {
    let body = r#"{"error":"Early Access","deadline":"2027-01-15T18:30:00.000Z"}"#;
    let Refusal::Final(failure) = said(403, "", body) else {
        panic!("it may not be tried again");
    };
    assert!(
        failure.message().contains("2027-01-15T18:30:00.000Z"),
        "{failure}"
    );
}

#[test]
fn a_page_is_told_from_a_file_that_begins_with_the_same_letter() {
    for page in [
        "<!DOCTYPE html>",
        " \n<html lang=en>",
        "\u{feff}<head>",
        "{\"error\":\"x\"}",
    ] {
        assert!(begins_as_page(page.as_bytes()), "{page}");
    }
    // Headers of 60 and of 8508 bytes.
    for file in [
        &b"<\0\0\0\0\0\0\0{\"__metadata__\""[..],
        b"<!\0\0\0\0\0\0{",
        b"PK\x03\x04",
        b"",
    ] {
        assert!(!begins_as_page(file));
    }
}

#[test]
fn a_long_wait_ends_the_download_and_a_short_one_does_not() {
    let limited = |seconds| Trouble::Limited {
        after: Some(Duration::from_secs(seconds)),
        words: String::new(),
    };
    assert_eq!(end(of_trouble(&limited(300))), "again");
    assert_eq!(end(of_trouble(&limited(301))), "CIVITAI_RATE_LIMITED");
}
