//! Every method × every scope × one's own and others' jobs answers as the
//! tables promise, and no method is without its row.

mod raw;
mod tables;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use model_service::tokens::{self, Tokens};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use service_kit::auth::{ApiKey, SCOPE_KEY, Scope, Token};
use service_kit::status::reason_of;
use stablequeue_proto::{
    FILE_DESCRIPTOR_SET,
    jobs::v1::{
        self as jobs, BatchJob, BatchSubmitJobsRequest, GenerationParams, UpdateApiKeyRequest,
        WaitJobRequest, batch_job, batch_submit_result::Outcome,
    },
};
use system_tests::{
    Pair, PairOptions,
    callers::{CallerChannel, Key, connect},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use raw::call;
use tables::{About, JOB_SERVICES, JOBS, MODEL_SERVICES, MODELS, Rule};

/// An id that no job has.
const NO_JOB: &str = "00000000-0000-7000-8000-000000000000";

/// The methods of these services, from their descriptors.
fn methods_of(services: &[&str]) -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors");
    let mut methods = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            if services.contains(&name.as_str()) {
                let of = service.method.iter();
                methods.extend(of.map(|method| format!("{name}/{}", method.name())));
            }
        }
    }
    methods
}

#[test]
fn every_method_has_its_row_and_every_row_its_method() {
    for (services, table) in [(&JOB_SERVICES[..], JOBS), (&MODEL_SERVICES[..], MODELS)] {
        let rows: BTreeSet<String> = table.iter().map(|rule| rule.method.to_owned()).collect();
        assert_eq!(rows, methods_of(services));
        assert_eq!(rows.len(), table.len(), "a row is there twice");
    }
    assert_eq!(JOB_SERVICES, job_service::api::SERVICE_NAMES);
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors");
    for file in &set.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            let known =
                JOB_SERVICES.contains(&name.as_str()) || MODEL_SERVICES.contains(&name.as_str());
            assert!(known, "{name} has no table");
        }
    }
}

/// Whether a call with one scope was let through as it is promised; the error
/// that it was answered with, if it was.
fn check_scope(rule: &Rule, scope: Scope, answer: Result<(), Status>) -> Option<Status> {
    let what = format!("{} with {scope}", rule.method);
    let status = answer.err();
    let code = status.as_ref().map_or(Code::Ok, Status::code);
    if rule.suffice.contains(&scope) {
        assert_ne!(code, Code::PermissionDenied, "{what}: {status:?}");
        assert_ne!(code, Code::Unauthenticated, "{what}: {status:?}");
        assert_ne!(code, Code::Unimplemented, "{what}: {status:?}");
        return status;
    }
    let status = status.unwrap_or_else(|| panic!("{what} was let through"));
    assert_eq!(code, Code::PermissionDenied, "{what}: {status:?}");
    let info = status.get_details_error_info().expect("a reason");
    assert_eq!(info.reason, "SCOPE_MISSING", "{what}");
    let named = info.metadata.get(SCOPE_KEY).map(String::as_str);
    assert_eq!(named, Some(rule.needs.as_str()), "{what}");
    Some(status)
}

#[tokio::test(flavor = "multi_thread")]
async fn model_service_lets_each_scope_do_what_is_promised() -> Result<()> {
    let mut entries = Vec::new();
    let mut given = Vec::new();
    for scope in Scope::ALL {
        let (token, entry) = tokens::create(scope.as_str(), &[scope], None)?;
        let entry: Vec<serde_json::Value> = serde_json::from_str(&entry)?;
        entries.extend(entry);
        given.push((scope, token));
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tokens.json");
    std::fs::write(&file, serde_json::to_string(&entries)?)?;
    let known = Tokens::read(&file).map_err(|faults| anyhow::anyhow!(faults.join("; ")))?;
    let pair = Pair::start(PairOptions {
        model_tokens: Some(Arc::new(known)),
        ..PairOptions::default()
    })
    .await?;
    for (scope, token) in &given {
        let channel = connect(pair.models_addr(), Some(token)).await?;
        for rule in MODELS {
            let answer = call(&channel, rule.method, WaitJobRequest::default()).await;
            check_scope(rule, *scope, answer);
        }
    }
    Ok(())
}

/// Whose a job is that a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Caller,
    Other,
    /// It was submitted before there were keys.
    Nobody,
}

/// One job for each method, so that none finds what another left.
async fn submit(channel: &CallerChannel) -> Result<Vec<String>> {
    let job = BatchJob {
        input: Some(batch_job::Input::Params(GenerationParams {
            prompt: "whose".to_owned(),
            ..GenerationParams::default()
        })),
        variations: Some(i32::try_from(JOBS.len())?),
        ..BatchJob::default()
    };
    let request = BatchSubmitJobsRequest {
        jobs: vec![job],
        ..BatchSubmitJobsRequest::default()
    };
    let mut client = jobs::job_service_client::JobServiceClient::new(channel.clone());
    let answer = client.batch_submit_jobs(request).await?.into_inner();
    let ids = answer
        .results
        .into_iter()
        .map(|result| match result.outcome {
            Some(Outcome::Taken(taken)) => Ok(taken.job_id),
            other => Err(anyhow::anyhow!("{other:?}")),
        });
    ids.collect()
}

