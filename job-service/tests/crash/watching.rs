//! SIGKILL under a client that watches: it goes on where it was and gets every
//! durable event once.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use stablequeue_proto::jobs::v1::{JobEvent, JobEventType};

use crate::{
    program::Program,
    world::{Client, World},
};

const SEED: u64 = 20_261_123;
const KILLS: usize = 8;
/// How long a run lasts before it is killed, in milliseconds.
const RUN_MS: std::ops::Range<u64> = 100..700;

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_every_event_once_over_any_number_of_kills() {
    let world = World::with_sims(1, |config| {
        config.step_time = Duration::from_millis(700);
    })
    .await;
    let mut moments = StdRng::seed_from_u64(SEED);
    let mut program = world.start(&[]);
    let (id, begin) = Client::of(&program).await.submit_to_watch("followed").await;
    let (mut events, mut token, mut ended) = (Vec::new(), begin.clone(), false);
    let mut kills = 0;
    while !ended {
        if kills < KILLS {
            let moment = Duration::from_millis(moments.random_range(RUN_MS));
            let watched = watch(&program, &id, &mut token, &mut events);
            // Cut at any point of a stream, or before there is one.
            ended = tokio::time::timeout(moment, watched).await == Ok(true);
            program.kill();
            program = world.start(&[]);
            kills += 1;
        } else {
            ended = watch(&program, &id, &mut token, &mut events).await;
        }
    }
    let (mut all, mut token) = (Vec::new(), begin);
    assert!(watch(&program, &id, &mut token, &mut all).await);
    assert_eq!(events, all);
    assert_eq!(all.last().unwrap().0.r#type(), JobEventType::Completed);
    assert_eq!(world.generations().len(), 1);
}

/// Watches until the stream ends; whether it ended because the job did.
async fn watch(
    program: &Program,
    id: &str,
    token: &mut String,
    events: &mut Vec<(JobEvent, String)>,
) -> bool {
    let mut stream = Client::of(program).await.watch(id, token).await;
    while let Ok(message) = stream.message().await {
        let Some(message) = message else { return true };
        if !message.resume_token.is_empty() {
            token.clone_from(&message.resume_token);
        }
        if let Some(stablequeue_proto::jobs::v1::watch_job_response::Update::Event(event)) =
            message.update
        {
            events.push((event, message.resume_token));
        }
    }
    false
}
