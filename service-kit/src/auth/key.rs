//! Owns the form of keys and how they are made. It does not store them.
//!
//! ```text
//! hex    = "0" to "9" / "a" to "f"
//! prefix = 8 hex                    ; stored in clear, finds the row
//! key    = "sq_" prefix 32 hex      ; 128 random bits after the prefix
//! secret = 64 hex                   ; 256 random bits
//! pair   = key ":" secret           ; one text, for files and base64
//! token  = "sq_" prefix "_" secret  ; the same secret without the key
//! ```
//! Every part has a fixed length and hex has no `_` and no `:`, so that each
//! text has one reading; base64 has no `_` either, so that a Bearer value that
//! begins with `sq_` is a token and nothing else. Several keys may share a
//! prefix; among them the secret alone, with its 256 bits, tells which it is.

use std::fmt;

use rand::TryRng as _;
use rand::rngs::{SysError, SysRng};
use secrecy::{ExposeSecret as _, SecretString};
use tonic::metadata::{Ascii, MetadataValue};

use super::digest::{Digest, KeyHashes};

/// Random bits of a key, after its prefix.
pub const KEY_BITS: usize = 128;
/// Random bits of a secret.
pub const SECRET_BITS: usize = 256;

/// How every key and token begins.
pub(super) const MARK: &str = "sq_";
const PREFIX_BYTES: usize = 4;
const PREFIX_DIGITS: usize = 2 * PREFIX_BYTES;
const KEY_DIGITS: usize = KEY_BITS / 4;
const SECRET_DIGITS: usize = SECRET_BITS / 4;
const PAIR_SEPARATOR: char = ':';
const TOKEN_SEPARATOR: char = '_';

/// A text is not a key, secret, pair or token. It does not say which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key of the form sq_, 40 hex digits, with a secret of 64 hex digits")]
pub struct KeyError;

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness(#[from] SysError);

/// The public part of a key, which finds its row: 8 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPrefix([u8; PREFIX_DIGITS]);

impl KeyPrefix {
    /// The prefix under which credentials are looked up that are no credentials.
    pub(super) const DECOY: Self = Self([b'0'; PREFIX_DIGITS]);

    /// Reads a prefix, as the database keeps it.
    ///
    /// # Errors
    /// When it is not 8 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let digits = text.as_bytes().try_into().map_err(|_| KeyError)?;
        if is_hex(text) {
            return Ok(Self(digits));
        }
        Err(KeyError)
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        // Only hex digits get in, so that this is always UTF-8.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyPrefix({self})")
    }
}

/// A key (`sq_`, the 8 hex digits of the prefix, 32 more) with its secret (64
/// hex digits), in clear: only while it is made, shown once, or read
/// from a file. `Debug` shows neither.
#[derive(Debug, Clone)]
pub struct ApiKey {
    prefix: KeyPrefix,
    key: SecretString,
    secret: SecretString,
}

impl ApiKey {
    /// A new key from the operating system's random numbers.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut prefix = random_hex::<PREFIX_BYTES>()?;
        let key = random_hex::<{ KEY_BITS / 8 }>()?;
        let secret = random_hex::<{ SECRET_BITS / 8 }>()?;
        let mut digits = [0; PREFIX_DIGITS];
        digits.copy_from_slice(prefix.as_bytes());
        prefix.insert_str(0, MARK);
        Ok(Self {
            prefix: KeyPrefix(digits),
            key: (prefix + &key).into(),
            secret: secret.into(),
        })
    }

    /// A key and a secret that were made before.
    ///
    /// # Errors
    /// When one of them has not the form of this module.
    pub fn parse(key: &str, secret: &str) -> Result<Self, KeyError> {
        let prefix = prefix_of(key).ok_or(KeyError)?;
        if !is_secret(secret) {
            return Err(KeyError);
        }
        Ok(Self {
            prefix,
            key: key.into(),
            secret: secret.into(),
        })
    }

    /// A key and its secret in one text, `key:secret`, as in a file.
    ///
    /// # Errors
    /// When it has not that form. Spaces and line ends around it are an error too.
    pub fn parse_pair(pair: &str) -> Result<Self, KeyError> {
        let (key, secret) = pair.split_once(PAIR_SEPARATOR).ok_or(KeyError)?;
        Self::parse(key, secret)
    }

    /// The public part.
    pub fn prefix(&self) -> KeyPrefix {
        self.prefix
    }

    /// The key in clear, to be shown once to whoever made it.
    pub fn expose_key(&self) -> &str {
        self.key.expose_secret()
    }

    /// The secret in clear, to be shown once to whoever made it.
    pub fn expose_secret(&self) -> &str {
        self.secret.expose_secret()
    }

    /// The form for clients that carry one text only.
    pub fn token(&self) -> Token {
        let text = format!(
            "{MARK}{}{TOKEN_SEPARATOR}{}",
            self.prefix,
            self.expose_secret()
        );
        Token {
            prefix: self.prefix,
            text: text.into(),
        }
    }

    /// What is stored of it.
    pub fn hashes(&self) -> KeyHashes {
        KeyHashes {
            key: Some(Digest::of(self.expose_key())),
            secret: Digest::of(self.expose_secret()),
        }
    }
}