/// Makes a key that may do nothing but what one scope allows, and jobs that it
/// submitted before that.
async fn narrowed(pair: &Pair, scope: Scope) -> Result<(Key, Vec<String>)> {
    let key = pair
        .new_key(&[Scope::JobsWrite], jobs::ApiKey::default())
        .await?;
    let own = submit(&connect(pair.jobs_addr(), Some(&key.token)).await?).await?;
    let api_key = jobs::ApiKey {
        key_id: key.id.clone(),
        scopes: vec![scope.as_str().to_owned()],
        ..jobs::ApiKey::default()
    };
    let request = UpdateApiKeyRequest {
        api_key: Some(api_key),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["scopes".to_owned()],
        }),
    };
    pair.keys().await?.update_api_key(request).await?;
    Ok((key, own))
}

fn about(job_id: &str, method: &str) -> WaitJobRequest {
    WaitJobRequest {
        job_id: job_id.to_owned(),
        // Waiting is not what is tested.
        timeout: method
            .ends_with("/WaitJob")
            .then(prost_types::Duration::default),
    }
}

/// Calls a method about a job and checks what it says of the job.
async fn check_job(
    channel: &CallerChannel,
    rule: &Rule,
    scope: Scope,
    of_others: &[Scope],
    (owner, job_id): (Owner, &str),
) {
    let what = format!("{} with {scope} about a job of {owner:?}", rule.method);
    let answer = call(channel, rule.method, about(job_id, rule.method)).await;
    let status = check_scope(rule, scope, answer);
    if !rule.suffice.contains(&scope) {
        return;
    }
    let reason = status.as_ref().and_then(reason_of);
    if owner == Owner::Caller || of_others.contains(&scope) {
        assert_ne!(reason.as_deref(), Some("JOB_NOT_FOUND"), "{what}");
        return;
    }
    let status = status.unwrap_or_else(|| panic!("{what} was answered"));
    assert_eq!(status.code(), Code::NotFound, "{what}: {status:?}");
    assert_eq!(reason.as_deref(), Some("JOB_NOT_FOUND"), "{what}");
    // Word for word what is said of a job that does not exist.
    let absent = call(channel, rule.method, about(NO_JOB, rule.method)).await;
    let absent = absent.expect_err("no such job");
    assert_eq!(said(&status, job_id), said(&absent, NO_JOB), "{what}");
}

/// All that a refusal says, but for the id of the job.
fn said(status: &Status, job_id: &str) -> (Code, String, String) {
    let details = format!("{:?}", status.get_error_details());
    let without_id = |text: &str| text.replace(job_id, "…");
    (
        status.code(),
        without_id(status.message()),
        without_id(&details),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn job_service_lets_each_scope_do_what_is_promised_with_whose_jobs() -> Result<()> {
    let mut pair = Pair::start(PairOptions::default()).await?;
    let free = submit(&connect(pair.jobs_addr(), None).await?).await?;
    pair.stop_jobs().await?;
    pair.require_key(ApiKey::generate()?.token());
    pair.start_jobs().await?;
    let other = pair
        .new_key(&[Scope::JobsWrite], jobs::ApiKey::default())
        .await?;
    let other = connect(pair.jobs_addr(), Some(&other.token)).await?;
    for scope in Scope::ALL {
        let (key, own) = narrowed(&pair, scope).await?;
        let others = submit(&other).await?;
        let channel = connect(pair.jobs_addr(), Some(&key.token)).await?;
        for (at, rule) in JOBS.iter().enumerate() {
            let About::Job(of_others) = rule.about else {
                let answer = call(&channel, rule.method, WaitJobRequest::default()).await;
                check_scope(rule, scope, answer);
                continue;
            };
            for case in [
                (Owner::Other, others[at].as_str()),
                (Owner::Nobody, free[at].as_str()),
                (Owner::Caller, own[at].as_str()),
            ] {
                check_job(&channel, rule, scope, of_others, case).await;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_is_answered_once_one_exists() -> Result<()> {
    let pair = Pair::start(PairOptions {
        key: Some(ApiKey::generate()?.token()),
        ..PairOptions::default()
    })
    .await?;
    let stranger: Token = ApiKey::generate()?.token();
    for token in [None, Some(&stranger)] {
        let channel = connect(pair.jobs_addr(), token).await?;
        for rule in JOBS {
            let answer = call(&channel, rule.method, about(NO_JOB, rule.method)).await;
            let status = answer.err().context(rule.method)?;
            assert_eq!(status.code(), Code::Unauthenticated, "{}", rule.method);
        }
    }
    Ok(())
}
