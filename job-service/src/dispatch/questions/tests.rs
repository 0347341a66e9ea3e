use std::{collections::BTreeMap as Labels, sync::Arc};

use chrono::DateTime;

use super::*;
use crate::{
    board::{Board, Listed},
    dispatch::forge::{ListedLora, Listing},
    server::{Server, Usage},
};

/// A server that listed these LoRAs at 100 seconds.
fn state(loras: &[&str]) -> ServerState {
    let board = Board::default();
    board.put(Server {
        alias: "gpu".to_owned(),
        base_url: "http://h".to_owned(),
        usage: Usage::Dedicated,
        labels: Labels::new(),
        enabled: true,
        cordoned: false,
        cordon_reason: String::new(),
        baseline: None,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        revision: 1,
        api_login: None,
        ui_login: None,
        interrupts_allowed: false,
    });
    let lora = |name: &&str| ListedLora {
        name: (*name).to_owned(),
        path: format!("/loras/{name}.safetensors"),
        alias: None,
    };
    let listing = Listing {
        loras: loras.iter().map(lora).collect(),
        ..Listing::default()
    };
    let listed = Listed {
        listing: Arc::new(listing),
        at: Duration::from_secs(100),
        for_a_job: None,
    };
    let state = board.get("gpu").expect("it was put up");
    ServerState {
        listed: Some(listed),
        ..state
    }
}

#[test]
fn a_newer_listing_is_believed_more_than_an_older_answer() {
    // By its hash, which no server lists of a LoRA.
    let reference = Reference {
        is_lora: true,
        text: "0123".to_owned(),
    };
    let available = Finding::Available {
        title: "ink".to_owned(),
        sha256: None,
    };
    let holds = |finding: &Finding, at: u64, loras: &[&str]| {
        let at = Duration::from_secs(at);
        still_holds(finding, at, &reference, &state(loras))
    };
    for (finding, heard_at, loras, wanted) in [
        (&available, 101, &[][..], true),
        (&available, 99, &[], false),
        (&available, 99, &["ink"], true),
        (&Finding::Missing, 101, &["ink"], true),
        (&Finding::Missing, 99, &["ink"], false),
        (&Finding::Stale, 101, &["ink"], false),
        (&Finding::Unknown, 101, &["ink"], false),
    ] {
        let found = holds(finding, heard_at, loras);
        assert_eq!(found, wanted, "{finding:?} at {heard_at} with {loras:?}");
    }
}
