//! A simulated server for one test, set up as the recorded one was.

use std::{sync::Once, time::Duration};

use forge_sim::{ForgeSim, Generation, Outcome, SimConfig, SimModel};
use reqwest::Response;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Nothing in these tests takes longer unless it hangs.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) sim: ForgeSim,
    pub(crate) folder: TempDir,
    pub(crate) client: reqwest::Client,
}

/// The models of the recorded server; `full` is selected on a fresh start.
pub(crate) fn recorded_models(folder: &TempDir) -> SimConfig {
    SimConfig {
        checkpoints: vec![
            SimModel::named("sd15-random-full.safetensors"),
            SimModel::named("sd15-random-mini.safetensors"),
            SimModel::named("sub dir/sd15 mini (v2).safetensors"),
        ],
        loras: vec![
            SimModel {
                output_name: Some("tiny_a_trained".to_owned()),
                ..SimModel::named("tiny-a.safetensors")
            },
            SimModel::named("styles/tiny-b.safetensors"),
        ],
        modules: Vec::new(),
        ..SimConfig::instant(folder.path())
    }
}

pub(crate) fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider()
            .install_default()
            .expect("the first provider");
    });
    reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .timeout(BOUND)
        .build()
        .unwrap()
}

impl Server {
    pub(crate) async fn start(change: impl FnOnce(SimConfig) -> SimConfig) -> Self {
        let folder = TempDir::new().unwrap();
        let sim = ForgeSim::start(change(recorded_models(&folder)))
            .await
            .unwrap();
        Self {
            sim,
            folder,
            client: client(),
        }
    }

    /// A server whose steps and loads wait for permits.
    pub(crate) async fn gated() -> Self {
        Self::start(|config| SimConfig {
            gated: true,
            ..config
        })
        .await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<&str>) -> Response {
        let mut request = self
            .client
            .request(method.parse().unwrap(), format!("{}{path}", self.sim.url()));
        if let Some(body) = body {
            request = request.body(body.to_owned());
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self.send("GET", path, None).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let response = self.send("POST", path, Some(&body.to_string())).await;
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// txt2img that must answer 200; `info` is parsed.
    pub(crate) async fn txt2img(&self, body: Value) -> (Value, Value) {
        let (status, answer) = self.post("/sdapi/v1/txt2img", body).await;
        assert_eq!(status, 200, "{answer}");
        let info = serde_json::from_str(answer["info"].as_str().unwrap()).unwrap();
        (answer, info)
    }

    /// Sends txt2img in the background.
    pub(crate) fn submit(&self, body: Value) -> tokio::task::JoinHandle<reqwest::Result<Response>> {
        let request = self
            .client
            .post(format!("{}/sdapi/v1/txt2img", self.sim.url()))
            .body(body.to_string());
        #[expect(
            clippy::disallowed_methods,
            reason = "the test awaits the handle itself"
        )]
        tokio::spawn(request.send())
    }

    /// Sends a POST without a body in the background.
    pub(crate) fn submit_to(
        &self,
        path: &str,
    ) -> tokio::task::JoinHandle<reqwest::Result<Response>> {
        let request = self.client.post(format!("{}{path}", self.sim.url()));
        #[expect(
            clippy::disallowed_methods,
            reason = "the test awaits the handle itself"
        )]
        tokio::spawn(request.send())
    }

    pub(crate) async fn track(&self, id: &str) -> Value {
        let body = json!({ "id_task": id, "live_preview": false });
        let (status, answer) = self.post("/internal/progress", body).await;
        assert_eq!(status, 200);
        answer
    }

    pub(crate) async fn progress(&self) -> Value {
        self.get("/sdapi/v1/progress?skip_current_image=true").await
    }

    /// Waits until `count` generations have started.
    pub(crate) async fn started(&self, count: usize) {
        self.sim
            .wait_for(|log| log.len() >= count, BOUND)
            .await
            .unwrap();
    }

    /// Waits until the newest generation has done `count` steps.
    pub(crate) async fn steps_done(&self, count: u64) {
        self.sim
            .wait_for(
                |log| log.last().is_some_and(|it| it.steps_done >= count),
                BOUND,
            )
            .await
            .unwrap();
    }

    pub(crate) async fn all_ended(&self, count: usize) -> Vec<Generation> {
        let ended = |log: &[Generation]| {
            log.iter()
                .filter(|it| it.outcome != Outcome::Running)
                .count()
                >= count
        };
        self.sim.wait_for(ended, BOUND).await.unwrap();
        self.sim.log()
    }

    /// Waits until that many ids are waiting for the lock.
    pub(crate) async fn queued(&self, count: usize) {
        let enough = async {
            loop {
                let pending = self.get("/internal/pending-tasks").await;
                if pending["size"] == count {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(BOUND, enough)
            .await
            .expect("requests do not get into the queue");
    }
}

/// What the three flags of a tracked task say.
pub(crate) fn flags(tracked: &Value) -> [bool; 3] {
    ["active", "queued", "completed"].map(|flag| tracked[flag].as_bool().unwrap())
}

/// A small quick request.
pub(crate) fn small(id: &str) -> Value {
    json!({ "prompt": "x", "width": 64, "height": 64, "steps": 2, "seed": 5, "sampler_name": "Euler", "force_task_id": id })
}

/// `small` with further fields.
pub(crate) fn small_with(id: &str, more: &Value) -> Value {
    let mut body = small(id);
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}
