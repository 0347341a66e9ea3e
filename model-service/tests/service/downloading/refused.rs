//! What Civitai refuses, what this service refuses, and what passes.

use civitai_sim::{Play, Rule, SimFile, SimVersion, Target};
use serde_json::json;
use tonic::Code;

use super::fixture::{Downloading, FILE, VERSION, content};
use crate::harness::{fields, reason};

fn download() -> Target {
    Target::Path(format!("/api/download/models/{VERSION}"))
}

#[tokio::test]
async fn every_refusal_of_civitai_has_its_own_reason() {
    let mut downloading = Downloading::new().await;
    downloading.publish(&content(1, 100));
    for (sample, reason, said) in [
        (
            "401-download-login-required",
            "CIVITAI_KEY_NEEDED",
            "--civitai-key-file",
        ),
        (
            "401-download-disabled",
            "CIVITAI_DOWNLOADS_DISABLED",
            "disabled",
        ),
        (
            "403-download-early-access",
            "CIVITAI_EARLY_ACCESS",
            "2027-01-15T18:30:00.000Z",
        ),
        (
            "403-download-paid-for-good",
            "CIVITAI_EARLY_ACCESS",
            "bought",
        ),
        ("403-download-no-access", "CIVITAI_FORBIDDEN", "may not"),
        ("403-download-blocked", "CIVITAI_FORBIDDEN", "may not"),
        (
            "404-download-file",
            "CIVITAI_FILE_NOT_FOUND",
            "look at the version",
        ),
        ("410-download-archived", "CIVITAI_ARCHIVED", "archived"),
        ("429-download-quota", "CIVITAI_QUOTA", "within hours"),
        ("451-region", "CIVITAI_REGION", "region"),
        ("404-no-such-route", "CIVITAI_REFUSES", "--civitai-url"),
    ] {
        downloading
            .sim
            .script(Rule::once(download(), Play::Sample(sample)));
        let error = downloading.failed(|_| {}).await;
        assert_eq!(error.reason, reason, "{sample}");
        assert!(error.message.contains(said), "{sample}: {}", error.message);
    }
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    for sample in [
        "404-download-storage-trouble",
        "500-download",
        "502-edge",
        "403-edge-challenge",
    ] {
        let mut downloading = Downloading::new().await;
        downloading.publish(&content(1, 100));
        downloading
            .sim
            .script(Rule::once(download(), Play::Sample(sample)));
        downloading.download(|_| {}).await;
        assert_eq!(downloading.asked("/api/download/").len(), 2, "{sample}");
    }
}

#[tokio::test]
async fn a_version_without_a_file_to_be_had_is_not_asked_for_one() {
    let mut downloading = Downloading::new().await;
    let file = || SimFile::of(FILE, &content(1, 10));
    let error = downloading.failed(|_| {}).await;
    assert_eq!(error.reason, "CIVITAI_VERSION_NOT_FOUND");
    for (version, reason) in [
        (SimVersion::new(VERSION), "NO_MODEL_FILE"),
        (
            SimVersion::new(VERSION).file(file().with("type", "VAE".into())),
            "NO_MODEL_FILE",
        ),
        (
            SimVersion::new(VERSION)
                .file(file())
                .with("usageControl", "Generation".into()),
            "CIVITAI_DOWNLOADS_DISABLED",
        ),
        (
            SimVersion::new(VERSION)
                .file(file())
                .with_model("mode", "Archived".into()),
            "CIVITAI_DOWNLOADS_DISABLED",
        ),
    ] {
        downloading.sim.add(version);
        assert_eq!(downloading.failed(|_| {}).await.reason, reason);
    }
    assert!(downloading.asked("/api/download/").is_empty());
}

#[tokio::test]
async fn a_file_that_does_not_fit_is_not_begun() {
    let mut downloading = Downloading::new().await;
    let huge = SimFile::of(FILE, b"x").with("sizeKB", json!(1e12));
    downloading.sim.add(SimVersion::new(VERSION).file(huge));
    let error = downloading.failed(|_| {}).await;
    assert_eq!(error.reason, "DISK_FULL");
    assert!(
        error.message.contains("1024000000000000 bytes"),
        "{}",
        error.message
    );
    assert!(downloading.asked("/api/download/").is_empty());
}

#[tokio::test]
async fn an_answer_does_not_lead_to_where_secrets_are() {
    let mut downloading = Downloading::new().await;
    downloading.publish(&content(1, 100));
    for host in [
        "http://169.254.169.254",
        "http://[fd00:ec2::254]",
        "ftp://127.0.0.1",
    ] {
        downloading.sim.lead_to(host);
        let error = downloading.failed(|_| {}).await;
        assert_eq!(error.reason, "ADDRESS_DENIED", "{host}");
    }
}

#[tokio::test]
async fn offline_and_unknown_roots_are_refused_at_the_door() {
    let mut downloading = Downloading::new().await;
    let refused = downloading
        .start_of(|asked| asked.root = "none".to_owned())
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    let refused = downloading
        .start_of(|asked| asked.filename = "../a.safetensors".to_owned())
        .await;
    assert_eq!(fields(&refused.unwrap_err()), ["filename"]);
    let mut offline = Downloading::with(|config| config.library.civitai.offline = true).await;
    let status = offline.start_of(|_| {}).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "OFFLINE")
    );
    assert!(offline.sim.requests().is_empty());
}
