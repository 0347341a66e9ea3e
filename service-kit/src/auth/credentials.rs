//! Owns how credentials travel with a call and how they are held against what
//! is stored. It does not look anything up.
//!
//! Three forms, of which a call uses exactly one:
//! - `x-api-key: <key>` with `x-api-secret: <secret>`
//! - `authorization: Bearer <base64 of key:secret>` (RFC 4648, section 4; the
//!   padding may be left out)
//! - `authorization: Bearer <token>`
//!
//! The forms of key, secret and token are in `auth/key.rs`.

use std::hint::black_box;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use subtle::{Choice, ConstantTimeEq as _};

use super::digest::{Digest, KeyHashes};
use super::key::{self, KeyPrefix};

/// The metadata key of the key.
pub const KEY_HEADER: &str = "x-api-key";
/// The metadata key of the secret.
pub const SECRET_HEADER: &str = "x-api-secret";
/// The metadata key of the other two forms.
pub const AUTHORIZATION_HEADER: &str = "authorization";
/// Longest value of one of these that is looked at; the longest good one has
/// 151 bytes.
pub const CREDENTIAL_BYTES_MAX: usize = 256;

const HEADERS: [&str; 3] = [KEY_HEADER, SECRET_HEADER, AUTHORIZATION_HEADER];
/// RFC 6750, section 2.1; the scheme is read in any case (RFC 9110, 11.1).
const SCHEME: &str = "bearer";

/// Hashed in the place of what a call did not present, with the lengths of real
/// ones, so that every call costs the same.
const DECOY_KEY: &str = "sq_0000000000000000000000000000000000000000";
const DECOY_SECRET: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Compared where there is nothing to compare with.
static DECOY: LazyLock<KeyHashes> = LazyLock::new(|| KeyHashes {
    key: Some(Digest::of(DECOY_KEY)),
    secret: Digest::of(DECOY_SECRET),
});

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a call presented, as digests. `Debug` shows the public prefix only.
#[derive(Debug, Clone)]
pub struct Credentials {
    prefix: KeyPrefix,
    /// `None` for a token, which proves its secret only.
    key: Option<Digest>,
    secret: Digest,
    /// Credentials of no known form match nothing.
    well_formed: bool,
}

/// The texts of one of the forms.
struct Presented<'a> {
    prefix: KeyPrefix,
    key: Option<&'a str>,
    secret: &'a str,
}

impl Credentials {
    /// The credentials in the headers; `None` when there are none at all. What
    /// is half, doubled, too long or of no known form becomes credentials that
    /// match nothing, for the same work.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        if !HEADERS.iter().any(|name| headers.contains_key(*name)) {
            return None;
        }
        let decoded = decoded(headers);
        let presented = match &decoded {
            Some(text) => pair(text),
            None => plain(headers),
        };
        Some(Self::hashed(presented))
    }

    /// [`Credentials::of`], and removes them, so that nothing further in can
    /// show them.
    pub(super) fn take(headers: &mut HeaderMap) -> Option<Self> {
        let credentials = Self::of(headers);
        for name in HEADERS {
            headers.remove(name);
        }
        credentials
    }

    /// The public part, under which the stored keys are looked up.
    pub fn prefix(&self) -> KeyPrefix {
        self.prefix
    }

    /// The stored key that these credentials prove. All candidates are compared
    /// in constant time, and one comparison happens even when there is none.
    pub fn pick<'a, T>(
        &self,
        candidates: &'a [T],
        hashes_of: impl Fn(&T) -> &KeyHashes,
    ) -> Option<&'a T> {
        if candidates.is_empty() {
            black_box(self.prove(&DECOY));
        }
        let mut found = None;
        for candidate in candidates {
            if bool::from(self.prove(hashes_of(candidate))) {
                found = Some(candidate);
            }
        }
        found
    }

    fn prove(&self, stored: &KeyHashes) -> Choice {
        let decoy = DECOY.secret;
        let presented_key = self.key.unwrap_or(decoy);
        let stored_key = stored.key.unwrap_or(decoy);
        let key_is_stored = Choice::from(u8::from(stored.key.is_some()));
        let key = presented_key.ct_eq(&stored_key) & key_is_stored;
        let by_token = Choice::from(u8::from(self.key.is_none()));
        let well_formed = Choice::from(u8::from(self.well_formed));
        (key | by_token) & self.secret.ct_eq(&stored.secret) & well_formed
    }

    /// Always two digests of texts of the same lengths, but that a key of the
    /// earlier application is shorter, which fills as many blocks of SHA-256, and
    /// its secret one block less, which is made up for.
    fn hashed(presented: Option<Presented<'_>>) -> Self {
        let well_formed = presented.is_some();
        let Presented {
            prefix,
            key,
            secret,
        } = presented.unwrap_or(Presented {
            prefix: KeyPrefix::DECOY,
            key: Some(DECOY_KEY),
            secret: DECOY_SECRET,
        });
        let key_digest = Digest::of(key.unwrap_or(DECOY_KEY));
        if secret.len() < DECOY_SECRET.len() {
            black_box(Digest::of(black_box(secret)));
        }
        Self {
            prefix,
            key: key.map(|_| key_digest),
            secret: Digest::of(secret),
            well_formed,
        }
    }
}

/// The forms that need no decoding.
fn plain(headers: &HeaderMap) -> Option<Presented<'_>> {
    let [key, secret, authorization] = HEADERS.map(|name| headers.contains_key(name));
    match (key, secret, authorization) {
        (true, true, false) => {
            let key = single(headers, KEY_HEADER)?;
            checked(key, single(headers, SECRET_HEADER)?)
        }
        (false, false, true) => {
            let (prefix, secret) = key::split_token(bearer(headers)?)?;
            Some(Presented {
                prefix,
                key: None,
                secret,
            })
        }
        _ => None,
    }
}

/// The text in a Bearer value, if base64 is what it is and it stands alone.
fn decoded(headers: &HeaderMap) -> Option<String> {
    if headers.contains_key(KEY_HEADER) || headers.contains_key(SECRET_HEADER) {
        return None;
    }
    let value = bearer(headers).filter(|value| !value.starts_with(key::MARK))?;
    String::from_utf8(BASE64.decode(value).ok()?).ok()
}

fn pair(text: &str) -> Option<Presented<'_>> {
    let (key, secret) = key::split_pair(text)?;
    checked(key, secret)
}

fn checked<'a>(key: &'a str, secret: &'a str) -> Option<Presented<'a>> {
    let ours = key::prefix_of(key);
    let older = key::older_prefix_of(key);
    let has_form = key::is_secret(secret) || older.is_some() && key::is_older_secret(secret);
    has_form.then_some(Presented {
        prefix: ours.or(older)?,
        key: Some(key),
        secret,
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, value) = single(headers, AUTHORIZATION_HEADER)?.split_once(' ')?;
    let value = value.trim_start_matches(' ');
    scheme.eq_ignore_ascii_case(SCHEME).then_some(value)
}

/// The value of a header that is there once, short enough and ASCII.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    let alone = values.next().is_none() && value.len() <= CREDENTIAL_BYTES_MAX;
    alone.then(|| value.to_str().ok())?
}

#[cfg(test)]
mod tests;
