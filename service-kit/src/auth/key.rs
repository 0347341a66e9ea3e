//! Owns the form of keys and how they are made. It does not store them.
//!
//! ```text
//! hex    = "0" to "9" / "a" to "f"
//! prefix = 8 hex                    ; stored in clear, finds the row
//! key    = "sq_" prefix 32 hex      ; 128 random bits after the prefix
//! secret = 64 hex                   ; 256 random bits
//! pair   = key ":" secret           ; one text, for files and base64
//! token  = "sq_" prefix "_" secret  ; the same secret without the key
//!
//! older-key    = "mk_" prefix 16 hex ; 64 random bits after the prefix
//! older-secret = 32 hex              ; 128 random bits
//! ```
//! The last two were made by the earlier application and are still good where
//! they were taken over; none is made any more. An older key can get a secret
//! of ours, a key of ours has no older one.
//!
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
/// How every key of the earlier application begins.
const OLDER_MARK: &str = "mk_";
/// Digits of such a key after its prefix.
const OLDER_KEY_DIGITS: usize = 16;
/// Digits of such a key's secret.
const OLDER_SECRET_DIGITS: usize = 32;
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

/// The prefix of a key of the earlier application; `None` when the text is no
/// such key.
pub(super) fn older_prefix_of(key: &str) -> Option<KeyPrefix> {
    let digits = key.strip_prefix(OLDER_MARK)?;
    let (prefix, rest) = digits.split_at_checked(PREFIX_DIGITS)?;
    let whole = rest.len() == OLDER_KEY_DIGITS && is_hex(rest);
    whole.then(|| KeyPrefix::parse(prefix).ok())?
}

/// Whether the text has the form of a secret of the earlier application.
pub(super) fn is_older_secret(text: &str) -> bool {
    text.len() == OLDER_SECRET_DIGITS && is_hex(text)
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
mod tests;
