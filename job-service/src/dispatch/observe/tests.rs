use super::*;

fn task(active: bool, queued: bool, completed: bool) -> TaskState {
    TaskState {
        active,
        queued,
        completed,
        progress: None,
        textinfo: None,
    }
}

/// What the whole server says; `job_count` is 0 when idle and -1 while it
/// loads.
fn global(job: &str, job_count: i64) -> GlobalProgress {
    GlobalProgress {
        progress: 0.0,
        eta_seconds: 0.0,
        job: job.to_owned(),
        job_count,
        job_no: 0,
        sampling_step: 0,
        sampling_steps: 0,
        job_timestamp: "20261122110000".to_owned(),
        interrupted: false,
        skipped: false,
    }
}

fn seen(of: (bool, bool, bool), job_count: i64) -> Seen {
    let job = if job_count == 0 {
        ""
    } else {
        "scripts_txt2img"
    };
    seen_by_id(&task(of.0, of.1, of.2), &global(job, job_count))
}

#[test]
fn an_id_that_the_server_does_not_know_never_reads_as_done() {
    for job_count in [-1, 0, 1] {
        let seen = seen((false, false, false), job_count);
        assert!(!seen.over && !seen.alive && !seen.active, "{seen:?}");
    }
    assert!(seen((false, false, true), 0).over);
}

#[test]
fn a_failed_id_that_the_server_keeps_as_active_is_not_at_work() {
    let failed = seen((true, false, false), 0);
    assert!(!failed.alive && !failed.active && !failed.over);
    let working = seen((true, false, false), 1);
    assert_eq!(working.phase, Some(AttemptPhase::Generating));
    assert!(working.alive && working.active);
    let loading = seen((true, false, false), -1);
    assert_eq!(loading.phase, Some(AttemptPhase::Loading));
}

#[test]
fn behind_other_work_it_is_alive_and_not_the_one_at_work() {
    let queued = seen((false, true, false), 1);
    assert!(queued.alive && !queued.active);
    assert_eq!(queued.phase, Some(AttemptPhase::Queued));
    let leaked = seen((false, true, false), 0);
    assert!(!leaked.alive && !leaked.over);
}
