//! The order of states against the recorded poll series 04, 05, 06.

use serde_json::{Value, json};

use crate::{
    exchange::{changes, recorded, series},
    server::{BOUND, Server, flags, small_with},
};

/// Job name, job_count, job_no, interrupted.
fn state(progress: &Value) -> (String, i64, i64, bool) {
    let state = &progress["state"];
    let number = |key: &str| state[key].as_i64().unwrap();
    let job = state["job"].as_str().unwrap().to_owned();
    (
        job,
        number("job_count"),
        number("job_no"),
        state["interrupted"].as_bool().unwrap(),
    )
}

fn recorded_states(name: &str) -> Vec<Value> {
    let polls = series(name)
        .into_iter()
        .filter(|(line, _)| line["req"].as_str().unwrap().contains("/sdapi/v1/progress"));
    polls.map(|(_, json)| json).collect()
}

#[tokio::test]
async fn two_batches_pass_the_states_of_exchange_04_01() {
    let server = Server::gated().await;
    server.sim.gate().load(1);
    let job = server.submit(small_with(
        "job-prog-1",
        &json!({ "n_iter": 2, "steps": 3 }),
    ));
    let mut seen = Vec::new();
    let mut tracked = Vec::new();
    for step in 0..=6_u64 {
        server.sim.gate().step(u64::from(step > 0));
        let polled = async {
            server.started(1).await;
            server.steps_done(step).await;
            let wanted = match step {
                0..3 => "Batch 1 out of 2",
                3..6 => "Batch 2 out of 2",
                _ => "",
            };
            loop {
                let progress = server.progress().await;
                if progress["state"]["job"] == wanted {
                    return progress;
                }
                tokio::task::yield_now().await;
            }
        };
        seen.push(state(
            &tokio::time::timeout(BOUND, polled)
                .await
                .expect("the state does not come"),
        ));
        tracked.push(flags(&server.track("job-prog-1").await));
    }
    assert_eq!(job.await.unwrap().unwrap().status(), 200);
    tracked.push(flags(&server.track("job-prog-1").await));
    let name = "04-progress/01-both-endpoints-during-n_iter-2.jsonl";
    // Left out: the job name of the moment before the first batch, and the moment between decode and end.
    let recorded: Vec<_> = changes(recorded_states(name).iter().map(state));
    let moment =
        |(job, count, no, _): &(String, i64, i64, bool)| job == "scripts_txt2img" || count == no;
    let steady: Vec<_> = recorded
        .into_iter()
        .filter(|state| !moment(state))
        .collect();
    assert_eq!(changes(seen), steady);
    let recorded_tracking = series(name)
        .into_iter()
        .filter(|(line, _)| line["req"] == "POST /internal/progress");
    let recorded_tracking = changes(recorded_tracking.map(|(_, json)| flags(&json)));
    assert_eq!(changes(tracked), recorded_tracking);
}

#[tokio::test]
async fn an_interrupt_during_the_load_ends_as_exchange_05_06() {
    let server = Server::gated().await;
    let job = server.submit(small_with("int-6", &json!({ "steps": 5 })));
    server
        .sim
        .wait_for(|log| log.iter().any(|it| it.loaded_checkpoint), BOUND)
        .await
        .unwrap();
    let mut seen = vec![state(&server.progress().await)];
    server.send("POST", "/sdapi/v1/interrupt", None).await;
    seen.push(state(&server.progress().await));
    assert_eq!(flags(&server.track("int-6").await), [true, false, false]);
    server.sim.gate().load(1);
    let answer: Value = job.await.unwrap().unwrap().json().await.unwrap();
    seen.push(state(&server.progress().await));
    assert_eq!(flags(&server.track("int-6").await), [false, false, true]);
    let recorded_order =
        recorded_states("05-interrupt-skip/06-interrupt-during-model-load.poll.jsonl");
    assert_eq!(seen, changes(recorded_order.iter().map(state)));
    let recorded = recorded("05-interrupt-skip/06-interrupt-during-model-load.txt2img").json();
    let counts = |body: &Value| {
        let info: Value = serde_json::from_str(body["info"].as_str().unwrap()).unwrap();
        (
            body["images"].as_array().unwrap().len(),
            info["infotexts"].as_array().unwrap().len(),
            info["all_seeds"].clone(),
        )
    };
    let (images, infotexts, _) = counts(&recorded);
    assert_eq!(counts(&answer), (images, infotexts, json!([5])));
}

