//! Answers that are lost or broken: the result is fetched where the server
//! saved it, and elsewhere made again, but never twice at once.

use std::time::Duration;

use anyhow::Result;
use forge_sim::{Fault, Generation};
use job_service::dispatch::forge::GenerateAnswer;
use stablequeue_proto::jobs::v1::{self as jobs, AttemptOutcome, JobState, ServerUsage};
use system_tests::{
    Pair, PairOptions, Sim,
    pair::{params, txt2img},
};

const BROKEN: [Fault; 5] = [
    Fault::CutBeforeAnswer,
    Fault::CutMidBody,
    Fault::Garbage,
    Fault::EmptyImages,
    Fault::BrokenImage,
];

struct Tried {
    pair: Pair,
    id: String,
    job: jobs::Job,
    log: Vec<Generation>,
    files: usize,
}

async fn try_with(fault: Fault, usage: ServerUsage) -> Result<Tried> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add_as("gpu", &sim, usage).await?;
    sim.sim.script(fault);
    let id = pair.submit(txt2img("a bridge in fog")).await?;
    let job = pair.completed(&id).await?;
    assert_eq!(sim.sim.faults_left(), 0);
    let requests = sim.sim.requests();
    let files = requests.iter().filter(|one| one.path.starts_with("/file="));
    let files = files.count();
    let log = sim.log();
    Ok(Tried {
        pair,
        id,
        job,
        log,
        files,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dedicated_server_generates_once_and_its_file_is_fetched() -> Result<()> {
    for fault in BROKEN {
        let tried = try_with(fault.clone(), ServerUsage::Dedicated).await?;
        assert_eq!(tried.log.len(), 1, "{fault:?}: {:#?}", tried.log);
        assert_eq!(tried.job.attempts.len(), 1, "{fault:?}");
        assert!(tried.files >= 1, "{fault:?}");
        let images = tried.pair.images(&tried.id).await?;
        assert_eq!(images.len(), 1, "{fault:?}");
        assert!(images[0].infotext.starts_with("a bridge in fog\n"));
        assert_eq!(images[0].seed, tried.job.seed);
        assert!(tried.pair.image_path(&images[0].sha256).is_file());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_image_of_a_lost_batch_is_fetched() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::CutBeforeAnswer);
    let request = params(jobs::GenerationParams {
        prompt: "six boats".to_owned(),
        steps: Some(1),
        width: Some(64),
        height: Some(64),
        seed: Some(100),
        batch_size: Some(2),
        iterations: Some(3),
        ..jobs::GenerationParams::default()
    });
    let id = pair.submit(request).await?;
    pair.completed(&id).await?;
    assert_eq!(sim.log().len(), 1);
    let images = pair.images(&id).await?;
    let seeds: Vec<i64> = images.iter().map(|image| image.seed).collect();
    assert_eq!(seeds, [100, 101, 102, 103, 104, 105]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_server_generates_again_but_never_two_at_once() -> Result<()> {
    for fault in BROKEN {
        let tried = try_with(fault.clone(), ServerUsage::Shared).await?;
        let [first, second] = &tried.log[..] else {
            panic!("{fault:?}: {:#?}", tried.log);
        };
        assert!(first.ended.is_some_and(|ended| ended < second.started));
        assert_eq!(first.request["seed"], second.request["seed"]);
        assert_ne!(first.task_id, second.task_id);
        assert_eq!(tried.files, 0, "{fault:?}");
        assert!(
            first.files.is_empty(),
            "nothing is saved on a shared server"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_while_the_server_still_works_is_waited_for() -> Result<()> {
    for usage in [ServerUsage::Dedicated, ServerUsage::Shared] {
        let mut pair = Pair::start(PairOptions::default()).await?;
        let sim = Sim::gated().await?;
        pair.add_as("gpu", &sim, usage).await?;
        let id = pair.submit(txt2img("half done")).await?;
        sim.until(|log| log.len() == 1).await?;
        // The connection of the request goes with the service.
        pair.stop_jobs().await?;
        pair.start_jobs().await?;
        let asked = sim.asked("/sdapi/v1/progress");
        sim.until_asked("/sdapi/v1/progress", asked + 10).await?;
        assert_eq!(sim.log().len(), 1);
        sim.sim.gate().open();
        pair.completed(&id).await?;
        let log = sim.log();
        let wanted = if usage == ServerUsage::Dedicated {
            1
        } else {
            2
        };
        assert_eq!(log.len(), wanted, "{log:#?}");
        assert!(
            log.windows(2)
                .all(|two| two[0].ended.is_some_and(|ended| ended < two[1].started))
        );
        assert_eq!(sim.asked("/sdapi/v1/interrupt"), 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_accepted_and_never_answered_is_sent_again_after_the_grace() -> Result<()>
{
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::Hang);
    let id = pair.submit(txt2img("patience")).await?;
    let job = pair.completed(&id).await?;
    assert_eq!(sim.asked("/sdapi/v1/txt2img"), 2);
    assert_eq!(sim.log().len(), 1);
    assert_eq!(job.attempts[0].outcome(), AttemptOutcome::Lost);
    assert_eq!(job.attempts_spent, 2);
    Ok(())
}

/// Waits until the server was asked for the task often enough that a patience
/// of 100 ms is over.
async fn long_looked_for(sim: &Sim) -> Result<()> {
    let asked = sim.asked("/internal/progress");
    sim.until_asked("/internal/progress", asked + 25).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_still_arrive_is_not_sent_again() -> Result<()> {
    let mut options = PairOptions::default();
    options.pace.answer_grace = Duration::from_millis(100);
    // Longer than any test.
    options.pace.unknown_grace = Duration::from_secs(3600);
    let pair = Pair::start(options).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::Hang);
    let id = pair.submit(txt2img("on its way")).await?;
    sim.until_asked("/sdapi/v1/txt2img", 1).await?;
    long_looked_for(&sim).await?;
    assert_eq!(pair.job(&id).await?.state(), JobState::Processing);
    assert_eq!(sim.asked("/sdapi/v1/txt2img"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_other_work_runs_there_nothing_is_called_gone() -> Result<()> {
    let mut options = PairOptions::default();
    options.pace.answer_grace = Duration::from_millis(100);
    options.pace.unknown_grace = Duration::from_millis(100);
    let pair = Pair::start(options).await?;
    let sim = Sim::gated().await?;
    pair.add("gpu", &sim).await?;
    let other = sim.foreign()?;
    sim.until(|log| log.len() == 1).await?;
    sim.sim.script(Fault::Hang);
    let id = pair.submit(txt2img("behind it")).await?;
    sim.until_asked("/sdapi/v1/txt2img", 2).await?;
    long_looked_for(&sim).await?;
    assert_eq!(pair.job(&id).await?.state(), JobState::Processing);
    assert_eq!(sim.asked("/sdapi/v1/txt2img"), 2);
    sim.sim.gate().open();
    assert!(matches!(other.await?, GenerateAnswer::Answered { .. }));
    let job = pair.completed(&id).await?;
    assert_eq!(job.attempts[0].outcome(), AttemptOutcome::Lost);
    assert_eq!(sim.asked("/sdapi/v1/txt2img"), 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_no_known_shape_is_looked_into_and_not_repeated_blindly() -> Result<()> {
    let pair = Pair::start(PairOptions::default()).await?;
    let sim = Sim::instant().await?;
    pair.add("gpu", &sim).await?;
    sim.sim.script(Fault::Status {
        code: 502,
        body: "<html>bad gateway</html>".to_owned(),
    });
    let id = pair.submit(txt2img("through a proxy")).await?;
    let job = pair.completed(&id).await?;
    let first = &job.attempts[0];
    assert_eq!(
        (first.outcome(), first.http_status),
        (AttemptOutcome::Lost, 502)
    );
    let requests = sim.sim.requests();
    let posts: Vec<u64> = requests
        .iter()
        .filter(|one| one.path == "/sdapi/v1/txt2img")
        .map(|one| one.order)
        .collect();
    let asked_between = requests.iter().any(|one| {
        one.path == "/internal/progress" && posts[0] < one.order && one.order < posts[1]
    });
    assert!(
        asked_between,
        "the task is asked for before the request goes out again"
    );
    Ok(())
}
