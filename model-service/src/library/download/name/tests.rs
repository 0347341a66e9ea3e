//! What names come out, whatever names go in.

use proptest::prelude::*;

use super::*;

#[test]
fn a_given_name_becomes_one_that_may_be_made() {
    for (given, made) in [
        ("a.safetensors", "a.safetensors"),
        ("../../etc/a.safetensors", "a.safetensors"),
        ("C:\\x\\..\\a b.ckpt", "a b.ckpt"),
        ("...hidden.pt", "hidden.pt"),
        ("a\nb\0c.sft", "a_b_c.sft"),
        ("a<b>:c?*|\".gguf", "a_b__c____.gguf"),
        ("fo\u{202e}x.pth", "fo_x.pth"),
        ("  spaced .SafeTensors ", "spaced.SafeTensors"),
        ("ünï.safetensors", "ünï.safetensors"),
    ] {
        assert_eq!(made_safe(given).as_deref(), Some(made), "{given:?}");
    }
    for none in [
        "",
        "a",
        "a.exe",
        ".safetensors",
        "a.safetensors.exe",
        "a/",
        "..",
        "a.bin",
    ] {
        assert_eq!(made_safe(none), None, "{none:?}");
    }
    let long = format!("{}.safetensors", "ä".repeat(300));
    let made = made_safe(&long).unwrap();
    assert!(
        made.len() <= MADE_BYTES_MAX && made.ends_with("ä.safetensors"),
        "{made}"
    );
}

#[test]
fn what_is_asked_for_is_refused_rather_than_changed() {
    for name in ["a.safetensors", "a b.CKPT", "ä.sft"] {
        assert!(is_allowed_model(name), "{name}");
    }
    let long = format!("{}.sft", "x".repeat(252));
    for name in [
        "a.exe", ".a.sft", "a/b.sft", "a\\b.sft", "a\n.sft", "a", "", &long,
    ] {
        assert!(!is_allowed_model(name), "{name:?}");
    }
    for folder in ["", "a", "a/b c/ä"] {
        assert!(is_allowed_folder(folder), "{folder}");
    }
    assert!(is_allowed_folder(&vec!["a"; DEPTH_MAX].join("/")));
    assert!(!is_allowed_folder(&vec!["a"; DEPTH_MAX + 1].join("/")));
    for folder in [
        "/a", "a/", "a//b", "../a", "a/..", ".a", "a/.b", "a\\b", "a\0b",
    ] {
        assert!(!is_allowed_folder(folder), "{folder:?}");
    }
}

#[test]
fn names_are_found_in_dispositions_of_all_kinds() {
    for (value, name) in [
        (&b"attachment; filename=\"a b.sft\""[..], Some("a b.sft")),
        (b"attachment; filename=a.sft", Some("a.sft")),
        (b"attachment; filename=\"a;b.sft\"; x=y", Some("a;b.sft")),
        (b"attachment; filename=\"a\\\"b.sft\"", Some("a\"b.sft")),
        ("attachment; filename=\"ü.sft\"".as_bytes(), Some("ü.sft")),
        (
            b"attachment; filename=\"x.sft\"; filename*=UTF-8''%C3%BC%20y.sft",
            Some("ü y.sft"),
        ),
        (b"attachment; filename*=iso-8859-1''x.sft", None),
        (b"inline", None),
        (b"", None),
    ] {
        assert_eq!(of_disposition(value).as_deref(), name);
    }
}

#[test]
fn a_part_has_a_name_that_fits_and_that_no_scan_takes_for_a_model() {
    let part = of_part(&format!("{}.safetensors", "ä".repeat(120)), &"0".repeat(36));
    assert!(part.len() <= NAME_BYTES_MAX, "{}", part.len());
    assert!(part.starts_with('.') && beside::stem(part.as_bytes()).is_none());
}

proptest! {
    #[test]
    fn nothing_that_is_given_leads_out_of_a_folder(given in ".{0,300}", ending in ".{0,3}") {
        for given in [format!("{given}{ending}.sft"), given] {
            if let Some(made) = made_safe(&given) {
                prop_assert!(is_allowed_model(&made), "{made:?}");
            }
            let _ = of_disposition(given.as_bytes());
        }
    }
}

#[test]
fn digits_go_before_the_ending_and_the_name_stays_one_that_may_be_made() {
    assert_eq!(
        with_digits("fox.safetensors", "2870ca6e33"),
        "fox.2870ca6e33.safetensors"
    );
    let long = format!("{}.ckpt", "ü".repeat(97));
    let made = with_digits(&long, "2870ca6e33");
    assert!(made.ends_with("ü.2870ca6e33.ckpt"), "{made}");
    assert!(
        made.len() <= MADE_BYTES_MAX && is_allowed_model(&made),
        "{made}"
    );
}
