//! Encryption of small secrets at rest: the key, the sealed form and the place
//! that it is bound to. Pure but for the randomness of keys and nonces; where
//! the key is kept is `vault`'s business.
//!
//! Sealed form, version 1: the byte 1, a nonce of 24 random bytes, and what
//! XChaCha20-Poly1305 makes of the secret, its tag included. The nonce is long
//! enough to be drawn at random for every secret. The associated data name the
//! place, so that a value that is moved to another row or column does not open.

use std::fmt;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use chacha20poly1305::{
    Key, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, KeyInit as _, Payload},
};
use rand::{
    TryRng as _,
    rngs::{SysError, SysRng},
};
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// The version of the sealed form.
const VERSION: u8 = 1;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 24;

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness(#[from] SysError);

/// Why a secret was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum NotSealed {
    /// There is no nonce for it.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// It is longer than the cipher takes.
    #[error("it is too long to be encrypted")]
    TooLong,
}

/// A text that is no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {KEY_BYTES} bytes, written as 64 hexadecimal digits or as base64")]
pub struct NotAKey;

/// A sealed value that does not open: another key, another place, or damage.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was encrypted with another key or is damaged")]
pub struct NotOpened;

/// A key; wiped from memory when dropped.
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; KEY_BYTES]>);

impl SealingKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        SysRng.try_fill_bytes(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// The key in a text: 64 hexadecimal digits, or base64 with either
    /// alphabet, padded or not. White space around it does not count.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let text = text.trim();
        let decoded = if text.len() == 2 * KEY_BYTES {
            hex::decode(text).ok()
        } else {
            [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
                .iter()
                .find_map(|alphabet| alphabet.decode(text).ok())
        };
        let decoded = Zeroizing::new(decoded.ok_or(NotAKey)?);
        let bytes = <[u8; KEY_BYTES]>::try_from(decoded.as_slice()).map_err(|_| NotAKey)?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// The key as 64 hexadecimal digits.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.as_slice()))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        let mut key = Key::default();
        key.copy_from_slice(self.0.as_slice());
        XChaCha20Poly1305::new(&key)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(***)")
    }
}

/// A sealed secret, as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// One that was stored.
    #[must_use]
    pub fn from_stored(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes, to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// Where a sealed secret belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The column.
    pub column: &'static str,
    /// The alias of the server.
    pub alias: &'a str,
    /// The server's base URL: whoever can write to the database but has no key
    /// must not have a login sent elsewhere.
    pub base_url: &'a str,
}

impl Place<'_> {
    /// Each part behind its length, so that no two places read the same.
    fn associated_data(&self) -> Vec<u8> {
        let mut data = vec![VERSION];
        for part in [self.column, self.alias, self.base_url] {
            data.extend((part.len() as u64).to_be_bytes());
            data.extend(part.as_bytes());
        }
        data
    }
}

/// Seals a secret for a place.
pub fn seal(key: &SealingKey, place: Place<'_>, secret: &[u8]) -> Result<Sealed, NotSealed> {
    let mut nonce = XNonce::default();
    SysRng
        .try_fill_bytes(&mut nonce)
        .map_err(NoRandomness::from)?;
    let payload = Payload {
        msg: secret,
        aad: &place.associated_data(),
    };
    let sealed = key.cipher().encrypt(&nonce, payload);
    let sealed = sealed.map_err(|_| NotSealed::TooLong)?;
    let mut bytes = vec![VERSION];
    bytes.extend(&nonce[..]);
    bytes.extend(sealed);
    Ok(Sealed(bytes))
}

/// Opens what was sealed for a place.
pub fn open(
    key: &SealingKey,
    place: Place<'_>,
    sealed: &Sealed,
) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
    let (version, rest) = sealed.0.split_first().ok_or(NotOpened)?;
    let (given, encrypted) = rest.split_at_checked(NONCE_BYTES).ok_or(NotOpened)?;
    if *version != VERSION {
        return Err(NotOpened);
    }
    let mut nonce = XNonce::default();
    nonce.copy_from_slice(given);
    let payload = Payload {
        msg: encrypted,
        aad: &place.associated_data(),
    };
    let opened = key.cipher().decrypt(&nonce, payload);
    opened.map(Zeroizing::new).map_err(|_| NotOpened)
}

#[cfg(test)]
#[path = "seal/tests.rs"]
mod tests;
