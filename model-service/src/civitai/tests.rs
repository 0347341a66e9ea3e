//! Waits, addresses, and where the key goes.

use super::*;

fn later(after_s: Option<u64>) -> Trouble {
    Trouble::Limited {
        after: after_s.map(Duration::from_secs),
        words: String::new(),
    }
}

#[test]
fn waits_double_up_to_thirty_seconds_and_end_after_the_last_try() {
    let waits: Vec<u64> = (1..TRIES_MAX)
        .map_while(|tries| wait(&later(None), tries))
        .map(|wait| wait.as_secs())
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30]);
    assert_eq!(wait(&later(None), TRIES_MAX), None);
}

#[test]
fn civitais_own_wait_is_kept_to_unless_it_is_too_long() {
    let of = |after_s| wait(&later(Some(after_s)), 1).map(|wait| wait.as_secs());
    assert_eq!(of(37), Some(37));
    assert_eq!(of(0), Some(1));
    assert_eq!(of(300), Some(300));
    assert_eq!(of(301), None);
}

#[test]
fn what_does_not_pass_is_not_tried_again() {
    let words = String::new();
    for trouble in [
        Trouble::OwnFault {
            words: words.clone(),
        },
        Trouble::Final {
            reason: FinalReason::Region,
            words,
        },
        Trouble::TooLarge { limit: 1 },
    ] {
        assert_eq!(wait(&trouble, 1), None, "{trouble:?}");
    }
}

fn civitai(url: &str, download_url: &str) -> Civitai {
    let (clock, _) = Clock::manual(chrono::DateTime::UNIX_EPOCH);
    let config = CivitaiConfig {
        url: Url::parse(url).unwrap(),
        download_url: Url::parse(download_url).unwrap(),
        key: Some("secret-key".to_owned().into()),
        ..crate::config::LibraryConfig::default().civitai
    };
    Civitai::new(config, clock, CivitaiFigures::default()).unwrap()
}

#[test]
fn addresses_are_built_beneath_the_configured_ones() {
    let civitai = civitai("http://a.example/proxy/", "http://b.example/");
    assert_eq!(
        civitai.api("api/v1/x").as_str(),
        "http://a.example/proxy/api/v1/x"
    );
    let url = |file| civitai.download_url("12", file).to_string();
    assert_eq!(url(None), "http://b.example/api/download/models/12");
    assert_eq!(
        url(Some("34")),
        "http://b.example/api/download/models/12?fileId=34"
    );
}

#[test]
fn the_key_goes_to_the_configured_addresses_and_nowhere_else() {
    let civitai = civitai("http://a.example/proxy/", "http://b.example/");
    let signed = |url: &str| {
        let request = civitai.get(Url::parse(url).unwrap()).build().unwrap();
        request.headers().contains_key(AUTHORIZATION)
    };
    assert!(signed("http://a.example/proxy/api/v1/x"));
    assert!(signed("http://b.example/api/download/models/12"));
    for other in [
        "http://a.example/other",
        "https://a.example/proxy/api",
        "http://a.example:81/proxy/api",
        "http://a.example.evil/proxy/api",
        "http://c.example/proxy/api",
    ] {
        assert!(!signed(other), "{other}");
    }
    let shown = format!("{civitai:?}");
    assert!(!shown.contains("secret-key"), "{shown}");
}
