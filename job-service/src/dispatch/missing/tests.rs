use std::sync::Arc;

use chrono::DateTime;

use super::*;
use crate::{
    board::{Board, Listed},
    dispatch::forge::{ListedCheckpoint, Listing},
    job::{ModelRole, Requirement},
    policy::JobPolicy,
    server::{Health, Server, Usage},
    store::queue::Place,
};

/// When listings are fresh that were taken since.
const SINCE: Duration = Duration::from_secs(100);

/// A server that listed these checkpoints at that second.
fn state(alias: &str, checkpoints: &[&str], at: u64) -> ServerState {
    let serde_json::Value::Object(baseline) = serde_json::json!({"sd_model_checkpoint": "base"})
    else {
        panic!("an object");
    };
    let board = Board::default();
    board.put(Server {
        alias: alias.to_owned(),
        base_url: "http://h".to_owned(),
        usage: Usage::Dedicated,
        labels: BTreeMap::new(),
        enabled: true,
        cordoned: false,
        cordon_reason: String::new(),
        baseline: Some(baseline),
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        revision: 1,
        api_login: None,
        ui_login: None,
        interrupts_allowed: false,
    });
    board.update_status(alias, |status| status.health = Health::Healthy);
    let checkpoint = |name: &&str| ListedCheckpoint {
        title: (*name).to_owned(),
        model_name: (*name).to_owned(),
        filename: format!("/models/{name}"),
        sha256: None,
        hash: None,
    };
    let listing = Listing {
        checkpoints: checkpoints.iter().map(checkpoint).collect(),
        ..Listing::default()
    };
    ServerState {
        listed: Some(Listed {
            listing: Arc::new(listing),
            at: Duration::from_secs(at),
            for_a_job: None,
        }),
        ..board.get(alias).expect("it was put up")
    }
}

fn reference(text: &str, is_lora: bool) -> Reference {
    Reference {
        is_lora,
        text: text.to_owned(),
    }
}

/// A job for the checkpoint `x` and the LoRA `y`.
fn job() -> QueuedJob {
    let need = |role, text: &str| Requirement {
        role,
        reference: text.to_owned(),
    };
    QueuedJob {
        id: "job".to_owned(),
        place: Place {
            priority: 0,
            rank: 1,
        },
        target_server: String::new(),
        models: vec![need(ModelRole::Checkpoint, "x"), need(ModelRole::Lora, "y")],
        resolved_checkpoint: None,
        not_before: None,
        hold: None,
        attempt_number: 0,
        run: 1,
        policy: JobPolicy::default(),
        pixels: None,
    }
}

/// Which server has which of both, as model-service says.
fn found(rows: &[(&str, bool, bool)]) -> Findings {
    let finding = |has: bool| match has {
        true => Finding::Available {
            title: "t".to_owned(),
            sha256: None,
        },
        false => Finding::Missing,
    };
    let of = |(alias, x, y): &(&str, bool, bool)| {
        let key = |reference| ((*alias).to_owned(), reference);
        [
            (key(reference("x", false)), finding(*x)),
            (key(reference("y", true)), finding(*y)),
        ]
    };
    rows.iter().flat_map(of).collect()
}

fn of(job: &QueuedJob, servers: Vec<ServerState>, past: &Past, findings: &Findings) -> Lacking {
    let named = |state: ServerState| (state.server.alias.clone(), state);
    let board = servers.into_iter().map(named).collect();
    lacking(job, &board, past, findings, SINCE)
}

fn nobody(references: &[Reference], servers: &[&str]) -> Lacking {
    Lacking::Nobody {
        references: references.to_vec(),
        servers: servers.iter().map(|&alias| alias.to_owned()).collect(),
    }
}

#[test]
fn only_what_no_server_has_is_lacking() {
    let both = || vec![state("a", &[], 100), state("b", &[], 100)];
    let past = Past::default();
    let (x, y) = (reference("x", false), reference("y", true));
    let none = found(&[("a", false, false), ("b", false, false)]);
    assert_eq!(
        of(&job(), both(), &past, &none),
        nobody(&[x.clone(), y.clone()], &["a", "b"])
    );
    let y_on_b = found(&[("a", false, false), ("b", false, true)]);
    assert_eq!(
        of(&job(), both(), &past, &y_on_b),
        nobody(&[x], &["a", "b"])
    );
    let apart = found(&[("a", true, false), ("b", false, true)]);
    assert_eq!(of(&job(), both(), &past, &apart), Lacking::Unsure);
    let mut for_a = job();
    for_a.target_server = "a".to_owned();
    assert_eq!(of(&for_a, both(), &past, &apart), nobody(&[y], &["a"]));
    let refused = Past {
        refused_by: ["b".to_owned()].into(),
        ..Past::default()
    };
    let x_on_b = found(&[("a", false, true), ("b", true, true)]);
    assert_eq!(
        of(&job(), both(), &refused, &x_on_b),
        nobody(&[reference("x", false)], &["a"])
    );
}

#[test]
fn what_is_not_known_for_certain_is_not_lacking() {
    let past = Past::default();
    let none = found(&[("a", false, false), ("b", false, false)]);
    let old = vec![state("a", &[], 100), state("b", &[], 99)];
    assert_eq!(of(&job(), old, &past, &none), Lacking::Unsure);
    let on_its_way = vec![state("a", &[], 100), state("b", &["x"], 100)];
    assert_eq!(
        of(&job(), on_its_way, &past, &none),
        nobody(&[reference("y", true)], &["a", "b"])
    );
    let mut unknown = none.clone();
    for text in ["x", "y"] {
        unknown.insert(
            ("b".to_owned(), reference(text, text == "y")),
            Finding::Unknown,
        );
    }
    let both = vec![state("a", &[], 100), state("b", &[], 100)];
    assert_eq!(of(&job(), both, &past, &unknown), Lacking::Unsure);
    assert_eq!(of(&job(), Vec::new(), &past, &none), Lacking::Unsure);
}

#[test]
fn a_server_that_is_away_may_have_it_unless_it_is_out_of_use() {
    let past = Past::default();
    let none = found(&[("a", false, false), ("b", false, false)]);
    let mut away = state("b", &[], 100);
    away.status.health = Health::Unreachable;
    let mut disabled = away.clone();
    disabled.server.enabled = false;
    let with = |other: ServerState| vec![state("a", &[], 100), other];
    assert_eq!(
        of(&job(), with(away), &past, &none),
        Lacking::Away(vec!["b".to_owned()])
    );
    let both = [reference("x", false), reference("y", true)];
    assert_eq!(
        of(&job(), with(disabled), &past, &none),
        nobody(&both, &["a"])
    );
}
