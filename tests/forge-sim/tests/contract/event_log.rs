//! The event log tells what really happened: one sequence, every generation with its end, overlaps of one task.

use forge_sim::{
    Delivery, Event, Fault, Outcome, RunEnd, SimConfig, Stage, What, overlapping, read_events, runs,
};
use serde_json::{Value, json};

use crate::server::{BOUND, Server, small, small_with};

fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| {
        let told = serde_json::to_value(event).unwrap();
        match &event.what {
            What::Entered { stage, .. } => format!("{stage:?}"),
            _ => told["event"].as_str().unwrap().to_owned(),
        }
    };
    events.iter().map(name).collect()
}

#[tokio::test]
async fn a_job_leaves_its_whole_life_in_one_sequence() {
    let server = Server::start(|config| config).await;
    server
        .txt2img(small_with(
            "life",
            &json!({ "save_images": true, "n_iter": 2 }),
        ))
        .await;
    let events = server.sim.events();
    let wanted = [
        "booted",
        "queued",
        "started",
        "Loading",
        "model",
        "Sampling",
        "Decoding",
        "saved",
        "Sampling",
        "Decoding",
        "saved",
        "saved",
        "Finishing",
        "ended",
        "delivered",
    ];
    assert_eq!(names(&events), wanted, "the third file is the grid");
    let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (0..15).collect::<Vec<_>>());
    assert!(events.windows(2).all(|pair| pair[0].order < pair[1].order));
    let run = runs(&events).remove(0);
    assert_eq!((run.task_id.as_str(), run.end), ("life", RunEnd::Completed));
    assert_eq!((run.started, run.ended, run.steps_done), (2, Some(13), 4));
    assert_eq!((run.files.len(), run.delivery), (3, Delivery::Answered));
    assert_eq!(run.sha256, server.sim.log()[0].sha256);
    assert_eq!(run.app_id, server.sim.app_id());
}

#[tokio::test]
async fn each_way_to_end_is_told_apart() {
    let mut server = Server::start(|config| config).await;
    server.txt2img(small("completed")).await;
    server.sim.script(Fault::LoadFails);
    server.post("/sdapi/v1/txt2img", small("failed")).await;
    let other = json!({ "override_settings": { "sd_model_checkpoint": "sd15-random-mini" } });
    server.txt2img(small_with("healed", &other)).await;
    server.sim.script(Fault::CutMidBody);
    // The head comes, the body does not.
    server.submit(small("cut")).await.unwrap().unwrap();
    server.sim.gate().hold(Stage::Sampling);
    let left = server.submit(small("left"));
    let sampling = |log: &[forge_sim::Generation]| {
        log.last()
            .is_some_and(|it| it.task_id == "left" && it.stage == Stage::Sampling)
    };
    server.sim.wait_for(sampling, BOUND).await.unwrap();
    left.abort();
    assert!(left.await.unwrap_err().is_cancelled());
    server.send("POST", "/sdapi/v1/interrupt", None).await;
    server.sim.gate().release(Stage::Sampling);
    server.all_ended(5).await;
    server.sim.script(Fault::KillDuring { step: 1 });
    server.submit(small("killed")).await.unwrap().unwrap_err();
    server.sim.restart().await.unwrap();
    let told = runs(&server.sim.events());
    let told: Vec<_> = told
        .iter()
        .map(|run| (run.task_id.as_str(), run.end, run.delivery))
        .collect();
    let wanted = [
        ("completed", RunEnd::Completed, Delivery::Answered),
        ("failed", RunEnd::Failed, Delivery::Answered),
        ("healed", RunEnd::Completed, Delivery::Answered),
        ("cut", RunEnd::Completed, Delivery::Cut),
        ("left", RunEnd::Interrupted, Delivery::ClientGone),
        ("killed", RunEnd::ProcessDied, Delivery::Open),
    ];
    assert_eq!(told, wanted);
    let runs = runs(&server.sim.events());
    assert_eq!(runs[1].checkpoint, None);
    assert!(runs[1].error.as_ref().unwrap().starts_with("ValueError: "));
    assert_eq!(runs[4].interrupts.len(), 1);
}

