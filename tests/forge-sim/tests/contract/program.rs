//! The program as tests of real processes use it: commands on its own port, faults from the command line, and what
//! is left after SIGKILL.

use std::{
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use forge_sim::{RunEnd, read_events, runs};
use serde_json::{Value, json};

use crate::server::{client, flags, small, small_with};

/// Ends the program when the test ends, however it ends.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn start(folder: &Path, listen: &str, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_forge-sim"))
            .args(["--listen", listen, "--step-time-ms=0", "--load-time-ms=0"])
            .arg("--data-dir")
            .arg(folder)
            .arg("--log-file")
            .arg(folder.join("events.jsonl"))
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.next().unwrap().unwrap();
        Self { child, lines, url }
    }

    fn admin(&mut self) -> String {
        let line = self.lines.next().unwrap().unwrap();
        line.strip_prefix("admin ").unwrap().to_owned()
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        post(&format!("{}{path}", self.url), body).await
    }
}

async fn post(url: &str, body: &Value) -> (u16, Value) {
    let sent = client().post(url).body(body.to_string()).send().await;
    let answer = sent.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_killed_program_leaves_its_log_and_its_files_and_the_next_one_knows_no_ids() {
    let folder = tempfile::TempDir::new().unwrap();
    let admin_on = ["--admin-listen", "127.0.0.1:0"];
    let mut program = Program::start(folder.path(), "127.0.0.1:0", &admin_on);
    let admin = program.admin();
    let saved = small_with("saved", &json!({ "save_images": true }));
    assert_eq!(program.post("/sdapi/v1/txt2img", &saved).await.0, 200);
    post(&admin, &json!({ "hold_stage": "decoding" })).await;
    let url = program.url.clone();
    let request = client()
        .post(format!("{url}/sdapi/v1/txt2img"))
        .body(small("lost").to_string())
        .send();
    #[expect(
        clippy::disallowed_methods,
        reason = "the test awaits the handle itself"
    )]
    let lost = tokio::spawn(request);
    let decoding = async {
        loop {
            let (_, log) = post(&admin, &json!("generations")).await;
            if log[1]["stage"] == "decoding" {
                return;
            }
        }
    };
    tokio::time::timeout(crate::server::BOUND, decoding)
        .await
        .unwrap();
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    assert!(lost.await.unwrap().unwrap_err().status().is_none());

    let address = url.strip_prefix("http://").unwrap();
    let again = Program::start(folder.path(), address, &[]);
    assert_eq!(again.url, url);
    for id in ["saved", "lost"] {
        let ask = json!({ "id_task": id, "live_preview": false });
        let (_, tracked) = again.post("/internal/progress", &ask).await;
        assert_eq!(flags(&tracked), [false; 3], "{id}");
    }
    let models = client().get(format!("{url}/sdapi/v1/sd-models")).send();
    let models: Value = models.await.unwrap().json().await.unwrap();
    assert!(models[0]["sha256"].is_string(), "the hash cache is kept");
    let events = read_events(&folder.path().join("events.jsonl")).unwrap();
    let told = runs(&events);
    let ends: Vec<_> = told.iter().map(|run| (&*run.task_id, run.end)).collect();
    let wanted = [("saved", RunEnd::Completed), ("lost", RunEnd::ProcessDied)];
    assert_eq!(ends, wanted);
    let file = client().get(format!("{url}/file={}", told[0].files[0]));
    assert_eq!(file.send().await.unwrap().status(), 200);
    assert!(events.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
}

#[tokio::test]
async fn faults_come_from_the_command_line() {
    let folder = tempfile::TempDir::new().unwrap();
    let rule = json!({ "fault": "load_fails", "when": { "prompt": "owl" } }).to_string();
    let more = [
        "--rule",
        &rule,
        "--max-pixels=4096",
        "--device=cuda",
        "--flap=1:2",
        "--app-id=7",
        "--checkpoint=good.safetensors",
        "--broken-checkpoint=bad.safetensors",
    ];
    let program = Program::start(folder.path(), "127.0.0.1:0", &more);
    let app_id = || client().get(format!("{}/app_id", program.url)).send();
    app_id().await.unwrap_err();
    let answer: Value = app_id().await.unwrap().json().await.unwrap();
    assert_eq!(answer["app_id"], 7);
    let owl = small_with("owl", &json!({ "prompt": "an owl" }));
    let (_, body) = program.post("/sdapi/v1/txt2img", &owl).await;
    assert_eq!(body["message"], "Failed to recognize model type!");
    app_id().await.unwrap_err();
    let bad = json!({ "override_settings": { "sd_model_checkpoint": "bad" } });
    let (_, body) = program
        .post("/sdapi/v1/txt2img", &small_with("bad", &bad))
        .await;
    assert_eq!(body["message"], "Failed to recognize model type!");
    let good = json!({ "width": 128, "override_settings": { "sd_model_checkpoint": "good" } });
    let (status, body) = program
        .post("/sdapi/v1/txt2img", &small_with("big", &good))
        .await;
    assert_eq!((status, &body["error"]), (500, &json!("OutOfMemoryError")));
}

#[tokio::test]
async fn the_admin_port_does_what_the_handle_does_and_refuses_what_is_no_command() {
    let folder = tempfile::TempDir::new().unwrap();
    let admin_on = ["--admin-listen", "127.0.0.1:0"];
    let mut program = Program::start(folder.path(), "127.0.0.1:0", &admin_on);
    let admin = program.admin();
    let told = async |command: Value| {
        let (status, answer) = post(&admin, &command).await;
        assert_eq!(status, 200, "{command}: {answer}");
        answer
    };
    for command in [
        json!("freeze"),
        json!("thaw"),
        json!({ "hold": "control" }),
        json!({ "let_by": { "target": "control", "count": 1 } }),
        json!({ "release": "control" }),
        json!({ "script_rule": { "fault": "hang", "times": { "next": 3 } } }),
    ] {
        assert_eq!(told(command).await, Value::Null);
    }
    assert_eq!(told(json!("faults_left")).await, 3);
    told(json!("clear_faults")).await;
    assert_eq!(told(json!({ "occupy_threads": 41 })).await, 40);
    told(json!("free_threads")).await;
    told(json!("poison")).await;
    assert_eq!(told(json!("is_poisoned")).await, true);
    told(json!("refuse")).await;
    let ping = || {
        client()
            .get(format!("{}/internal/ping", program.url))
            .send()
    };
    assert!(ping().await.unwrap_err().is_connect());
    told(json!("kill")).await;
    told(json!("restart")).await;
    assert_eq!(ping().await.unwrap().status(), 200);
    let events = told(json!("events")).await;
    let booted = events.as_array().unwrap().iter();
    assert_eq!(booted.filter(|it| it["event"] == "booted").count(), 2);
    for wrong in [json!("dance"), json!({ "hold": "nothing" })] {
        let (status, answer) = post(&admin, &wrong).await;
        assert_eq!(status, 400);
        assert!(
            answer["error"]
                .as_str()
                .unwrap()
                .contains("unknown variant")
        );
    }
}

#[test]
fn wrong_arguments_name_the_flag_and_the_remedy() {
    let cases = [
        (["--flap", "3"], "RESET:SERVE, two whole numbers"),
        (["--rule", "{}"], "missing field `fault`"),
        (["--device", "tpu"], "[possible values: cpu, cuda]"),
    ];
    for (arguments, remedy) in cases {
        let run = Command::new(env!("CARGO_BIN_EXE_forge-sim"))
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(!run.status.success());
        assert!(
            said.contains(arguments[0]) && said.contains(remedy),
            "{said}"
        );
    }
}
