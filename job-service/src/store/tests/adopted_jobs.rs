//! Jobs that were taken over, from a database or from a file: what a retry of
//! one asks for is what was asked for there, and nothing of it is lost.

use serde_json::{Value, json};

use super::{Fixture, ends::failed, importing::import, now, plans::job};
use crate::{
    error::Error,
    job::{Endpoint, HoldReason, JobState},
    older_jobs,
    store::jobs::{self, NewInput, RowChange, Seeds},
};

const DRAWN: Seeds = Seeds {
    seed: 77,
    subseed: 78,
};

fn entry(id: &str, status: &str, params: &Value) -> Value {
    json!({"mobilesd_job_id": id, "status": status, "generation_params": params,
        "creation_timestamp": "2025-05-13T10:00:00.000Z", "result_details": {"images": [id]}})
}

impl Fixture {
    fn taken_over(&mut self, entries: &[Value]) {
        let text = Value::from(entries.to_vec()).to_string();
        import(self, &older_jobs::entries(&text).unwrap());
    }

    fn retried(&mut self, id: &str) -> Result<(), Error> {
        let conn = &mut self.connection;
        let job = jobs::get(conn, id)?;
        let asked = jobs::asked(conn, &job)?;
        jobs::begin_run(conn, &job, &asked, asked.seeds(&job, DRAWN), now())?;
        Ok(())
    }

    fn body(&mut self, id: &str) -> Value {
        let text = jobs::request_json(&mut self.connection, id).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn older_results(&mut self) -> Vec<String> {
        self.texts(
            "SELECT row_id || ' ' || value AS text FROM adoption_values \
             WHERE column_name = 'result_details_json' AND kind = 'replaced' ORDER BY 1",
        )
    }
}

#[test]
fn an_imported_job_that_had_ended_generates_what_was_asked_for() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    let params = json!({"positive_prompt": "a fox", "checkpoint_name": "dawn.safetensors",
        "steps": "9", "seed": "5"});
    fixture.taken_over(&[
        entry("done", "completed", &params),
        entry("failed", "failed", &params),
    ]);
    fixture.retried("failed").unwrap();
    let body = fixture.body("failed");
    assert_eq!(
        (&body["prompt"], &body["steps"]),
        (&json!("a fox"), &json!(9))
    );
    let checkpoint = &body["override_settings"]["sd_model_checkpoint"];
    assert_eq!(checkpoint, &json!("dawn.safetensors"));
    let conn = &mut fixture.connection;
    let again = jobs::get(conn, "failed").unwrap();
    assert_eq!((again.seed, again.run), (5, 2));
    assert_eq!(again.models[0].reference, "dawn.safetensors");

    let done = jobs::get(conn, "done").unwrap();
    let asked = jobs::asked(conn, &done).unwrap();
    let ids = ("copy".to_owned(), None);
    jobs::copy(conn, &done, &asked, ids, DRAWN, now()).unwrap();
    let copy = jobs::get(conn, "copy").unwrap();
    jobs::cancel_pending(conn, "copy", now()).unwrap();
    assert_eq!(copy.models, again.models);
    assert_eq!(fixture.body("copy"), body);
    // The copy is ours: its text is Forge's already.
    fixture.retried("copy").unwrap();
    assert_eq!(fixture.body("copy"), body);
}

#[test]
fn the_result_of_before_is_kept_when_a_run_of_ours_replaces_it() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    let params = json!({"positive_prompt": "a fox"});
    fixture.taken_over(&[entry("1", "failed", &params)]);
    fixture.retried("1").unwrap();
    let older = ["1 {\"images\":[\"1\"]}"];
    assert_eq!(fixture.older_results(), older);
    fixture.ended("1", 1, &failed());
    fixture.retried("1").unwrap();
    assert_eq!(
        fixture.older_results(),
        older,
        "what is ours is not kept there"
    );
}

#[test]
fn what_could_not_be_read_is_not_run_after_it_was_cancelled() {
    let mut fixture = Fixture::new();
    let unreadable = json!({"prompt": "a fox", "steps": "banana"});
    fixture.taken_over(&[entry("held", "pending", &unreadable)]);
    let conn = &mut fixture.connection;
    let held = jobs::get(conn, "held").unwrap().hold.unwrap();
    assert_eq!(held.reason, HoldReason::AdoptedUnreadable);
    assert!(jobs::cancel_pending(conn, "held", now()).unwrap());
    let error = fixture.retried("held").unwrap_err();
    assert!(
        matches!(error, Error::JobRequestUnreadable { .. }),
        "{error}"
    );
    let conn = &mut fixture.connection;
    let job = jobs::get(conn, "held").unwrap();
    assert_eq!((job.state, job.run), (JobState::Cancelled, 1));
}

