//! Another run of a job: what it forgets and what it keeps.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::RunQueryDsl as _;

use super::{
    Fixture,
    ends::{end, failed, image, told_to_end},
    now,
    plans::job,
};
use crate::{
    error::Error,
    images::ImageFile,
    job::{AttemptOutcome, EventType, Fence, HoldReason, JobState},
    policy::JobPolicy,
    request::InputImage,
    store::{
        attempts::{self, Next},
        events, images, input_images,
        jobs::{self, NewJob, RetryFilter, Seeds},
        queue, unneeded_files,
    },
};

const DRAWN: Seeds = Seeds {
    seed: 77,
    subseed: 78,
};

impl Fixture {
    fn again(&mut self, id: &str) -> i64 {
        let conn = &mut self.connection;
        let job = jobs::get(conn, id).unwrap();
        let asked = jobs::asked(conn, &job).unwrap();
        let seeds = asked.seeds(&job, DRAWN);
        jobs::begin_run(conn, &job, &asked, seeds, now()).unwrap()
    }
}

#[test]
fn the_next_run_begins_anew_and_what_was_stays() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    let policy = JobPolicy {
        wait_timeout_ms: Some(60_000),
        total_timeout_ms: Some(90_000),
        ..JobPolicy::default()
    };
    let long_ago = now() - Duration::from_secs(30);
    let new = NewJob { policy, ..job("1") };
    jobs::insert(&mut fixture.connection, &new, long_ago).unwrap();
    jobs::insert(&mut fixture.connection, &job("2"), now()).unwrap();
    fixture.ended("1", 1, &failed());
    let before = jobs::get(&mut fixture.connection, "1").unwrap();
    assert!(before.error.is_some() && before.completed_at.is_some());
    fixture.again("1");
    let conn = &mut fixture.connection;
    let job = jobs::get(conn, "1").unwrap();
    assert_eq!(
        (job.state, job.run, job.attempts_spent),
        (JobState::Pending, 2, 0)
    );
    assert_eq!(job.attempt_number, 1, "attempts count on over all runs");
    assert!(job.error.is_none() && job.completed_at.is_none() && job.result_json.is_none());
    assert_eq!((job.seed, job.subseed), (77, 78), "they were not named");
    assert!(job.run_began_at > long_ago);
    assert_eq!(job.wait_until, job.policy.wait_until(job.run_began_at));
    assert_eq!(job.deadline_at, job.policy.deadline_at(job.run_began_at));
    assert_eq!(
        job.created_at.timestamp_millis(),
        long_ago.timestamp_millis()
    );
    let page = queue::page(conn, None, 10).unwrap().jobs;
    let order: Vec<&str> = page.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(order, ["2", "1"], "at the end of the queue");
    let attempts = attempts::of_job(conn, "1", 10).unwrap();
    assert_eq!((attempts.len(), attempts[0].run), (1, 1));
    assert_eq!(
        (attempts[0].loading_ms, attempts[0].generating_ms),
        (Some(3), Some(4))
    );
    assert!(attempts[0].last_phase.is_some());
    let last = events::of_job_after(conn, "1", 0, 10)
        .unwrap()
        .pop()
        .unwrap();
    assert_eq!(
        (last.kind, last.state),
        (EventType::Retried, JobState::Pending)
    );
    fixture.ended("1", 2, &failed());
    let conn = &mut fixture.connection;
    let attempts = attempts::of_job(conn, "1", 10).unwrap();
    let runs: Vec<(i32, i32)> = attempts
        .iter()
        .map(|each| (each.number, each.run))
        .collect();
    assert_eq!(runs, [(1, 1), (2, 2)]);
    assert_eq!(attempts::spent_on(conn, "1", 2).unwrap().len(), 1);
}

#[test]
fn a_seed_that_was_named_is_kept() {
    let mut fixture = Fixture::new();
    let named = NewJob {
        request_json: r#"{"seed":0,"subseed":-1}"#.to_owned(),
        seed: 9,
        ..job("1")
    };
    jobs::insert(&mut fixture.connection, &named, now()).unwrap();
    jobs::cancel_pending(&mut fixture.connection, "1", now()).unwrap();
    fixture.again("1");
    let job = jobs::get(&mut fixture.connection, "1").unwrap();
    assert_eq!((job.seed, job.subseed), (9, 78));
    assert_eq!(job.cancel_requested_at, None);
}

