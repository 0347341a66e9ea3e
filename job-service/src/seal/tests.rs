use super::*;

const HERE: Place<'static> = Place {
    column: "api_login_sealed",
    alias: "gpu",
    base_url: "http://10.0.0.5:7860",
};

fn key() -> SealingKey {
    SealingKey::generate().unwrap()
}

#[test]
fn what_was_sealed_opens_with_its_key_in_its_place() {
    let key = key();
    let sealed = seal(&key, HERE, b"user:hunter2").unwrap();
    assert_eq!(
        open(&key, HERE, &sealed).unwrap().as_slice(),
        b"user:hunter2"
    );
    let stored = Sealed::from_stored(sealed.as_bytes().to_vec());
    assert_eq!(
        open(&key, HERE, &stored).unwrap().as_slice(),
        b"user:hunter2"
    );
    let again = SealingKey::parse(&key.to_text()).unwrap();
    assert!(open(&again, HERE, &sealed).is_ok());
}

#[test]
fn the_secret_is_not_in_the_sealed_bytes_and_no_two_are_alike() {
    let key = key();
    let one = seal(&key, HERE, b"user:hunter2").unwrap();
    let two = seal(&key, HERE, b"user:hunter2").unwrap();
    assert_ne!(one, two);
    assert!(!one.as_bytes().windows(7).any(|part| part == b"hunter2"));
    assert_eq!(one.as_bytes()[0], 1);
    assert_eq!(one.as_bytes().len(), 1 + 24 + 12 + 16);
}

#[test]
fn a_value_that_was_moved_does_not_open() {
    let key = key();
    let sealed = seal(&key, HERE, b"user:hunter2").unwrap();
    for place in [
        Place {
            alias: "other",
            ..HERE
        },
        Place {
            column: "ui_login_sealed",
            ..HERE
        },
        Place {
            base_url: "http://10.0.0.66",
            ..HERE
        },
        Place {
            alias: "gpuhttp",
            base_url: "://10.0.0.5:7860",
            ..HERE
        },
    ] {
        assert_eq!(open(&key, place, &sealed), Err(NotOpened), "{place:?}");
    }
}

#[test]
fn a_value_with_a_flipped_bit_or_cut_short_does_not_open() {
    let key = key();
    let sealed = seal(&key, HERE, b"user:hunter2").unwrap();
    for at in 0..sealed.as_bytes().len() {
        let mut bytes = sealed.as_bytes().to_vec();
        bytes[at] ^= 0b0001_0000;
        assert_eq!(open(&key, HERE, &Sealed(bytes)), Err(NotOpened), "{at}");
        let cut = sealed.as_bytes()[..at].to_vec();
        assert_eq!(open(&key, HERE, &Sealed(cut)), Err(NotOpened), "{at}");
    }
}

#[test]
fn another_key_does_not_open_it() {
    let sealed = seal(&key(), HERE, b"user:hunter2").unwrap();
    assert_eq!(open(&key(), HERE, &sealed), Err(NotOpened));
}

#[test]
fn a_key_is_taken_in_hexadecimal_and_base64_and_in_no_other_length() {
    let digits = "00".repeat(31) + "ff";
    let base64 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAP8=";
    for text in [
        digits.as_str(),
        &digits.to_uppercase(),
        &format!(" {digits}\n"),
        base64,
        &base64.replace('=', ""),
        &format!("{}_8", &base64[..41]).replace('=', ""),
    ] {
        let parsed = SealingKey::parse(text);
        assert!(parsed.is_ok(), "{text}");
    }
    let parsed = SealingKey::parse(base64).unwrap();
    assert_eq!(parsed.to_text().as_str(), digits);
    for text in [
        "",
        "hunter2",
        &digits[2..],
        "AAAA",
        &format!("{digits}00"),
        &"zz".repeat(32),
    ] {
        assert_eq!(SealingKey::parse(text).unwrap_err(), NotAKey, "{text}");
    }
}

#[test]
fn neither_a_key_nor_what_it_sealed_is_shown() {
    let key = key();
    let sealed = seal(&key, HERE, b"user:hunter2").unwrap();
    let shown = format!("{key:?} {sealed:?}");
    assert_eq!(shown, "SealingKey(***) Sealed(53 bytes)");
}
