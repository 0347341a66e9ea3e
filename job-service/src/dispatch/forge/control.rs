//! The small calls that follow and stop work on a server. Whose work it is
//! that runs there is for the caller to know.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{CONTROL, CONTROL_BYTES_MAX, CallFailure, ForgeClient, INTERRUPT_TIMEOUT, Limits};

/// What `/sdapi/v1/progress` says about whatever runs there, without naming
/// it (`forge/forge-api.md` §3).
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalProgress {
    /// 0 to 1.
    pub progress: f64,
    /// Seconds that the server expects to need; may be negative at the end.
    pub eta_seconds: f64,
    /// What runs, in the server's words; empty when nothing does.
    pub job: String,
    /// Batches in all, doubled by hires; -1 while a model is loaded; 0 idle.
    pub job_count: i64,
    /// The batch that runs, from 0.
    pub job_no: i64,
    /// The step that was done last.
    pub sampling_step: i64,
    /// Steps of this pass.
    pub sampling_steps: i64,
    /// When the newest job began, in the server's local time; "0" when there
    /// was none since the process began.
    pub job_timestamp: String,
    /// Whether the newest job was interrupted; stays until the next begins.
    pub interrupted: bool,
    /// Whether the newest batch was skipped.
    pub skipped: bool,
}

impl GlobalProgress {
    /// Whether the server reports no work at all.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.job.is_empty() && self.job_count == 0
    }

    /// Whether it is loading a model.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.job_count < 0
    }
}

/// What `/internal/progress` says about one task (UI mode only).
#[derive(Clone, Debug, PartialEq)]
pub struct TaskState {
    /// It runs, or it failed with an exception and was never taken off.
    pub active: bool,
    /// It waits for the server's lock, or it failed before it got there.
    pub queued: bool,
    /// It ended or was interrupted; only the last 16 are remembered.
    pub completed: bool,
    /// 0 to 1, while it runs.
    pub progress: Option<f64>,
    /// What the server's own page would show.
    pub textinfo: Option<String>,
}

impl TaskState {
    /// Whether the server does not know the task (any more).
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        !self.active && !self.queued && !self.completed
    }
}

#[derive(Deserialize)]
struct ProgressBody {
    #[serde(default)]
    progress: Option<f64>,
    #[serde(default)]
    eta_relative: Option<f64>,
    state: StateBody,
}

#[derive(Deserialize)]
struct StateBody {
    #[serde(default)]
    job: Option<String>,
    #[serde(default)]
    job_count: i64,
    #[serde(default)]
    job_no: i64,
    #[serde(default)]
    job_timestamp: Option<String>,
    #[serde(default)]
    sampling_step: i64,
    #[serde(default)]
    sampling_steps: i64,
    #[serde(default)]
    interrupted: bool,
    #[serde(default)]
    skipped: bool,
}

#[derive(Deserialize)]
struct TaskBody {
    active: bool,
    queued: bool,
    completed: bool,
    #[serde(default)]
    progress: Option<f64>,
    #[serde(default)]
    textinfo: Option<String>,
}

impl ForgeClient {
    /// What runs on the server, whoever asked for it. No picture.
    pub async fn progress(&self) -> Result<GlobalProgress, CallFailure> {
        let query = "skip_current_image=true";
        let body: ProgressBody = self.get("/sdapi/v1/progress", query, CONTROL).await?;
        let ProgressBody {
            progress,
            eta_relative,
            state,
        } = body;
        Ok(GlobalProgress {
            progress: progress.unwrap_or(0.0),
            eta_seconds: eta_relative.unwrap_or(0.0),
            job: state.job.unwrap_or_default(),
            job_count: state.job_count,
            job_no: state.job_no,
            sampling_step: state.sampling_step,
            sampling_steps: state.sampling_steps,
            job_timestamp: state.job_timestamp.unwrap_or_default(),
            interrupted: state.interrupted,
            skipped: state.skipped,
        })
    }

    /// What the server knows about the task with this id. A server in
    /// API-only mode answers 404.
    pub async fn task(&self, token: &str) -> Result<TaskState, CallFailure> {
        let request = json!({
            "id_task": token,
            "id_live_preview": -1,
            "live_preview": false,
        });
        let body: TaskBody = self.post("/internal/progress", &request, CONTROL).await?;
        let TaskBody {
            active,
            queued,
            completed,
            progress,
            textinfo,
        } = body;
        Ok(TaskState {
            active,
            queued,
            completed,
            progress,
            textinfo,
        })
    }

    /// How the server's process names itself: another number after each
    /// start. `None` in API-only mode.
    pub async fn app_id(&self) -> Result<Option<String>, CallFailure> {
        match self.get::<Value>("/app_id", "", CONTROL).await {
            Ok(body) => match body.get("app_id") {
                Some(Value::String(id)) => Ok(Some(id.clone())),
                Some(id @ Value::Number(_)) => Ok(Some(id.to_string())),
                _ => Err(CallFailure::Malformed("/app_id has no app_id".to_owned())),
            },
            Err(CallFailure::Status { status: 404, .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Stops whatever runs on the server at this moment, whoever asked for
    /// it: see whose it is first. An idle server answers as well.
    pub async fn interrupt(&self) -> Result<(), CallFailure> {
        let limits = Limits {
            timeout: INTERRUPT_TIMEOUT,
            bytes: CONTROL_BYTES_MAX,
        };
        let body = json!({});
        let _body: Value = self
            .post_at_once("/sdapi/v1/interrupt", &body, limits)
            .await?;
        Ok(())
    }
}