#[test]
fn images_stay_until_there_are_new_ones_and_their_files_are_noted_then() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    jobs::insert(&mut fixture.connection, &job("1"), now()).unwrap();
    fixture.claimed("1", 1);
    jobs::mark_cancel(&mut fixture.connection, "1", now()).unwrap();
    let fence = Fence {
        job_id: "1".to_owned(),
        number: 1,
        token: "t1".to_owned(),
    };
    let partial = told_to_end(vec![image("old", 1)]);
    attempts::end(&mut fixture.connection, &fence, &partial, now()).unwrap();
    fixture.again("1");
    let digests = |fixture: &mut Fixture| -> Vec<String> {
        let images = images::of_job(&mut fixture.connection, "1").unwrap();
        images.into_iter().map(|image| image.sha256).collect()
    };
    assert_eq!(digests(&mut fixture), ["old"]);
    fixture.ended("1", 2, &failed());
    assert_eq!(
        digests(&mut fixture),
        ["old"],
        "a run without images takes none away"
    );
    fixture.again("1");
    let done = Next::Completed {
        result_json: "{}".to_owned(),
        images: vec![image("new", 3)],
    };
    fixture.ended("1", 3, &end(AttemptOutcome::Completed, done));
    assert_eq!(digests(&mut fixture), ["new"]);
    let noted = unneeded_files::first(&mut fixture.connection, 10).unwrap();
    let old = ImageFile {
        sha256: "old".to_owned(),
        media_type: "image/png".to_owned(),
    };
    assert_eq!(noted, [old]);
}

#[test]
fn a_copy_shares_the_pictures_of_its_original() {
    let mut fixture = Fixture::new();
    let conn = &mut fixture.connection;
    jobs::insert(conn, &job("1"), now()).unwrap();
    let picture = InputImage {
        sha256: "p".to_owned(),
        bytes: b"pixels".to_vec(),
    };
    input_images::insert(conn, "1", &[picture], now()).unwrap();
    jobs::cancel_pending(conn, "1", now()).unwrap();
    let original = jobs::get(conn, "1").unwrap();
    let asked = jobs::asked(conn, &original).unwrap();
    let ids = ("2".to_owned(), Some("key"));
    let (copy, _) = jobs::copy(conn, &original, &asked, ids, DRAWN, now()).unwrap();
    assert_eq!((copy.run, copy.state), (1, JobState::Pending));
    assert_eq!(copy.key_id.as_deref(), Some("key"));
    assert_eq!(copy.policy, original.policy);
    assert_eq!(jobs::get(conn, "1").unwrap().state, JobState::Cancelled);
    jobs::delete(conn, "1", now()).unwrap();
    let left = input_images::of_job(conn, "2").unwrap();
    assert_eq!(left["p"], b"pixels");
}

