//! Owns what is stored of a key: SHA-256 digests, and how they are compared.
//! Keys and secrets are uniformly random, so no slow hash is needed.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Bytes of a digest; as text it has twice as many digits.
pub const DIGEST_BYTES: usize = 32;

/// The SHA-256 of a key or a secret. It is compared in constant time only and
/// is not printed by `Debug`.
#[derive(Clone, Copy)]
pub struct Digest([u8; DIGEST_BYTES]);

impl Digest {
    /// The digest of a text.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Reads lower-case hex as [`Digest::to_hex`] writes it; `None` for all else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; DIGEST_BYTES];
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(Self(bytes))
    }

    /// The digest as 64 lower-case hex digits, as databases and files keep it.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl ConstantTimeEq for Digest {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0[..].ct_eq(&other.0[..])
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Digest(..)")
    }
}

/// What is stored of one key.
#[derive(Debug, Clone, Copy)]
pub struct KeyHashes {
    /// Of the whole key. `None` where only a [`super::Token`] was issued; then
    /// key and secret as a pair are not accepted.
    pub key: Option<Digest>,
    /// Of the secret.
    pub secret: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_sha256_in_lower_case_hex() {
        let digest = Digest::of("abc");
        assert_eq!(digest.to_hex(), ABC);
        let read = Digest::parse(ABC).unwrap();
        assert!(bool::from(read.ct_eq(&digest)));
        assert!(!bool::from(read.ct_eq(&Digest::of("abd"))));
    }

    #[test]
    fn other_texts_are_no_digest() {
        let upper = ABC.to_uppercase();
        let spaced = format!("{ABC} ");
        for text in ["", "ab", &ABC[1..], &upper, &spaced, &"é".repeat(32)] {
            assert!(Digest::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_digest_is_not_printed() {
        let hashes = KeyHashes {
            key: Some(Digest::of("abc")),
            secret: Digest::of("abc"),
        };
        let printed = format!("{hashes:?}");
        assert!(
            !printed.contains("ba78") && !printed.contains("186"),
            "{printed}"
        );
    }
}
