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
        hashed_at: None,
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
    // Neither is an absence: what was not looked at may fit.
    let some = Presence::Ambiguous(vec!["a/x.safetensors".to_owned()]);
    assert_eq!(ask("b/x.safetensors"), some);
    let reference = Reference::parse("b/x.safetensors", None);
    assert_eq!(resolve(&reference, &may_fit), Resolution::Many(Vec::new()));
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

/// A model whose hash the library computed of a file at that path, and which a
/// server lists at this one.
fn hashed_at(library: &str, server: &str) -> KnownModel {
    let mut model = model(1, "left", "x.safetensors");
    model.kind = ModelKind::Lora;
    model.sha256 = Some(SHA.to_owned());
    model.autov2 = Some(SHA[..10].to_owned());
    model.autov3 = Some("c0ffee00c0ff".to_owned());
    model.hashed_at = Some(vec![library.to_owned()]);
    model.files[0].path = server.to_owned();
    model
}

const SHA: &str = "2870ca6e33d3665391b10c77641074755bf3b0283449ef1d52486dc7cfe392c8";

fn ask_for(text: &str, model: KnownModel) -> Presence {
    let may_fit = MayFit {
        models: vec![Arc::new(model)],
        truncated: false,
    };
    let freshness = Freshness {
        now: at(0),
        max_age: Duration::from_secs(60),
    };
    presence(
        &Reference::parse(text, None),
        "left",
        true,
        &may_fit,
        freshness,
    )
}

#[test]
fn a_hash_of_the_library_says_nothing_of_a_file_that_only_has_the_same_name() {
    let hashes = [SHA, &SHA[..10], &SHA[..12], "c0ffee00c0ff"];
    for text in hashes {
        let elsewhere = hashed_at("/lib/x.safetensors", "D:\\lora\\x.safetensors");
        assert_eq!(ask_for(text, elsewhere), Presence::Missing, "{text}");
        let same = hashed_at("D:/lora/x.safetensors", "D:\\lora\\x.safetensors");
        assert!(matches!(ask_for(text, same), Presence::Seen(_)), "{text}");
    }
    // Neither does one that is in no library any more.
    let mut gone = hashed_at("", "/srv/x.safetensors");
    gone.hashed_at = Some(Vec::new());
    assert_eq!(ask_for(SHA, gone), Presence::Missing);
    // By its name it is there, whatever hash the caller expects.
    let named = |text| ask_for(text, hashed_at("/lib/x.safetensors", "/srv/x.safetensors"));
    for text in ["x", "x.safetensors", "x.safetensors [0123456789]"] {
        let Presence::Seen(found) = named(text) else {
            panic!("{text}: {:?}", named(text));
        };
        assert_ne!(found.kind, MatchKind::AutoV2, "{text}");
    }
    assert_eq!(named("y.safetensors [2870ca6e33]"), Presence::Missing);
}

#[test]
fn a_hash_counts_where_the_server_shows_it_or_somebody_put_the_model_there() {
    let elsewhere = || hashed_at("/lib/x.safetensors", "/srv/x.safetensors");
    let mut shown = elsewhere();
    shown.files[0].sha256 = Some(SHA.to_owned());
    let mut in_title = elsewhere();
    in_title.kind = ModelKind::Checkpoint;
    in_title.files[0].title = format!("x.safetensors [{}]", &SHA[..10]);
    let mut said = elsewhere();
    said.files.clear();
    let mut by_another = elsewhere();
    let other = FileOnServer {
        server: "right".to_owned(),
        sha256: Some(SHA.to_owned()),
        ..by_another.files[0].clone()
    };
    by_another.files.push(other);
    for model in [shown, in_title, said, by_another] {
        let asked = ask_for(SHA, model.clone());
        assert!(matches!(asked, Presence::Seen(_)), "{model:?}");
    }
}