#[test]
fn what_cannot_be_understood_is_told_and_stays() {
    let mut fixture = Fixture::new();
    for (id, kept) in [
        ("broken", "["),
        ("older", r#"{"positive_prompt":"a fox","seed":"5"}"#),
    ] {
        let new = NewJob {
            request_json: kept.to_owned(),
            request_bytes: 0,
            ..job(id)
        };
        jobs::insert(&mut fixture.connection, &new, now()).unwrap();
        jobs::cancel_pending(&mut fixture.connection, id, now()).unwrap();
    }
    // Both had ended in the earlier application.
    fixture.run("UPDATE jobs SET adopted = 1").unwrap();
    let conn = &mut fixture.connection;
    let broken = jobs::get(conn, "broken").unwrap();
    let error = jobs::asked(conn, &broken).unwrap_err();
    assert!(
        matches!(error, Error::JobRequestUnreadable { .. }),
        "{error}"
    );
    fixture.again("older");
    let conn = &mut fixture.connection;
    let older = jobs::get(conn, "older").unwrap();
    assert_eq!((older.state, older.seed), (JobState::Pending, 5));
    let request = jobs::request_json(conn, "older").unwrap();
    assert!(request.contains(r#""prompt":"a fox""#), "{request}");
    let kept = fixture
        .texts("SELECT generation_params_json AS text FROM jobs WHERE mobilesd_job_id = 'older'");
    assert!(kept[0].contains("positive_prompt"), "{kept:?}");
}

#[test]
fn jobs_to_retry_are_found_by_their_ends() {
    let mut fixture = Fixture::new();
    let later = |seconds| now() + Duration::from_secs(seconds);
    let at: DateTime<Utc> = now();
    let conn = &mut fixture.connection;
    for (id, seconds, batch, key) in [
        ("c", 3, None, Some("k")),
        ("a", 1, Some("b"), None),
        ("b", 2, Some("b"), Some("k")),
    ] {
        let new = NewJob {
            batch_id: batch.map(str::to_owned),
            key_id: key.map(str::to_owned),
            ..job(id)
        };
        jobs::insert(conn, &new, at).unwrap();
        let code = format!("CODE_{id}");
        assert!(jobs::fail_pending(conn, id, &code, "words", later(seconds * 60)).unwrap());
    }
    jobs::insert(conn, &job("gone"), at).unwrap();
    jobs::cancel_pending(conn, "gone", later(10)).unwrap();
    let failed = || RetryFilter {
        states: vec![JobState::Failed],
        ..RetryFilter::default()
    };
    let mut found = |filter: RetryFilter| jobs::ended(conn, &filter, 3, now()).unwrap().0.join(" ");
    assert_eq!(found(failed()), "a b c");
    let both = vec![JobState::Failed, JobState::Cancelled];
    let all = RetryFilter {
        states: both,
        ..failed()
    };
    assert_eq!(found(all), "gone a b");
    for (expected, filter) in [
        (
            "a b",
            RetryFilter {
                batch_id: "b".to_owned(),
                ..failed()
            },
        ),
        (
            "b",
            RetryFilter {
                error_code: "CODE_b".to_owned(),
                ..failed()
            },
        ),
        (
            "b c",
            RetryFilter {
                key_id: Some("k".to_owned()),
                ..failed()
            },
        ),
        (
            "b c",
            RetryFilter {
                ended_from: Some(later(90)),
                ..failed()
            },
        ),
        (
            "a",
            RetryFilter {
                ended_to: Some(later(90)),
                ..failed()
            },
        ),
    ] {
        assert_eq!(found(filter.clone()), expected, "{filter:?}");
    }
    let plan = fixture.plan(jobs::ENDED);
    let index = "SEARCH jobs USING INDEX idx_jobs_retry (status=? AND <expr>>? AND <expr><?)";
    assert_eq!(plan, [index]);
    let plan = fixture.plan(jobs::ENDED_IN_BATCH);
    assert!(plan[0].contains("idx_jobs_batch (batch_id=?"), "{plan:?}");
}

#[test]
fn pages_of_jobs_to_retry_leave_none_out_and_end_at_the_first_call() {
    let mut fixture = Fixture::new();
    let conn = &mut fixture.connection;
    let first = now();
    let later = |ms| first + Duration::from_millis(ms);
    // Ends of the same moment, and of two states.
    for (id, ms) in [("a", 1), ("b", 1), ("c", 1), ("d", 2)] {
        jobs::insert(conn, &job(id), first).unwrap();
        assert!(jobs::fail_pending(conn, id, "CODE", "words", later(ms)).unwrap());
    }
    jobs::insert(conn, &job("b2"), first).unwrap();
    jobs::cancel_pending(conn, "b2", later(1)).unwrap();
    for batch in [None, Some("batch")] {
        if batch.is_some() {
            diesel::sql_query("UPDATE jobs SET batch_id = 'batch'")
                .execute(conn)
                .unwrap();
        }
        let mut filter = RetryFilter {
            states: vec![JobState::Failed, JobState::Cancelled],
            batch_id: batch.unwrap_or_default().to_owned(),
            ..RetryFilter::default()
        };
        let mut pages = Vec::new();
        loop {
            let (ids, next) = jobs::ended(conn, &filter, 2, later(2)).unwrap();
            pages.push(ids.join(" "));
            if next.is_none() {
                break;
            }
            filter.after = next;
        }
        assert_eq!(pages, ["a b", "b2 c", "d"], "{batch:?}");
    }
    // One that ended again after the first call is not found by the next.
    let mut filter = RetryFilter {
        states: vec![JobState::Failed],
        ..RetryFilter::default()
    };
    let (_, next) = jobs::ended(conn, &filter, 2, later(2)).unwrap();
    diesel::sql_query("UPDATE jobs SET completion_timestamp = ? WHERE mobilesd_job_id = 'a'")
        .bind::<diesel::sql_types::Text, _>(service_kit::clock::to_text(later(3)))
        .execute(conn)
        .unwrap();
    filter.after = next;
    let (rest, next) = jobs::ended(conn, &filter, 5, later(4)).unwrap();
    assert_eq!((rest.join(" ").as_str(), next), ("c d", None));
}

#[test]
fn a_retry_is_written_by_key() {
    let mut fixture = Fixture::new();
    let conn = &mut fixture.connection;
    jobs::insert(conn, &job("1"), now()).unwrap();
    jobs::cancel_pending(conn, "1", now()).unwrap();
    let original = jobs::get(conn, "1").unwrap();
    let sent = fixture.recorded(|conn| {
        let asked = jobs::asked(conn, &original).unwrap();
        let ids = ("2".to_owned(), None);
        jobs::copy(conn, &original, &asked, ids, DRAWN, now()).unwrap();
        jobs::begin_run(conn, &original, &asked, DRAWN, now()).unwrap();
        attempts::unspent_in_a_row(conn, "1", 1).unwrap();
        attempts::abandoned(conn, "1").unwrap();
    });
    assert!(sent.len() > 6, "{sent:#?}");
    fixture.assert_indexed(&sent);
}

#[test]
fn a_held_reason_does_not_survive_a_retry() {
    let mut fixture = Fixture::new();
    jobs::insert(&mut fixture.connection, &job("1"), now()).unwrap();
    let hold = queue::HoldChange {
        job_id: "1".to_owned(),
        hold: Some((HoldReason::RetryBackoff, "waits".to_owned())),
        until: None,
    };
    queue::set_holds(&mut fixture.connection, &[hold], now()).unwrap();
    fixture
        .run("UPDATE jobs SET status = 'failed', not_before = '2099-01-01T00:00:00.000Z'")
        .unwrap();
    fixture.again("1");
    let job = jobs::get(&mut fixture.connection, "1").unwrap();
    assert_eq!((job.hold, job.not_before), (None, None));
}