#[tokio::test]
async fn three_at_once_queue_as_in_exchange_06_01() {
    let server = Server::gated().await;
    server.sim.gate().load(1);
    let mut jobs = vec![server.submit(small_with("c-1", &json!({ "steps": 1 })))];
    server.started(1).await;
    for (count, id) in [(1, "c-2"), (2, "c-3")] {
        jobs.push(server.submit(small_with(id, &json!({ "steps": 1 }))));
        server.queued(count).await;
    }
    let mut seen: Vec<(String, [bool; 3], Value)> = Vec::new();
    for done in 0..=3_usize {
        server.sim.gate().step(u64::from(done > 0));
        server.all_ended(done).await;
        server.started((done + 1).min(3)).await;
        for id in ["c-1", "c-2", "c-3"] {
            let tracked = server.track(id).await;
            seen.push((id.to_owned(), flags(&tracked), tracked["textinfo"].clone()));
        }
    }
    for job in jobs {
        assert_eq!(job.await.unwrap().unwrap().status(), 200);
    }
    let recorded = series("06-concurrency-disconnect/01-three-concurrent.poll.jsonl");
    for id in ["c-1", "c-2", "c-3"] {
        let polls = recorded
            .iter()
            .filter(|(line, _)| line["body"]["id_task"] == id);
        let wanted = changes(polls.map(|(_, json)| (flags(json), json["textinfo"].clone())));
        // The first polls of the series may come before the request.
        let wanted: Vec<_> = wanted
            .into_iter()
            .skip_while(|(flags, _)| *flags == [false; 3])
            .collect();
        let got = changes(
            seen.iter()
                .filter(|entry| entry.0 == id)
                .map(|entry| (entry.1, entry.2.clone())),
        );
        assert!(
            ends_with_in_order(&wanted, &got),
            "{id}: {got:?} is not in the order of {wanted:?}"
        );
        assert_eq!(got.last(), wanted.last(), "{id}");
    }
}

/// True if `part` is contained in `whole` in this order.
fn ends_with_in_order<T: PartialEq>(whole: &[T], part: &[T]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|item| rest.any(|other| other == item))
}

#[tokio::test]
async fn the_same_id_twice_generates_twice_and_shows_as_in_exchange_06_02() {
    let server = Server::gated().await;
    server.sim.gate().load(1);
    let first = server.submit(small_with("dup-1", &json!({ "steps": 1 })));
    server.started(1).await;
    let second = server.submit(small_with("dup-1", &json!({ "steps": 1 })));
    server.queued(1).await;
    let mut seen = vec![flags(&server.track("dup-1").await)];
    server.sim.gate().step(1);
    server.started(2).await;
    seen.push(flags(&server.track("dup-1").await));
    server.sim.gate().open();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    seen.push(flags(&server.track("dup-1").await));
    let recorded = series("06-concurrency-disconnect/02-same-task-id-twice.poll.jsonl");
    let tracked = recorded
        .iter()
        .filter(|(line, _)| line["req"] == "POST /internal/progress");
    let wanted: Vec<_> = changes(tracked.map(|(_, json)| flags(json)));
    let mut wanted: Vec<_> = wanted
        .into_iter()
        .skip_while(|flags| *flags != [true, true, false])
        .collect();
    // The recorded polls stopped when the second one was nearly done.
    wanted.push([false, false, true]);
    assert_eq!(seen, wanted);
    assert_eq!(server.sim.log().len(), 2);
}
