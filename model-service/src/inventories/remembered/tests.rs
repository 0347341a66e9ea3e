//! What is remembered, and for how long.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::*;
use crate::availability::Found;
use crate::inventory::AssetKind;
use crate::reference::MatchKind;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn freshness(now: i64) -> Freshness {
    Freshness {
        now: at(now),
        max_age: Duration::from_secs(60),
    }
}

fn question(references: &[&str], servers: &[&str]) -> Question {
    let asset = |name: &str| Asset {
        kind: AssetKind::Sampler,
        name: name.to_owned(),
    };
    Question {
        references: references
            .iter()
            .map(|text| Reference::parse(text, None))
            .collect(),
        assets: vec![asset("Euler")],
        servers: servers.iter().map(|&server| server.to_owned()).collect(),
    }
}

fn answer(server: &str, references: usize) -> ServerPresence {
    let found = Presence::Seen(Found {
        stale: false,
        title: "x".into(),
        model_id: 1,
        sha256: None,
        seen_at: Some(at(0)),
        kind: MatchKind::Title,
    });
    ServerPresence {
        server: server.to_owned(),
        inventory: Some(Arc::new(Inventory {
            server: server.to_owned(),
            generation: "1".to_owned(),
            synced_at: at(0),
            checkpoint_count: 1,
            lora_count: 0,
            asset_count: 1,
            doubted_count: 0,
            doubted_since: None,
        })),
        presences: vec![found; references],
        assets: vec![AssetPresence::Seen { stale: false }],
    }
}

#[test]
fn an_answer_holds_for_its_state_only() {
    let remembered = Remembered::default();
    let asked = question(&["a", "b"], &["left"]);
    let ask = |stand, asked: &Question| remembered.answer(stand, asked, freshness(0));
    assert_eq!(ask(7, &asked), None);
    remembered.keep(7, &asked, &[answer("left", 2)]);
    assert_eq!(ask(7, &asked), Some(vec![answer("left", 2)]));
    assert_eq!(ask(7, &question(&["b"], &["left"])).unwrap().len(), 1);
    assert_eq!(ask(7, &question(&["c"], &["left"])), None);
    assert_eq!(ask(7, &question(&["a"], &["left", "right"])), None);
    assert_eq!(ask(7, &question(&["a"], &[])), None, "all are not known");
    assert_eq!(ask(8, &asked), None);
    remembered.keep(8, &asked, &[answer("left", 2)]);
    assert_eq!(ask(7, &asked), None);
    remembered.keep(7, &question(&["c"], &["left"]), &[answer("left", 1)]);
    assert_eq!(ask(8, &question(&["c"], &["left"])), None, "it came late");
}

#[test]
fn all_servers_are_remembered_as_all() {
    let remembered = Remembered::default();
    let all = question(&["a"], &[]);
    let both = [answer("left", 1), answer("right", 1)];
    remembered.keep(0, &all, &both);
    assert_eq!(remembered.answer(0, &all, freshness(0)).unwrap(), both);
}

#[test]
fn age_is_reckoned_anew() {
    let remembered = Remembered::default();
    let asked = question(&["a"], &["left"]);
    remembered.keep(0, &asked, &[answer("left", 1)]);
    let stale = |now| {
        let found = remembered.answer(0, &asked, freshness(now)).unwrap();
        let Presence::Seen(seen) = &found[0].presences[0] else {
            panic!("{found:?}");
        };
        (seen.stale, found[0].assets[0])
    };
    assert_eq!(stale(60), (false, AssetPresence::Seen { stale: false }));
    assert_eq!(stale(61), (true, AssetPresence::Seen { stale: true }));
    assert!(!stale(0).0);
}

#[test]
fn no_more_than_so_many_answers_are_remembered() {
    let remembered = Remembered::default();
    let asked = |part: usize| {
        let texts: Vec<String> = (0..1000).map(|number| format!("{part}-{number}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        question(&texts, &["left"])
    };
    let knows = |part| remembered.answer(0, &asked(part), freshness(0)).is_some();
    let full = ANSWERS_REMEMBERED_MAX / 1000;
    for part in 0..full {
        // What is known already takes no more place.
        for _ in 0..3 {
            remembered.keep(0, &asked(part), &[answer("left", 1000)]);
        }
    }
    assert!(knows(0) && knows(full - 1));
    remembered.keep(0, &asked(full), &[answer("left", 1000)]);
    assert!(!knows(0) && knows(full));
}

#[test]
fn the_candidates_of_an_ambiguous_answer_take_place_too() {
    let remembered = Remembered::default();
    let ambiguous = ServerPresence {
        presences: vec![Presence::Ambiguous(vec!["x".to_owned(); 15])],
        ..answer("left", 1)
    };
    let asked = |number: usize| question(&[&number.to_string()], &["left"]);
    for number in 0..ANSWERS_REMEMBERED_MAX / 16 {
        remembered.keep(0, &asked(number), std::slice::from_ref(&ambiguous));
    }
    assert_eq!(remembered.answer(0, &asked(0), freshness(0)), None);
}

#[test]
fn inventories_are_remembered_of_one_state_as_well() {
    let remembered = Remembered::default();
    let nobody = ServerPresence {
        inventory: None,
        ..answer("right", 1)
    };
    let both = [answer("left", 1), nobody];
    remembered.keep(7, &question(&["a"], &["left", "right"]), &both);
    let known = remembered.inventories(7);
    let has_one: Vec<_> = known
        .iter()
        .map(|(server, one)| (&**server, one.is_some()))
        .collect();
    assert_eq!(has_one, [("left", true), ("right", false)]);
    assert!(remembered.inventories(8).is_empty());
}
