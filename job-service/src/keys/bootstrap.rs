//! The first key, given by whoever deploys the service: the proof comes from a
//! file, and only its digests are kept.

use std::sync::Arc;

use service_kit::auth::{ApiKey, KeyError, KeyHashes, KeyPrefix, Scopes, Token};

use super::{API_KEYS_MAX, Keys, Ring, admin::new_id, hold};
use crate::{
    api_key::{KeyLimits, NewKey},
    error::Error,
    store::{
        Connection,
        api_keys::{self, StoredKey},
    },
};

/// The name that it gets.
const NAME: &str = "bootstrap";

/// The digests of a key that is to be there after the start.
#[derive(Clone, Debug)]
pub struct BootstrapKey {
    prefix: KeyPrefix,
    hashes: KeyHashes,
}

impl BootstrapKey {
    /// Reads a token (`sq_<prefix>_<secret>`) or a pair (`<key>:<secret>`). Of
    /// a token no key is known, so that such a key is accepted by its token
    /// only, never as a pair.
    ///
    /// # Errors
    /// When it is neither. It does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let by_token = |token: Token| (token.prefix(), token.hashes());
        let by_pair = |key: ApiKey| (key.prefix(), key.hashes());
        let parsed = Token::parse(text).map(by_token);
        let (prefix, hashes) = parsed.or_else(|_| ApiKey::parse_pair(text).map(by_pair))?;
        Ok(Self { prefix, hashes })
    }

    /// Whether a stored key is proved by it.
    fn proves(&self, stored: &StoredKey) -> bool {
        let Some(proof) = stored.proof else {
            return false;
        };
        let key = self.hashes.key.is_none_or(|key| {
            let stored = proof.current.key.map(|stored| stored.to_hex());
            stored == Some(key.to_hex())
        });
        key && proof.current.secret.to_hex() == self.hashes.secret.to_hex()
    }
}

/// What became of a bootstrap key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It was made.
    New,
    /// It was there and is good.
    There,
    /// It was there, but was revoked or has expired, and stays so.
    NotGood,
    /// A key with its digits is there with another proof, as after a rotation,
    /// and stays so: the file may hold what was to be given up.
    OtherProof,
}

impl Keys {
    /// Installs a key with the scope `admin` unless it is there.
    ///
    /// # Errors
    /// When the database cannot be written, or there are too many keys.
    pub async fn install(self: &Arc<Self>, key: BootstrapKey) -> Result<Installed, Error> {
        let (id, now) = (new_id(), self.clock.now());
        let new = NewKey {
            name: NAME.to_owned(),
            description: "installed at the start from a file".to_owned(),
            scopes: Scopes::ALL,
            active: true,
            expires_at: None,
            limits: KeyLimits::default(),
        };
        let write = move |conn: &mut Connection| {
            let prefix = key.prefix.as_str();
            let there = api_keys::with_prefix(conn, prefix)?;
            if let Some(same) = there.iter().find(|stored| key.proves(stored)) {
                let good = same.record.is_good(now);
                let became = if good {
                    Installed::There
                } else {
                    Installed::NotGood
                };
                return Ok((became, None));
            }
            if !there.is_empty() {
                return Ok((Installed::OtherProof, None));
            }
            let stored = api_keys::insert(conn, &id, &new, prefix, &key.hashes, API_KEYS_MAX, now)?;
            Ok((Installed::New, Some(stored)))
        };
        let keys = Arc::clone(self);
        let take = move |ring: &mut Ring, (_, new): &(Installed, Option<StoredKey>)| {
            if let Some(stored) = new {
                hold(ring, stored);
                keys.now_required();
            }
        };
        let (became, _) = self.change("install_api_key", write, take).await?;
        Ok(became)
    }
}
