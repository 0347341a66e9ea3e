//! What is read from headers, and what it matches.

use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::auth::ApiKey;

fn bearer(value: &str) -> (&'static str, &str) {
    (AUTHORIZATION_HEADER, value)
}

type Headers<'a> = &'a [(&'static str, &'a str)];

fn headers(list: Headers<'_>) -> HeaderMap {
    list.iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            (HeaderName::from_static(name), value)
        })
        .fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
}

fn matches(list: Headers<'_>, stored: &KeyHashes) -> bool {
    let credentials = Credentials::of(&headers(list)).unwrap();
    credentials
        .pick(std::slice::from_ref(stored), |hashes| hashes)
        .is_some()
}

struct Fixture {
    key: String,
    secret: String,
    base64: String,
    unpadded: String,
    token: String,
    stored: KeyHashes,
}

fn fixture() -> Fixture {
    let made = ApiKey::generate().unwrap();
    let (key, secret) = (made.expose_key(), made.expose_secret());
    let pair = format!("{key}:{secret}");
    Fixture {
        base64: format!("Bearer {}", BASE64.encode(&pair)),
        unpadded: format!("bearer  {}", STANDARD_NO_PAD.encode(&pair)),
        token: format!("Bearer {}", made.token().expose()),
        stored: made.hashes(),
        key: key.to_owned(),
        secret: secret.to_owned(),
    }
}

#[test]
fn each_of_the_three_forms_is_understood() {
    let f = fixture();
    assert!(matches(
        &[(KEY_HEADER, &f.key), (SECRET_HEADER, &f.secret)],
        &f.stored
    ));
    for value in [&f.base64, &f.unpadded, &f.token] {
        assert!(
            matches(&[(AUTHORIZATION_HEADER, value)], &f.stored),
            "{value}"
        );
        assert!(value.len() <= CREDENTIAL_BYTES_MAX);
    }
}

#[test]
fn a_call_without_any_credentials_has_none() {
    assert!(Credentials::of(&HeaderMap::new()).is_none());
    assert!(Credentials::of(&headers(&[("x-other", "1")])).is_none());
}

#[test]
fn a_wrong_key_and_a_wrong_secret_match_nothing() {
    let (f, other) = (fixture(), fixture());
    let mixed = [(&f.key, &other.secret), (&other.key, &f.secret)];
    for (key, secret) in mixed {
        let list = [(KEY_HEADER, key.as_str()), (SECRET_HEADER, secret.as_str())];
        assert!(!matches(&list, &f.stored));
    }
    assert!(!matches(&[(AUTHORIZATION_HEADER, &other.token)], &f.stored));
}

#[test]
fn what_is_stored_does_not_open_the_door() {
    let f = fixture();
    let stored_secret = f.stored.secret.to_hex();
    assert!(!matches(
        &[(KEY_HEADER, &f.key), (SECRET_HEADER, &stored_secret)],
        &f.stored
    ));
    let token = f.token.replace(&f.secret, &stored_secret);
    assert!(!matches(&[(AUTHORIZATION_HEADER, &token)], &f.stored));
}

#[test]
fn half_doubled_oversized_and_foreign_credentials_match_nothing() {
    let f = fixture();
    let long = "a".repeat(CREDENTIAL_BYTES_MAX + 1);
    let spaced = format!(
        "Bearer {}{}",
        " ".repeat(CREDENTIAL_BYTES_MAX),
        &f.token[7..]
    );
    let basic = f.base64.replace("Bearer", "Basic");
    let trailing = format!("{} ", f.token);
    let key = (KEY_HEADER, f.key.as_str());
    let secret = (SECRET_HEADER, f.secret.as_str());
    let bad: &[Headers<'_>] = &[
        &[key],
        &[secret],
        &[key, key, secret],
        &[key, secret, secret],
        &[key, secret, bearer(&f.token)],
        &[key, secret, bearer(&f.base64)],
        &[key, bearer(&f.token)],
        &[secret, bearer(&f.base64)],
        &[bearer(&f.token), bearer(&f.token)],
        &[bearer(&f.base64), bearer(&f.token)],
        &[key, (SECRET_HEADER, "")],
        &[(KEY_HEADER, ""), secret],
        &[key, (SECRET_HEADER, &long)],
        &[(KEY_HEADER, &long), secret],
        &[(KEY_HEADER, "schlüssel"), secret],
        &[bearer(&long)],
        &[bearer(&spaced)],
        &[bearer(&basic)],
        &[bearer(&trailing)],
        &[bearer(&f.token[7..])],
        &[bearer("")],
        &[bearer("Bearer")],
        &[bearer("Bearer ")],
        &[bearer("Bearer c3E=")],
        &[bearer("Bearer ßßß")],
    ];
    for list in bad {
        let credentials = Credentials::of(&headers(list)).unwrap();
        assert!(!credentials.well_formed, "{list:?}");
        assert_eq!(credentials.prefix(), KeyPrefix::DECOY);
        assert!(!matches(list, &f.stored), "{list:?}");
        // Not even what it was hashed from in their place.
        assert!(!matches(list, &DECOY), "{list:?}");
    }
}

