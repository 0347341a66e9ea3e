//! The forms of keys, secrets and tokens.

use std::collections::HashSet;

use proptest::prelude::*;
use subtle::ConstantTimeEq as _;

use super::*;

const PREFIX: &str = "0a1b2c3d";

fn key() -> String {
    format!("sq_{PREFIX}{}", "5".repeat(32))
}

#[test]
fn a_new_key_has_its_bits_and_is_read_back() {
    let made = ApiKey::generate().unwrap();
    let pair = format!("{}:{}", made.expose_key(), made.expose_secret());
    let read = ApiKey::parse_pair(&pair).unwrap();
    assert_eq!(made.expose_key().len(), "sq_".len() + 8 + KEY_BITS / 4);
    assert_eq!(made.expose_secret().len(), SECRET_BITS / 4);
    assert_eq!(read.prefix(), made.prefix());
    assert!(made.expose_key()[3..].starts_with(made.prefix().as_str()));
    let token = Token::parse(made.token().expose()).unwrap();
    assert_eq!(token.prefix(), made.prefix());
    let same = token.hashes().secret.ct_eq(&made.hashes().secret);
    assert!(bool::from(same));
}

#[test]
fn new_keys_differ_in_every_part() {
    let keys: Vec<_> = (0..64).map(|_| ApiKey::generate().unwrap()).collect();
    let parts = |part: fn(&ApiKey) -> &str| keys.iter().map(part).collect::<HashSet<_>>().len();
    assert_eq!(parts(|key| &key.expose_key()[11..]), keys.len());
    assert_eq!(parts(ApiKey::expose_secret), keys.len());
}

#[test]
fn a_key_has_exactly_one_form() {
    assert_eq!(prefix_of(&key()).unwrap().as_str(), PREFIX);
    let secret = "9".repeat(64);
    assert!(ApiKey::parse(&key(), &secret).is_ok());
    for wrong in [
        String::new(),
        "sq_".to_owned(),
        key() + "5",
        key()[1..].to_owned(),
        key()[..42].to_owned(),
        key().replace("sq_", "mk_"),
        key().to_uppercase(),
        key().replace("5555", "555g"),
        key() + "\n",
        "sq_éééé".to_owned() + &"5".repeat(32),
        format!("sq_{PREFIX}_{secret}"),
    ] {
        assert_eq!(prefix_of(&wrong), None, "{wrong}");
        assert!(ApiKey::parse(&wrong, &secret).is_err(), "{wrong}");
    }
    for wrong in ["", "9", &secret[1..], &"A".repeat(64), &key()] {
        assert!(ApiKey::parse(&key(), wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_older_key_has_exactly_one_form_and_none_is_made() {
    let older = format!("mk_{PREFIX}{}", "5".repeat(16));
    assert_eq!(older_prefix_of(&older).unwrap().as_str(), PREFIX);
    assert!(is_older_secret(&"9".repeat(32)) && !is_secret(&"9".repeat(32)));
    for wrong in [
        key(),
        format!("{older}5"),
        older[1..].to_owned(),
        older.to_uppercase(),
        older.replace("mk_", "sq_"),
        older.replace("555", "55g"),
        format!("{older}\n"),
        "mk_éééé".to_owned() + &"5".repeat(16),
    ] {
        assert_eq!(older_prefix_of(&wrong), None, "{wrong}");
    }
    assert!(ApiKey::parse(&older, &"9".repeat(32)).is_err());
    assert!(ApiKey::parse(&older, &"9".repeat(64)).is_err());
}

#[test]
fn a_token_has_exactly_one_form() {
    let secret = "9".repeat(64);
    let token = format!("sq_{PREFIX}_{secret}");
    assert_eq!(split_token(&token).unwrap().1, secret);
    for wrong in [
        key(),
        format!("{}_{secret}", key()),
        format!("{token}_"),
        format!("sq__{secret}"),
        format!(" {token}"),
        format!("{token}9"),
    ] {
        assert!(Token::parse(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_new_secret_for_a_key_keeps_its_prefix() {
    let prefix = KeyPrefix::parse(PREFIX).unwrap();
    let one = Token::generate(prefix).unwrap();
    let other = Token::generate(prefix).unwrap();
    assert_eq!(Token::parse(one.expose()).unwrap().prefix(), prefix);
    assert_eq!(one.expose_secret().len(), 64);
    assert_ne!(one.expose_secret(), other.expose_secret());
}

#[test]
fn nothing_of_a_key_is_printed() {
    let key = ApiKey::generate().unwrap();
    let secrets = [&key.expose_key()[11..], key.expose_secret()];
    let mut value = key.token().authorization();
    let printed = format!("{key:?} {:?} {value:?} {:?}", key.token(), key.hashes());
    for secret in secrets {
        assert!(!printed.contains(secret), "{printed}");
    }
    let error = KeyError.to_string() + &format!("{KeyError:?}");
    assert!(!error.contains(key.prefix().as_str()));
    value.set_sensitive(false);
    assert!(format!("{value:?}").contains(key.expose_secret()));
}

proptest! {
    #[test]
    fn no_text_makes_parsing_panic(text in ".{0,100}", mark in any::<bool>()) {
        let text = if mark { format!("sq_{text}") } else { text };
        prop_assert!(prefix_of(&text).is_none());
        prop_assert!(split_token(&text).is_none());
        prop_assert!(ApiKey::parse_pair(&text).is_err());
    }
}