/// A key in its one-text form, `sq_<prefix>_<secret>`, in clear. `Debug` does
/// not show it.
#[derive(Debug, Clone)]
pub struct Token {
    prefix: KeyPrefix,
    text: SecretString,
}

impl Token {
    /// A new secret for a key that stays as it is.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn generate(prefix: KeyPrefix) -> Result<Self, NoRandomness> {
        let secret = random_hex::<{ SECRET_BITS / 8 }>()?;
        let text = format!("{MARK}{prefix}{TOKEN_SEPARATOR}{secret}");
        Ok(Self {
            prefix,
            text: text.into(),
        })
    }

    /// Reads a token, as from a file.
    ///
    /// # Errors
    /// When it has not that form. Spaces and line ends around it are an error too.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (prefix, _) = split_token(text).ok_or(KeyError)?;
        Ok(Self {
            prefix,
            text: text.into(),
        })
    }

    /// The public part.
    pub fn prefix(&self) -> KeyPrefix {
        self.prefix
    }

    /// The token in clear, to be shown once to whoever made it.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// The secret in it, in clear, to be shown once to whoever made it.
    pub fn expose_secret(&self) -> &str {
        split_token(self.expose()).map_or("", |(_, secret)| secret)
    }

    /// What is stored of it: the secret only.
    pub fn hashes(&self) -> KeyHashes {
        KeyHashes {
            key: None,
            secret: Digest::of(self.expose_secret()),
        }
    }

    /// The value of `authorization` for a client; marked so that it is neither
    /// logged nor indexed by HTTP/2.
    pub fn authorization(&self) -> MetadataValue<Ascii> {
        let text = format!("Bearer {}", self.expose());
        // A token is ASCII throughout, so that the other value is never used.
        let mut value =
            MetadataValue::try_from(text).unwrap_or(MetadataValue::from_static("Bearer"));
        value.set_sensitive(true);
        value
    }
}

/// The prefix of a key; `None` when the text is not a key.
pub(super) fn prefix_of(key: &str) -> Option<KeyPrefix> {
    let (prefix, rest) = key.strip_prefix(MARK)?.split_at_checked(PREFIX_DIGITS)?;
    let whole = rest.len() == KEY_DIGITS && is_hex(rest);
    whole.then(|| KeyPrefix::parse(prefix).ok())?
}

/// Whether the text has the form of a secret.
pub(super) fn is_secret(text: &str) -> bool {
    text.len() == SECRET_DIGITS && is_hex(text)
}

/// Prefix and secret of a token; `None` when the text is not a token.
pub(super) fn split_token(text: &str) -> Option<(KeyPrefix, &str)> {
    let (prefix, secret) = text.strip_prefix(MARK)?.split_once(TOKEN_SEPARATOR)?;
    let prefix = KeyPrefix::parse(prefix).ok()?;
    is_secret(secret).then_some((prefix, secret))
}

/// Key and secret of a pair; `None` when the text is not a pair.
pub(super) fn split_pair(text: &str) -> Option<(&str, &str)> {
    text.split_once(PAIR_SEPARATOR)
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn random_hex<const BYTES: usize>() -> Result<String, NoRandomness> {
    let mut bytes = [0; BYTES];
    SysRng.try_fill_bytes(&mut bytes)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
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
}