#[tokio::test]
async fn generations_of_one_task_that_overlap_are_found_over_servers() {
    let (one, two) = (Server::gated().await, Server::gated().await);
    let first = one.submit(small("token"));
    one.started(1).await;
    let second = two.submit(small("token"));
    two.started(1).await;
    for server in [&one, &two] {
        server.sim.gate().open();
    }
    for job in [first, second] {
        job.await.unwrap().unwrap();
    }
    // Again, but one after the other, and another task meanwhile.
    one.txt2img(small("token")).await;
    one.txt2img(small("other")).await;
    let mut all = runs(&one.sim.events());
    all.extend(runs(&two.sim.events()));
    let found = overlapping(&all);
    assert_eq!(found.len(), 1);
    let places = (found[0].0.app_id, found[0].1.app_id);
    assert_eq!(places, (one.sim.app_id(), two.sim.app_id()));
    assert_eq!(all.len(), 4);
}

#[tokio::test]
async fn faults_and_freezes_are_in_the_log() {
    let server = Server::start(|config| config).await;
    server.sim.script(Fault::WrongModel);
    server.txt2img(small("wrong")).await;
    server.sim.freeze();
    server.sim.thaw();
    let told = names(&server.sim.events());
    assert_eq!(told[1], "faulted");
    assert_eq!(told[told.len() - 2..], ["frozen", "thawed"]);
}

#[tokio::test]
async fn the_file_says_what_the_handle_says_and_goes_on_where_it_was() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("events.jsonl");
    let start = async || {
        let path = file.clone();
        Server::start(|config| SimConfig {
            event_file: Some(path),
            ..config
        })
        .await
    };
    let mut server = start().await;
    server.txt2img(small("first")).await;
    server.sim.kill().await;
    let before = read_events(&file).unwrap();
    assert_eq!(before, server.sim.events());
    drop(server);
    // What a program killed in the middle of a write leaves.
    let mut torn = std::fs::read(&file).unwrap();
    let whole = torn.len();
    torn.extend(b"{\"seq\":99");
    std::fs::write(&file, torn).unwrap();
    let readable = read_events(&file).unwrap();
    assert!(readable.starts_with(&before));
    let server = start().await;
    server.txt2img(small("second")).await;
    let events = read_events(&file).unwrap();
    assert!(whole > 0 && events.len() > readable.len());
    let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (0..seqs.len() as u64).collect::<Vec<_>>());
    let ids: Vec<_> = runs(&events).into_iter().map(|run| run.task_id).collect();
    assert_eq!(ids, ["first", "second"]);
}

#[test]
fn a_run_whose_process_never_wrote_its_end_died_before_the_next_one_booted() {
    let line = |seq: u64, app_id: u64, more: Value| {
        let mut event = json!({ "seq": seq, "order": seq, "unix_us": seq * 10, "app_id": app_id });
        event
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value::<Event>(event).unwrap()
    };
    let started = json!({
        "event": "started", "generation": 0, "task_id": "t", "endpoint": "txt2img", "prompt": "x",
        "asked_checkpoint": null,
    });
    let ended = json!({
        "event": "ended", "generation": 0, "task_id": "t", "outcome": "completed", "steps_done": 2,
        "interrupts": [], "error": null,
    });
    let booted = json!({ "event": "booted", "pid": 1 });
    let events = [
        line(0, 7, booted.clone()),
        line(1, 7, started.clone()),
        line(2, 8, booted),
        line(3, 8, started),
        line(4, 8, ended),
    ];
    let told: Vec<_> = runs(&events)
        .iter()
        .map(|run| (run.end, run.ended))
        .collect();
    let wanted = [(RunEnd::ProcessDied, Some(2)), (RunEnd::Completed, Some(4))];
    assert_eq!(told, wanted);
    assert!(overlapping(&runs(&events)).is_empty());
    assert_eq!(runs(&events[..2])[0].end, RunEnd::Running);
    assert_eq!(
        Outcome::Completed,
        serde_json::from_value(json!("completed")).unwrap()
    );
}
