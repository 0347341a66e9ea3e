//! Which downloads go first, and what waiting looks like.

use civitai_sim::{SimFile, SimVersion};
use stablequeue_proto::admin::v1::OperationState;

use super::fixture::{Downloading, content};

#[tokio::test]
async fn the_urgent_go_first_and_who_waits_can_be_cancelled() {
    let mut downloading = Downloading::with(|config| config.library.downloads_at_once = 1).await;
    for id in 1..=4 {
        let file = content(u8::try_from(id).unwrap(), 1_000);
        downloading
            .sim
            .add(SimVersion::new(id).file(SimFile::of(id, &file)));
        downloading.sim.hold(id, "x", file);
    }
    downloading.sim.shut_gate(500);
    let first = downloading
        .start(|asked| asked.version_id = "1".to_owned())
        .await;
    downloading.reached(&first.operation_id, 500).await;
    let mut waiting = Vec::new();
    for (version, priority) in [("2", 0), ("3", 5), ("4", 100)] {
        let started = downloading
            .start(|asked| {
                asked.version_id = version.to_owned();
                asked.priority = priority;
            })
            .await;
        waiting.push(started);
    }
    for started in &waiting {
        let now = downloading.operation(&started.operation_id).await;
        assert_eq!(now.state(), OperationState::Running);
        assert_eq!(now.progress.map_or(0, |progress| progress.done), 0);
    }
    let last = waiting.pop().unwrap();
    downloading.cancel(&last.operation_id).await;
    let ended = downloading.service.ended(Some(last)).await;
    assert_eq!(ended.state(), OperationState::Cancelled);
    downloading.sim.open_gate();
    for started in [first].into_iter().chain(waiting) {
        downloading.service.report(Some(started)).await;
    }
    let asked = downloading.asked("/storage/");
    let paths: Vec<&str> = asked.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/storage/1", "/storage/3", "/storage/2"]);
}
