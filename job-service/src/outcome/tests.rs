use std::fs;
use std::path::Path;

use super::*;
use AttemptOutcome::{PermanentError, Refused, RetryableError, ServerLacksFeature};

/// Status and body of a recorded exchange.
fn recorded(name: &str) -> (u16, Vec<u8>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/forge")
        .join(format!("{name}.response.txt"));
    let text = fs::read_to_string(file).unwrap().replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().trim().parse().unwrap();
    (status, body.trim().as_bytes().to_vec())
}

fn failure(name: &str) -> Failure {
    let (status, body) = recorded(name);
    match classify_status(status, &body) {
        Verdict::Failed(failure) => failure,
        Verdict::Unknown { .. } => panic!("{name} is unknown"),
    }
}

#[test]
fn every_recorded_error_is_in_the_table() {
    let table = [
        (
            "03-errors/04-unknown-override-key",
            ServerLacksFeature,
            "FORGE_OPTION_MISSING",
        ),
        ("03-errors/05-bad-json", PermanentError, "FORGE_VALIDATION"),
        (
            "03-errors/06-wrong-type-steps",
            PermanentError,
            "FORGE_VALIDATION",
        ),
        (
            "03-errors/08-body-array",
            PermanentError,
            "FORGE_VALIDATION",
        ),
        ("03-errors/11-width-0", RetryableError, "FORGE_ERROR"),
        ("03-errors/13-steps-0", PermanentError, "FORGE_REJECTED"),
        (
            "03-errors/14-negative-batch",
            PermanentError,
            "FORGE_REJECTED",
        ),
        (
            "03-errors/15-script-unknown",
            ServerLacksFeature,
            "FORGE_SCRIPT_MISSING",
        ),
        (
            "03-errors/16-alwayson-unknown",
            ServerLacksFeature,
            "FORGE_SCRIPT_MISSING",
        ),
        (
            "03-errors/17-hr-unknown-upscaler",
            ServerLacksFeature,
            "FORGE_FEATURE_MISSING",
        ),
        ("03-errors/18-hr-minimal", RetryableError, "FORGE_ERROR"),
        (
            "03-errors/19-refiner-unknown",
            ServerLacksFeature,
            "FORGE_CHECKPOINT_MISSING",
        ),
        ("03-errors/20-prompt-null", PermanentError, "FORGE_REJECTED"),
        (
            "03-errors/21-img2img-no-init",
            PermanentError,
            "FORGE_VALIDATION",
        ),
        (
            "03-errors/22-img2img-bad-base64",
            PermanentError,
            "FORGE_BAD_IMAGE",
        ),
        (
            "03-errors/29-allocation-failure-huge-image",
            RetryableError,
            "FORGE_OUT_OF_MEMORY",
        ),
        (
            "10-api-only-with-auth/01-no-auth-txt2img",
            Refused,
            "FORGE_UNAUTHENTICATED",
        ),
        (
            "10-api-only-with-auth/02-wrong-password",
            Refused,
            "FORGE_UNAUTHENTICATED",
        ),
        (
            "10-api-only-with-auth/22-app-id-absent",
            Refused,
            "FORGE_API_MISSING",
        ),
        (
            "13-more/03-not-a-model",
            RetryableError,
            "FORGE_MODEL_UNREADABLE",
        ),
        (
            "13-more/04-mini-after-failed-load",
            RetryableError,
            "FORGE_POISONED",
        ),
    ];
    for (name, outcome, code) in table {
        let failure = failure(name);
        assert_eq!((failure.outcome, failure.code), (outcome, code), "{name}");
        assert_eq!(failure.http_status, recorded(name).0, "{name}");
    }
}

#[test]
fn a_failure_keeps_forges_own_words() {
    let text = failure("03-errors/19-refiner-unknown").message;
    assert_eq!(text, "Exception: Could not find checkpoint with name nope");
    let text = failure("03-errors/06-wrong-type-steps").message;
    assert!(
        text.starts_with("steps: Input should be a valid integer"),
        "{text}"
    );
    assert!(text.contains("; width: "), "{text}");
}

#[test]
fn cuda_out_of_memory_is_not_the_jobs_fault() {
    let body = br#"{"error":"OutOfMemoryError","detail":"","body":"","message":"CUDA out of memory. Tried to allocate 2.00 GiB"}"#;
    let Verdict::Failed(failure) = classify_status(500, body) else {
        panic!("unknown");
    };
    assert_eq!(failure.code, "FORGE_OUT_OF_MEMORY");
}

#[test]
fn what_is_not_in_the_table_is_unknown() {
    let html = b"<html>Bad Gateway</html>".as_slice();
    let cases = [
        (502, html),
        (503, b"".as_slice()),
        (504, html),
        (500, html),
        (500, b"Internal Server Error".as_slice()),
        (422, b"".as_slice()),
        (302, b"".as_slice()),
        (429, br#"{"detail":"slow down"}"#.as_slice()),
        (200, br#"{"images":[]}"#.as_slice()),
    ];
    for (status, body) in cases {
        let verdict = classify_status(status, body);
        let is_unknown =
            matches!(verdict, Verdict::Unknown { http_status, .. } if http_status == status);
        assert!(is_unknown, "{status}: {verdict:?}");
    }
}

#[test]
fn only_a_request_that_cannot_have_been_sent_is_refused() {
    let refused = classify_transport(TransportFault::NotSent, "connection refused");
    assert!(matches!(refused, Verdict::Failed(failure) if failure.outcome == Refused));
    let lost = classify_transport(TransportFault::Lost, "connection reset");
    assert!(matches!(lost, Verdict::Unknown { http_status: 0, .. }));
}

#[test]
fn a_message_is_bounded_at_a_character() {
    let text = bounded(&"ü\n".repeat(MESSAGE_BYTES_MAX));
    assert!(text.len() <= MESSAGE_BYTES_MAX);
    assert!(!text.contains('\n'));
}
