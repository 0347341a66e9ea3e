//! Every answer in `tests/fixtures/civitai/http` and what it means.

use std::path::Path;

use reqwest::header::{HeaderName, HeaderValue};

use super::*;

/// The answer of a file: status line, headers, blank line, body.
fn sample(name: &str) -> Answer<Value> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/civitai/http"
    );
    let path = Path::new(folder).join(format!("{name}.http"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    classify(status.parse().unwrap(), &headers, body.as_bytes(), now())
}

fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-11-22T11:08:00Z")
        .unwrap()
        .to_utc()
}

/// One word for what an answer means.
fn word(answer: &Answer<Value>) -> &'static str {
    match answer {
        Answer::Found(_) => "found",
        Answer::NotFound => "not found",
        Answer::NoFile => "no file",
        Answer::Trouble(Trouble::Limited { .. }) => "limited",
        Answer::Trouble(Trouble::Later { .. }) => "later",
        Answer::Trouble(Trouble::Unreachable { .. }) => "unreachable",
        Answer::Trouble(Trouble::OwnFault { .. }) => "own fault",
        Answer::Trouble(Trouble::TooLarge { .. }) => "too large",
        Answer::Trouble(Trouble::Final { reason, .. }) => match reason {
            FinalReason::Region => "region",
            FinalReason::Unauthorized => "unauthorized",
            FinalReason::Forbidden => "forbidden",
            FinalReason::Archived => "archived",
            FinalReason::Quota => "quota",
            FinalReason::Other => "other",
        },
    }
}

#[test]
fn every_answer_that_is_known_of_civitai_has_its_meaning() {
    for (name, meaning) in [
        ("200-by-hash", "found"),
        ("200-by-hash.cut-short", "later"),
        ("200-by-hash.html-body", "later"),
        ("304-by-hash", "own fault"),
        ("400-bulk-hash-not-64", "own fault"),
        ("400-bulk-more-than-100", "own fault"),
        ("400-bulk-not-an-array", "own fault"),
        ("400-download-bad-type", "own fault"),
        ("400-model-id-too-big", "own fault"),
        ("400-version-id-not-a-number", "own fault"),
        ("401-download-disabled", "unauthorized"),
        ("401-download-login-required", "unauthorized"),
        ("401-me-no-or-bad-key", "unauthorized"),
        ("403-download-blocked", "forbidden"),
        ("403-download-early-access", "forbidden"),
        ("403-download-no-access", "forbidden"),
        ("403-download-paid-for-good", "forbidden"),
        ("403-edge-challenge", "later"),
        ("403-edge-waf-user-agent", "later"),
        ("404-download-file", "not found"),
        ("404-download-storage-trouble", "not found"),
        ("404-model-id", "not found"),
        ("404-no-such-route", "own fault"),
        ("404-version-missing-model-file", "no file"),
        ("404-version-model-not-found", "not found"),
        ("405-version-id", "own fault"),
        ("408-model-id", "later"),
        ("410-download-archived", "archived"),
        ("413-bulk-body-over-1mb", "own fault"),
        ("429-app-with-retry-after", "limited"),
        ("429-download-quota", "quota"),
        ("429-edge-with-retry-after", "limited"),
        ("429-edge-without-retry-after", "limited"),
        ("429-paging-not-a-rate-limit", "own fault"),
        ("451-region", "region"),
        ("500-by-hash.plain-text", "later"),
        ("500-download", "later"),
        ("500-model-id", "later"),
        ("500-version-id", "later"),
        ("502-edge", "later"),
        ("503-edge-challenge", "later"),
        ("503-search-overloaded", "later"),
        ("524-edge-origin-timeout", "later"),
    ] {
        assert_eq!(word(&sample(name)), meaning, "{name}");
    }
}

#[test]
fn retry_after_is_read_as_seconds_and_as_a_date_and_nothing_else() {
    let of = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        retry_after(&headers, now())
    };
    assert_eq!(of("37"), Some(Duration::from_secs(37)));
    assert_eq!(
        of("Sun, 22 Nov 2026 11:09:30 GMT"),
        Some(Duration::from_secs(90))
    );
    assert_eq!(of("Sun, 22 Nov 2026 11:00:00 GMT"), Some(Duration::ZERO));
    for wrong in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
        assert_eq!(of(wrong), None, "{wrong:?}");
    }
    let Answer::Trouble(trouble) = sample("429-edge-with-retry-after") else {
        panic!("a rate limit is trouble");
    };
    assert_eq!(trouble.after(), Some(Duration::from_secs(10)));
    assert!(trouble.may_pass());
}

#[test]
fn words_name_the_status_and_are_short_whatever_civitai_says() {
    let Answer::Trouble(trouble) = sample("451-region") else {
        panic!("a refusal is trouble");
    };
    assert!(!trouble.may_pass());
    let words = trouble.to_string();
    assert!(words.contains("451") && words.contains("region"), "{words}");
    let long = format!("{{\"error\":\"{}\"}}", "ß\\n".repeat(5_000));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let Answer::Trouble(trouble) = classify(500, &headers, long.as_bytes(), now()) else {
        panic!("500 is trouble");
    };
    let words = trouble.to_string();
    assert!(
        words.chars().count() < 300 && !words.contains('\n'),
        "{words}"
    );
}

#[test]
fn json_counts_only_where_both_status_and_content_type_say_so() {
    let mut headers = HeaderMap::new();
    let found = |headers: &HeaderMap, body: &[u8]| word(&classify(200, headers, body, now()));
    assert_eq!(found(&headers, b"[]"), "later");
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    assert_eq!(found(&headers, b"[]"), "later");
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    assert_eq!(found(&headers, b"[]"), "found");
    assert_eq!(found(&headers, b"<html>"), "later");
    assert_eq!(found(&headers, b"[1,"), "later");
}
