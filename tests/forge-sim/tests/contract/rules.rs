//! Rules: a fault meets exactly the requests its rule names, as often as it says.

use forge_sim::{Fault, Rule, Target, Times, When};
use serde_json::{Value, json};

use crate::server::{BOUND, Server, small, small_with};

fn failing(message: &str) -> Fault {
    Fault::Error500 {
        error: "RuntimeError".to_owned(),
        message: message.to_owned(),
    }
}

async fn status(server: &Server, body: Value) -> u16 {
    server.post("/sdapi/v1/txt2img", body).await.0
}

#[tokio::test]
async fn a_rule_meets_only_requests_that_say_what_it_asks_for() {
    let server = Server::start(|config| config).await;
    let rules = [
        When {
            prompt: Some("owl".to_owned()),
            ..When::default()
        },
        When {
            task_id: Some("token-7".to_owned()),
            ..When::default()
        },
        When {
            checkpoint: Some("random-mini".to_owned()),
            ..When::default()
        },
        When {
            above_pixels: Some(64 * 64),
            ..When::default()
        },
    ];
    for when in rules {
        server.sim.script_rule(Rule {
            when,
            times: Times::Always,
            ..Rule::once(failing("met"))
        });
    }
    assert_eq!(status(&server, small("token-70")).await, 200, "another id");
    let mini = json!({ "override_settings": { "sd_model_checkpoint": "sd15-random-mini" } });
    let met = [
        small_with("a", &json!({ "prompt": "an owl at night" })),
        small("token-7"),
        small_with("b", &mini),
        small_with("c", &json!({ "width": 72 })),
    ];
    for body in met {
        assert_eq!(status(&server, body.clone()).await, 500, "{body}");
        assert_eq!(status(&server, body.clone()).await, 500, "{body}, always");
    }
    server.sim.clear_faults();
    assert_eq!(status(&server, small("token-7")).await, 200);
}

#[tokio::test]
async fn a_rule_lets_by_and_plays_as_often_as_it_says() {
    let server = Server::start(|config| config).await;
    server.sim.script_rule(Rule {
        skip: 1,
        times: Times::Next(2),
        ..Rule::once(failing("met"))
    });
    assert_eq!(server.sim.faults_left(), 2);
    let mut seen = Vec::new();
    for number in 0..5 {
        seen.push(status(&server, small(&format!("id-{number}"))).await);
    }
    assert_eq!(seen, [200, 500, 500, 200, 200]);
    assert_eq!(server.sim.faults_left(), 0);
}

#[tokio::test]
async fn progress_of_one_id_can_fail_while_others_answer() {
    let server = Server::start(|config| config).await;
    server.sim.script_rule(Rule {
        target: Some(Target::TaskProgress),
        when: When {
            task_id: Some("unlucky".to_owned()),
            ..When::default()
        },
        ..Rule::once(failing("progress"))
    });
    let ask = |id: &str| json!({ "id_task": id, "live_preview": false });
    let (other, _) = server.post("/internal/progress", ask("lucky")).await;
    let (unlucky, _) = server.post("/internal/progress", ask("unlucky")).await;
    assert_eq!((other, unlucky), (200, 500));
}

#[tokio::test]
async fn a_cut_before_the_work_leaves_no_trace_of_the_job() {
    let server = Server::start(|config| config).await;
    server.sim.script(Fault::CutBeforeWork);
    let error = server.submit(small("cut")).await.unwrap().unwrap_err();
    assert!(error.status().is_none());
    assert!(server.sim.log().is_empty());
    let tracked = server.track("cut").await;
    assert_eq!(crate::server::flags(&tracked), [false; 3]);
}

#[tokio::test]
async fn a_call_that_fails_before_its_start_leaves_its_id_queued_for_ever() {
    let server = Server::start(|config| config).await;
    server.sim.script(Fault::FailBeforeStart {
        error: "OSError".to_owned(),
        message: "cannot identify image file".to_owned(),
    });
    assert_eq!(status(&server, small("leaked")).await, 500);
    assert!(server.sim.log().is_empty(), "it never started");
    server.txt2img(small("next")).await;
    let tracked = server.track("leaked").await;
    assert_eq!(crate::server::flags(&tracked), [false, true, false]);
}

#[tokio::test]
async fn several_faults_meet_one_request() {
    let server = Server::start(|config| config).await;
    server.sim.script(Fault::All(vec![
        Fault::CutBeforeAnswer,
        Fault::All(vec![Fault::FileMissing]),
    ]));
    let body = small_with("gone", &json!({ "save_images": true }));
    server.submit(body).await.unwrap().unwrap_err();
    let log = server.all_ended(1).await;
    assert!(log[0].files.is_empty(), "completed, nothing to fetch");
    assert_eq!(server.track("gone").await["completed"], true);
    server
        .sim
        .wait_for(|log| log[0].delivery == forge_sim::Delivery::Cut, BOUND)
        .await
        .unwrap();
}

#[test]
fn a_rule_reads_from_json_with_everything_but_the_fault_left_out() {
    let rule: Rule = serde_json::from_value(json!({ "fault": "load_fails" })).unwrap();
    assert_eq!(rule, Rule::once(Fault::LoadFails));
    let told = json!({
        "target": { "path": "/sdapi/v1/memory" }, "when": { "prompt": "owl" }, "skip": 1,
        "times": { "next": 3 }, "fault": { "all": ["hang", { "die_at": { "stage": "decoding" } }] },
    });
    let rule: Rule = serde_json::from_value(told).unwrap();
    assert_eq!(
        rule.target,
        Some(Target::Path("/sdapi/v1/memory".to_owned()))
    );
    assert_eq!((rule.skip, rule.times), (1, Times::Next(3)));
    let wrong = json!({ "fault": "load_fails", "wen": {} });
    let refused = serde_json::from_value::<Rule>(wrong).unwrap_err();
    assert!(refused.to_string().contains("wen"), "{refused}");
}
