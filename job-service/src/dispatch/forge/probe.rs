//! Looks at a server from outside: is it a Forge, may we use it, and what are
//! its settings now. How its health follows is the monitor's to say.

use serde_json::{Map, Value};

use super::{CONTROL, CallFailure, ForgeClient};

/// What a probe found.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeFacts {
    /// How the server's process names itself; `None` in API-only mode.
    pub process: Option<String>,
    /// Whether task states and files can be asked for.
    pub ui_mode: bool,
    /// All its options as it lists them (whole numbers as floats).
    pub options: Value,
    /// The title of the selected checkpoint; empty when it has none.
    pub checkpoint: String,
    /// When its newest job began, in its local time; "0" when there was none.
    pub job_timestamp: String,
    /// What is wrong with the login of its UI, with what would help; files
    /// cannot be fetched then.
    pub ui_login_fault: Option<String>,
}

/// What is wrong with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFailureKind {
    /// It does not answer, or not in time.
    Unreachable,
    /// It refuses our credentials.
    Unauthenticated,
    /// It has no `/sdapi`: Forge runs without `--api`.
    ApiMissing,
    /// It answers something that is not Forge's.
    NotForge,
}

/// Why a probe found nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ProbeFailure {
    /// What is wrong.
    pub kind: ProbeFailureKind,
    /// The same in words, with what would help.
    pub message: String,
}

impl ForgeClient {
    /// Asks the server for all that a probe needs; five small calls, and a
    /// login at its UI where one is due.
    pub async fn probe(&self) -> Result<ProbeFacts, ProbeFailure> {
        let options: Map<String, Value> = self
            .get("/sdapi/v1/options", "", CONTROL)
            .await
            .map_err(|failure| self.on_api(&failure))?;
        let Some(checkpoint) = options.get("sd_model_checkpoint").cloned() else {
            return Err(not_forge("its options name no sd_model_checkpoint"));
        };
        // A1111 has the same API but no such list (`forge/forge-api.md` §0).
        match self.get::<Value>("/sdapi/v1/sd-modules", "", CONTROL).await {
            Ok(Value::Array(_)) => {}
            Ok(_) | Err(CallFailure::Status { status: 404, .. }) => {
                return Err(not_forge("it has no list of modules, as A1111 has none"));
            }
            Err(failure) => return Err(self.on_api(&failure)),
        }
        let progress = self.progress().await;
        let progress = progress.map_err(|failure| self.on_api(&failure))?;
        let ui_mode = self.has_task_tracking().await?;
        let process = if ui_mode {
            let process = self.app_id().await;
            process.map_err(|failure| self.on_api(&failure))?
        } else {
            None
        };
        let ui_login_fault = if ui_mode {
            self.check_ui_login(process.as_deref()).await
        } else {
            None
        };
        Ok(ProbeFacts {
            process,
            ui_mode,
            checkpoint: checkpoint.as_str().unwrap_or_default().to_owned(),
            options: Value::Object(options),
            job_timestamp: progress.job_timestamp,
            ui_login_fault,
        })
    }

    /// Whether `/internal` is there: only with the UI.
    async fn has_task_tracking(&self) -> Result<bool, ProbeFailure> {
        match self.get::<Value>("/internal/ping", "", CONTROL).await {
            Ok(_) => Ok(true),
            Err(CallFailure::Status { status: 404, .. }) => Ok(false),
            Err(failure) => Err(self.on_api(&failure)),
        }
    }

    /// What the failure of a call on the API path says about the server.
    fn on_api(&self, failure: &CallFailure) -> ProbeFailure {
        on_api(failure, self.has_api_login())
    }
}

/// What helps where the API refuses us.
#[must_use]
pub fn api_login_remedy(has_login: bool) -> &'static str {
    if has_login {
        "it refuses server.api_login; set the right one with UpdateServer"
    } else {
        "it asks for a login; set server.api_login with UpdateServer"
    }
}

fn not_forge(why: &str) -> ProbeFailure {
    ProbeFailure {
        kind: ProbeFailureKind::NotForge,
        message: format!("this is not a Forge server: {why}; check the base URL"),
    }
}

fn on_api(failure: &CallFailure, has_login: bool) -> ProbeFailure {
    let (kind, remedy) = match failure {
        CallFailure::Unreachable(_) | CallFailure::TimedOut(_) => {
            (ProbeFailureKind::Unreachable, "check that it runs")
        }
        CallFailure::Status {
            status: 401 | 403, ..
        } => (
            ProbeFailureKind::Unauthenticated,
            api_login_remedy(has_login),
        ),
        CallFailure::Status { status: 404, .. } => (
            ProbeFailureKind::ApiMissing,
            "start Forge with --api, and check the base URL",
        ),
        CallFailure::Status {
            status: 500..=599, ..
        } => (ProbeFailureKind::Unreachable, "look at its log"),
        CallFailure::Status { .. } | CallFailure::TooLarge(_) | CallFailure::Malformed(_) => {
            (ProbeFailureKind::NotForge, "check the base URL")
        }
    };
    ProbeFailure {
        kind,
        message: format!("{failure}; {remedy}"),
    }
}