#[test]
fn the_decoys_are_as_long_as_what_they_stand_for() {
    let f = fixture();
    assert_eq!(DECOY_KEY.len(), f.key.len());
    assert_eq!(DECOY_SECRET.len(), f.secret.len());
}

#[test]
fn of_several_keys_with_one_prefix_the_right_one_is_found() {
    let (f, other) = (fixture(), fixture());
    let rows = [("b", other.stored), ("a", f.stored), ("c", other.stored)];
    let list = headers(&[(AUTHORIZATION_HEADER, &f.token)]);
    let credentials = Credentials::of(&list).unwrap();
    let found = credentials.pick(&rows, |row| &row.1);
    assert_eq!(found.map(|row| row.0), Some("a"));
    assert!(credentials.pick(&rows[..1], |row| &row.1).is_none());
    assert!(credentials.pick::<KeyHashes>(&[], |row| row).is_none());
}

#[test]
fn where_only_a_token_was_issued_the_pair_is_not_enough() {
    let f = fixture();
    let stored = KeyHashes {
        key: None,
        ..f.stored
    };
    assert!(matches(&[(AUTHORIZATION_HEADER, &f.token)], &stored));
    assert!(!matches(&[(AUTHORIZATION_HEADER, &f.base64)], &stored));
    let decoy = format!("{DECOY_KEY}:{}", f.secret);
    let decoy = format!("Bearer {}", BASE64.encode(decoy));
    assert!(!matches(&[(AUTHORIZATION_HEADER, &decoy)], &stored));
}

#[test]
fn taken_credentials_are_gone_and_never_printed() {
    let f = fixture();
    let mut map = headers(&[
        (KEY_HEADER, &f.key),
        (SECRET_HEADER, &f.secret),
        ("x-a", "1"),
    ]);
    let printed = format!("{:?}", Credentials::take(&mut map).unwrap());
    assert_eq!(map.len(), 1);
    assert!(!printed.contains(&f.key[11..]), "{printed}");
    assert!(!printed.contains(&f.secret), "{printed}");
    assert!(!printed.contains(&f.stored.secret.to_hex()), "{printed}");
}

proptest! {
    #[test]
    fn no_header_makes_it_panic_or_matches(
        values in prop::collection::vec((0..3_usize, prop::collection::vec(any::<u8>(), 0..300)), 0..5),
        scheme in any::<bool>(),
    ) {
        let mut map = HeaderMap::new();
        for (index, value) in &values {
            let value = if scheme { [&b"Bearer "[..], value].concat() } else { value.clone() };
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                map.append(HEADERS[*index], value);
            }
        }
        let stored = [fixture().stored, *DECOY];
        if let Some(credentials) = Credentials::of(&map) {
            prop_assert!(credentials.pick(&stored, |hashes| hashes).is_none());
        } else {
            prop_assert!(map.is_empty());
        }
    }
}

#[test]
fn a_pair_of_the_earlier_application_is_understood_in_both_headers() {
    let (key, secret) = ("mk_0a1b2c3d4e5f60718293a4b5", "9".repeat(32));
    let stored = KeyHashes {
        key: Some(Digest::of(key)),
        secret: Digest::of(&secret),
    };
    let pair = format!("Bearer {}", BASE64.encode(format!("{key}:{secret}")));
    let plain: Headers<'_> = &[(KEY_HEADER, key), (SECRET_HEADER, &secret)];
    assert!(matches(plain, &stored));
    assert!(matches(&[bearer(&pair)], &stored));
    let credentials = Credentials::of(&headers(plain)).unwrap();
    assert_eq!(credentials.prefix().as_str(), "0a1b2c3d");

    let ours = fixture();
    let token = format!("Bearer sq_0a1b2c3d_{secret}");
    let wrong = "8".repeat(32);
    let bad: &[Headers<'_>] = &[
        &[(KEY_HEADER, key), (SECRET_HEADER, &wrong)],
        // A key of ours has no secret of theirs, and no token has.
        &[(KEY_HEADER, &ours.key), (SECRET_HEADER, &secret)],
        &[bearer(&token)],
        &[(KEY_HEADER, key)],
    ];
    for list in bad {
        assert!(!matches(list, &stored), "{list:?}");
    }
    // With another secret, an older key goes on.
    let renewed = KeyHashes {
        secret: Digest::of(&ours.secret),
        ..stored
    };
    assert!(matches(
        &[(KEY_HEADER, key), (SECRET_HEADER, &ours.secret)],
        &renewed
    ));
}
