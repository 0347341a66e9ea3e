//! Death and rebirth of the server process, in the library and of the real program.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use forge_sim::{Fault, Outcome, SimConfig};
use serde_json::{Value, json};

use crate::{
    exchange::recorded,
    server::{BOUND, Server, client, flags, small, small_with},
};

#[tokio::test]
async fn a_kill_cuts_every_connection_and_the_port_refuses_until_the_restart() {
    let mut server = Server::gated().await;
    server.sim.gate().load(1);
    let first = server.submit(small("running"));
    server.started(1).await;
    let second = server.submit(small("queued"));
    server.queued(1).await;
    let old_id = server.get("/app_id").await["app_id"].clone();
    let url = server.sim.url();
    server.sim.kill().await;
    for job in [first, second] {
        assert!(job.await.unwrap().unwrap_err().status().is_none());
    }
    let refused = server
        .client
        .get(format!("{url}/internal/ping"))
        .send()
        .await
        .unwrap_err();
    assert!(refused.is_connect());
    let outcomes: Vec<_> = server
        .sim
        .log()
        .iter()
        .map(|generation| generation.outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::Killed]);

    server.sim.restart().await.unwrap();
    assert_eq!(server.sim.url(), url);
    assert_ne!(server.get("/app_id").await["app_id"], old_id);
    // Exchange 08: nothing is remembered.
    let progress = server
        .send("GET", "/sdapi/v1/progress?skip_current_image=true", None)
        .await;
    let tracked = json!({ "id_task": "running", "live_preview": false }).to_string();
    let tracked = server
        .send("POST", "/internal/progress", Some(&tracked))
        .await;
    for (name, answer) in [
        ("01-after-restart-progress", progress),
        ("01-after-restart-internal-progress", tracked),
    ] {
        let exchange = recorded(&format!("08-server-death/{name}"));
        assert_eq!(answer.text().await.unwrap(), exchange.body, "{name}");
    }
    assert_eq!(flags(&server.track("queued").await), [false; 3]);
    server.sim.gate().open();
    server.txt2img(small("again")).await;
}

#[tokio::test]
async fn a_scripted_death_happens_at_its_step() {
    let mut server = Server::start(|config| SimConfig {
        seed_app_id: Some(7),
        ..config
    })
    .await;
    server.sim.script(Fault::KillDuring { step: 3 });
    let error = server
        .submit(small_with("dies", &json!({ "steps": 5 })))
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.status().is_none());
    let log = server.all_ended(1).await;
    assert_eq!(
        (log[0].outcome, log[0].steps_done, log[0].app_id),
        (Outcome::Killed, 2, 7)
    );
    server.sim.restart().await.unwrap();
    assert_eq!(server.get("/app_id").await["app_id"], 8);
    server.txt2img(small("next")).await;
}

#[tokio::test]
async fn files_and_known_hashes_survive_a_restart() {
    let mut server = Server::start(|config| config).await;
    server
        .txt2img(small_with("save", &json!({ "save_images": true })))
        .await;
    let file = server.sim.log()[0].files[0].clone();
    server.sim.restart().await.unwrap();
    assert_eq!(
        server
            .send("GET", &format!("/file={file}"), None)
            .await
            .status(),
        200
    );
    let hashes = server.get("/sdapi/v1/sd-models").await;
    assert!(hashes[0]["sha256"].is_string() && hashes[1]["sha256"].is_null());
}

#[tokio::test]
async fn a_frozen_server_accepts_and_goes_on_after_the_thaw() {
    let server = Server::start(|config| config).await;
    server.sim.freeze();
    let job = server.submit(small("frozen"));
    server
        .sim
        .wait_for_requests(|all| all.len() == 1, BOUND)
        .await
        .unwrap();
    assert!(server.sim.log().is_empty() && !job.is_finished());
    server.sim.thaw();
    assert_eq!(job.await.unwrap().unwrap().status(), 200);
}

/// Ends the program when the test ends, however it ends.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_program_prints_its_url_logs_each_event_and_ends_on_sigterm() {
    let folder = tempfile::TempDir::new().unwrap();
    let log = folder.path().join("generations.jsonl");
    let spawned = Command::new(env!("CARGO_BIN_EXE_forge-sim"))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--step-time-ms",
            "0",
            "--load-time-ms",
            "0",
        ])
        .args(["--checkpoint", "a/b.safetensors", "--lora", "l.safetensors"])
        .arg("--data-dir")
        .arg(folder.path())
        .arg("--log")
        .arg(&log)
        .stdout(Stdio::piped())
        .spawn();
    let mut program = Program(spawned.unwrap());
    let mut url = String::new();
    BufReader::new(program.0.stdout.take().unwrap())
        .read_line(&mut url)
        .unwrap();
    let url = url.trim();
    let client = client();
    let models: Value = client
        .get(format!("{url}/sdapi/v1/sd-models"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(models[0]["title"], "a/b.safetensors");
    let sent = client
        .post(format!("{url}/sdapi/v1/txt2img"))
        .body(small("bin").to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 200);
    let lines: Vec<Value> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let events: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["event"].as_str().unwrap(),
                line["generation"]["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(events, [("started", "running"), ("ended", "completed")]);
    assert_eq!(lines[1]["generation"]["task_id"], "bin");
    let ended = Command::new("kill")
        .args(["-TERM", &program.0.id().to_string()])
        .status()
        .unwrap();
    assert!(ended.success());
    assert!(program.0.wait().unwrap().success());
}