#[test]
fn another_input_makes_a_job_one_of_ours() {
    let mut fixture = Fixture::new();
    let unreadable = json!({"prompt": "a fox", "steps": "banana"});
    fixture.taken_over(&[entry("held", "pending", &unreadable)]);
    let input = NewInput {
        request_json: r#"{"prompt":"a hen"}"#.to_owned(),
        endpoint: Endpoint::Img2img,
        seed: 1,
        subseed: 1,
        models: Vec::new(),
        request_bytes: 18,
        pixels: 4096,
    };
    let change = RowChange {
        input: Some(input),
        ..RowChange::default()
    };
    let conn = &mut fixture.connection;
    jobs::update(conn, "held", &change, None, now()).unwrap();
    jobs::cancel_pending(conn, "held", now()).unwrap();
    fixture.retried("held").unwrap();
    assert_eq!(fixture.body("held")["prompt"], "a hen");
    let made = fixture.texts("SELECT 'x' AS text FROM jobs WHERE adopted_request_json IS NOT NULL");
    assert!(made.is_empty(), "its text is Forge's and stays as it is");
}

#[test]
fn how_large_a_job_is_that_was_taken_over_is_known_when_it_waits_and_when_it_runs_again() {
    let mut fixture = Fixture::new();
    fixture.add_server("gpu");
    let params = json!({"prompt": "a fox", "width": 640, "height": 480});
    fixture.taken_over(&[entry("waits", "pending", &params)]);
    let pixels = "SELECT CAST(pixels AS TEXT) AS text FROM jobs WHERE pixels IS NOT NULL";
    assert_eq!(fixture.texts(pixels), ["307200"]);
    // As a program left it that did not count them.
    fixture.run("UPDATE jobs SET pixels = NULL").unwrap();
    jobs::cancel_pending(&mut fixture.connection, "waits", now()).unwrap();
    fixture.retried("waits").unwrap();
    assert_eq!(fixture.texts(pixels), ["307200"]);
}

#[test]
fn the_jobs_of_older_programs_are_told_apart_by_what_they_wrote() {
    let mut fixture = Fixture::new();
    fixture.migrate_to("0009");
    let row = |id: &str, status: &str, more: &str| {
        format!(
            "INSERT INTO jobs (mobilesd_job_id, status, creation_timestamp, \
                 last_updated_timestamp, target_server_alias, generation_params_json, \
                 request_bytes, resolved_seed, attempt_number, adopted_request_json, \
                 hold_reason, models_json) \
             VALUES ('{id}', '{status}', '2026-01-01T00:00:00.000Z', \
                 '2026-01-01T00:00:00.000Z', '', '{{}}', {more})"
        )
    };
    for sql in [
        row("adopted-ended", "failed", "0, 0, 0, NULL, NULL, '[]'"),
        row("adopted-waits", "pending", "9, 3, 0, '{}', NULL, '[]'"),
        row(
            "adopted-held",
            "pending",
            "9, 0, 1, NULL, 'adopted_unreadable', '[]'",
        ),
        row(
            "adopted-cancelled",
            "cancelled",
            "9, 0, 1, NULL, NULL, '[]'",
        ),
        row("ours-waits", "pending", "9, 3, 0, NULL, NULL, '[]'"),
        row("ours-failed", "failed", "9, 3, 1, NULL, NULL, '[]'"),
        row("ours-cancelled", "cancelled", "9, 3, 0, NULL, NULL, '[]'"),
        row(
            "ours-unseeded",
            "cancelled",
            "9, 0, 0, NULL, NULL, '[[\"checkpoint\",\"a\"]]'",
        ),
        "INSERT INTO adoption (id, adopted_at) VALUES (1, '2026-06-01T00:00:00.000Z')".to_owned(),
    ] {
        fixture.run(&sql).unwrap();
    }
    fixture.migrate_to("0010");
    let told = fixture.texts(
        "SELECT substr(mobilesd_job_id, 1, instr(mobilesd_job_id, '-') - 1) || ' ' || adopted \
             AS text FROM jobs ORDER BY mobilesd_job_id",
    );
    assert_eq!(told[..4], ["adopted 1"; 4]);
    assert_eq!(told[4..], ["ours 0"; 4]);
    let conn = &mut fixture.connection;
    jobs::insert(conn, &job("new"), now()).unwrap();
    let new = fixture
        .texts("SELECT CAST(adopted AS TEXT) AS text FROM jobs WHERE mobilesd_job_id = 'new'");
    assert_eq!(new, ["0"]);
}
