//! Looks for secrets in bytes, in every form in which they might lie there.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use service_kit::auth::{ApiKey, Token};

/// What must not be found, each with a name to tell it by.
#[derive(Default)]
pub(super) struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    /// A text, as it is, within any base64, and as the bytes that its
    /// hexadecimal digits stand for.
    pub(super) fn add(&mut self, name: &str, text: &str) {
        assert!(
            text.len() >= 12,
            "{name} is too short to be told from chance"
        );
        self.0.push((name.to_owned(), text.as_bytes().to_vec()));
        for shift in 0..3 {
            let encoded = within_base64(text, shift);
            self.0.push((format!("{name}, in base64"), encoded));
        }
        if let Ok(bytes) = hex::decode(text) {
            self.0.push((format!("{name}, decoded"), bytes));
        }
    }

    pub(super) fn add_key(&mut self, name: &str, key: &ApiKey) {
        self.add(&format!("the key of {name}"), key.expose_key());
        self.add(&format!("the secret of {name}"), key.expose_secret());
    }

    pub(super) fn add_token(&mut self, name: &str, token: &Token) {
        self.add(&format!("the secret of {name}"), token.expose_secret());
    }

    pub(super) fn assert_absent(&self, place: &str, bytes: &[u8]) {
        for (name, secret) in &self.0 {
            let found = bytes.windows(secret.len()).any(|part| part == secret);
            assert!(!found, "{name} is in {place}");
        }
    }
}

/// The digits that a text always has in base64 when it begins `shift` bytes
/// behind a group of three.
fn within_base64(text: &str, shift: usize) -> Vec<u8> {
    let mut bytes = vec![0; shift];
    bytes.extend(text.as_bytes());
    let digits = STANDARD.encode(&bytes).into_bytes();
    // The digits that share bits with what stands before and behind.
    let first = (shift * 8).div_ceil(6);
    let last = bytes.len() * 8 / 6;
    digits[first..last].to_vec()
}

#[test]
fn a_text_is_found_within_base64_wherever_it_begins() {
    let secret = "tamarin-4711";
    for before in ["", "a", "ab", "abc", "abcd", "user:"] {
        for behind in ["", "x", "xy", "xyz"] {
            let mut secrets = Secrets::default();
            secrets.add("it", secret);
            let text = STANDARD.encode(format!("{before}{secret}{behind}"));
            let found = secrets
                .0
                .iter()
                .any(|(_, part)| text.as_bytes().windows(part.len()).any(|it| it == part));
            assert!(found, "{before:?} {behind:?}");
        }
    }
}
