//! The lines that the user can paste next, with the real ports. Calls nothing.

use std::{fmt::Write as _, net::SocketAddr};

use serde_json::{Value, json};

use crate::{pair::Pair, submit::Done};

const JOBS: &str = "stablequeue.jobs.v1.JobService";
const SERVERS: &str = "stablequeue.jobs.v1.ServerService";
const AVAILABILITY: &str = "stablequeue.models.v1.AvailabilityService";
const MODELS: &str = "stablequeue.models.v1.ModelService";
const HEALTH: &str = "grpc.health.v1.Health/Check";

/// What to try next.
pub(crate) fn text(pair: &Pair, done: &Done) -> String {
    let (jobs, models) = (pair.jobs_addr(), pair.models_addr());
    let job = json!({ "job_id": done.job.job_id });
    let result = done.job.result.clone().unwrap_or_default();
    let reference = json!({ "references": [{ "reference": result.checkpoint }] });
    let submission = json!({ "params": { "prompt": "a red fox in the snow", "steps": 20 } });
    let mut text = String::from("\nThe pair is up. To look around with grpcurl:\n");
    let mut line = |words: &str, call: String| {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n# {words}\n{call}\n");
    };
    line("what job-service offers", list(jobs));
    line("what model-service offers", list(models));
    line("this job", call(jobs, &job, &format!("{JOBS}/GetJob")));
    line(
        "another job; its answer has the job_id",
        call(jobs, &submission, &format!("{JOBS}/SubmitJob")),
    );
    line(
        "follow a job to its end",
        call(jobs, &job, &format!("{JOBS}/WatchJob")),
    );
    line(
        "the Forge servers and how they are",
        call(jobs, &json!({}), &format!("{SERVERS}/ListServers")),
    );
    line(
        "which server has the checkpoint",
        call(
            models,
            &reference,
            &format!("{AVAILABILITY}/CheckAvailability"),
        ),
    );
    line(
        "is it ready",
        format!(
            "{}\n{}",
            call(jobs, &json!({ "service": JOBS }), HEALTH),
            call(models, &json!({ "service": MODELS }), HEALTH)
        ),
    );
    for address in pair.metrics_addrs() {
        line(
            "figures for Prometheus",
            format!("curl http://{address}/metrics"),
        );
    }
    text
}

fn list(address: SocketAddr) -> String {
    format!("grpcurl -plaintext {address} list")
}

fn call(address: SocketAddr, body: &Value, method: &str) -> String {
    let body = quoted(&body.to_string());
    format!("grpcurl -plaintext -d {body} {address} {method}")
}

/// In single quotes, as a POSIX shell reads them.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_title_does_not_end_the_shell_word() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
