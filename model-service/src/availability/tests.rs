//! What is there, fresh, missing, unknown or ambiguous.

use super::*;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn model(id: i64, server: &str, title: &str) -> KnownModel {
    KnownModel {
        id,
        kind: ModelKind::Checkpoint,
        sha256: None,
        autov2: None,
        autov3: None,
        local_path: String::new(),
        filename: title.to_owned(),
        forge_format: String::new(),
        aliases: Vec::new(),
        seen_on: vec![Seen {
            server: server.to_owned(),
            title: title.to_owned(),
            at: Some(at(0)),
        }],
        files: vec![FileOnServer {
            server: server.to_owned(),
            title: title.to_owned(),
            path: String::new(),
            alias: String::new(),
            sha256: None,
        }],
    }
}

fn ask(server: &str, has_inventory: bool, models: Vec<KnownModel>, now: i64) -> Presence {
    let may_fit = MayFit {
        models: models.into_iter().map(Arc::new).collect(),
        truncated: false,
    };
    let freshness = Freshness {
        now: at(now),
        max_age: Duration::from_secs(60),
    };
    let reference = Reference::parse("x.safetensors", None);
    presence(&reference, server, has_inventory, &may_fit, freshness)
}

#[test]
fn only_models_on_the_server_count() {
    let models = vec![
        model(1, "left", "x.safetensors"),
        model(2, "right", "x.safetensors"),
    ];
    let Presence::Seen(found) = ask("right", true, models.clone(), 60) else {
        panic!("it is there");
    };
    assert_eq!(
        (found.model_id, found.stale, found.sha256),
        (2, false, None)
    );
    assert_eq!(ask("third", true, models.clone(), 0), Presence::Missing);
    assert_eq!(ask("third", false, models, 0), Presence::Unknown);
}

#[test]
fn a_sight_gets_stale_after_its_age_and_not_before() {
    let stale = |now| match ask("left", true, vec![model(1, "left", "x.safetensors")], now) {
        Presence::Seen(found) => found.stale,
        other => panic!("{other:?}"),
    };
    assert!(!stale(60));
    assert!(stale(61));
}

#[test]
fn a_name_is_not_trusted_when_not_all_candidates_were_looked_at() {
    let may_fit = MayFit {
        models: vec![Arc::new(model(1, "left", "a/x.safetensors"))],
        truncated: true,
    };
    let freshness = Freshness {
        now: at(0),
        max_age: Duration::ZERO,
    };
    let ask = |text| {
        let reference = Reference::parse(text, None);
        presence(&reference, "left", true, &may_fit, freshness)
    };
    assert!(matches!(ask("x.safetensors"), Presence::Ambiguous(_)));
    assert!(matches!(ask("a/x.safetensors"), Presence::Seen(_)));
}

#[test]
fn the_registry_as_a_whole_is_ambiguous_where_each_server_is_not() {
    let models = vec![
        model(1, "left", "x.safetensors"),
        model(2, "right", "x.safetensors"),
    ];
    let may_fit = MayFit {
        models: models.into_iter().map(Arc::new).collect(),
        truncated: false,
    };
    let reference = Reference::parse("x.safetensors", None);
    assert_eq!(resolve(&reference, &may_fit), Resolution::Many(vec![1, 2]));
}
