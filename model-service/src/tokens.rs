//! Owns the service tokens: which there are, read once from a file, and who a
//! call's credentials belong to. It does not own what a scope allows.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use service_kit::auth::{
    ApiKey, Authenticator, Caller, Credentials, Digest, KeyHashes, KeyPrefix, NoRandomness, Scope,
    Scopes, Token, Verdict,
};
use service_kit::status::Failure;

/// Tokens that a file may list.
const TOKENS_MAX: usize = 256;
/// Bytes that a file may have.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Servers that a token may be bound to.
const SERVERS_MAX: usize = 256;

/// A token as the file has it: hashed, or in clear where the file itself is a
/// mounted secret.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Who holds it, for logs.
    name: String,
    /// The eight digits that its text begins with behind `sq_`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    /// SHA-256 of its secret, the part behind the second underscore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_sha256: Option<String>,
    /// The token in clear, instead of the two.
    #[serde(default, skip_serializing)]
    token: Option<String>,
    /// What it allows, such as `models:read`.
    scopes: Vec<String>,
    /// The only servers it may report; absent is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    servers: Option<Vec<String>>,
}

struct Known {
    hashes: KeyHashes,
    caller: Caller,
}

/// The tokens of a file, by prefix.
pub struct Tokens(BTreeMap<String, Vec<Known>>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.0.values().flatten().map(|known| &known.caller.name);
        formatter.debug_set().entries(names).finish()
    }
}

impl Tokens {
    /// The tokens of a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, never with a part of a token.
    pub fn read(path: &Path) -> Result<Self, Vec<String>> {
        let fault = |error: &dyn std::fmt::Display| vec![format!("{}: {error}", path.display())];
        let size = std::fs::metadata(path)
            .map_err(|error| fault(&error))?
            .len();
        if size > FILE_BYTES_MAX {
            return Err(fault(&format!("must have at most {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| fault(&error))?;
        Self::parse(&text).map_err(|faults| {
            let named = |fault| format!("{}: {fault}", path.display());
            faults.into_iter().map(named).collect()
        })
    }

    fn parse(text: &str) -> Result<Self, Vec<String>> {
        // serde's words could repeat what stands at the place of the fault.
        let entries: Vec<Entry> = serde_json::from_str(text).map_err(|error| {
            let place = format!("line {} column {}", error.line(), error.column());
            vec![format!("is not a JSON list of tokens ({place})")]
        })?;
        if entries.is_empty() || entries.len() > TOKENS_MAX {
            return Err(vec![format!("must list 1 to {TOKENS_MAX} tokens")]);
        }
        let mut faults = Vec::new();
        let mut tokens: BTreeMap<String, Vec<Known>> = BTreeMap::new();
        for (at, entry) in entries.into_iter().enumerate() {
            match entry.known() {
                Ok((prefix, known)) => {
                    tokens
                        .entry(prefix.as_str().to_owned())
                        .or_default()
                        .push(known);
                }
                Err(found) => {
                    faults.extend(found.into_iter().map(|fault| format!("[{at}] {fault}")));
                }
            }
        }
        if faults.is_empty() {
            Ok(Self(tokens))
        } else {
            Err(faults)
        }
    }
}

impl Entry {
    fn known(self) -> Result<(KeyPrefix, Known), Vec<String>> {
        let mut faults = Vec::new();
        let proof = self.proof().map_err(|fault| faults.push(fault.to_owned()));
        let scopes = self.scopes.iter().filter_map(|word| {
            let scope = Scope::parse(word);
            if scope.is_err() {
                faults.push(format!("scopes: {word:?} is not a scope"));
            }
            scope.ok()
        });
        let scopes: Scopes = scopes.collect();
        if scopes.is_empty() {
            faults.push("scopes must name at least one scope".to_owned());
        }
        if self
            .servers
            .as_ref()
            .is_some_and(|servers| servers.len() > SERVERS_MAX)
        {
            faults.push(format!("servers must have at most {SERVERS_MAX} entries"));
        }
        match proof {
            Ok((prefix, hashes)) if faults.is_empty() => {
                let caller = Caller {
                    key_id: Some(format!("token:{}", self.name)),
                    name: self.name,
                    scopes,
                    servers: self.servers,
                };
                Ok((prefix, Known { hashes, caller }))
            }
            _ => Err(faults),
        }
    }

    fn proof(&self) -> Result<(KeyPrefix, KeyHashes), &'static str> {
        match (&self.token, &self.prefix, &self.secret_sha256) {
            (Some(token), None, None) => {
                let token = Token::parse(token).map_err(|_| "token is not a token")?;
                Ok((token.prefix(), token.hashes()))
            }
            (None, Some(prefix), Some(digest)) => {
                let prefix = KeyPrefix::parse(prefix).map_err(|_| "prefix must be 8 digits")?;
                let secret = Digest::parse(digest).ok_or("secret_sha256 must be 64 digits")?;
                Ok((prefix, KeyHashes { key: None, secret }))
            }
            _ => Err("needs either token, or prefix and secret_sha256"),
        }
    }
}

#[tonic::async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, credentials: Option<&Credentials>) -> Result<Verdict, Failure> {
        let Some(credentials) = credentials else {
            return Ok(Verdict::Unknown);
        };
        let candidates = self.0.get(credentials.prefix().as_str());
        let candidates = candidates.map_or(&[][..], Vec::as_slice);
        let found = credentials.pick(candidates, |known| &known.hashes);
        Ok(found.map_or(Verdict::Unknown, |known| {
            Verdict::Known(known.caller.clone())
        }))
    }
}

/// A new token, to be shown once, and its entry for the file.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn create(
    name: &str,
    scopes: &[Scope],
    servers: Option<Vec<String>>,
) -> Result<(Token, String), NoRandomness> {
    let token = ApiKey::generate()?.token();
    let entry = Entry {
        name: name.to_owned(),
        prefix: Some(token.prefix().as_str().to_owned()),
        secret_sha256: Some(token.hashes().secret.to_hex()),
        token: None,
        scopes: scopes
            .iter()
            .map(|scope| scope.as_str().to_owned())
            .collect(),
        servers,
    };
    // Strings and lists always have a JSON text.
    let entry = serde_json::to_string(&[entry]).unwrap_or_default();
    Ok((token, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_was_made_is_read_and_shows_no_secret() {
        let (token, entry) = create("jobs", &[Scope::ModelsRead], None).unwrap();
        assert!(!entry.contains(token.expose()));
        let tokens = Tokens::parse(&entry).unwrap();
        assert_eq!(format!("{tokens:?}"), r#"{"jobs"}"#);
        let clear = format!(
            r#"[{{"name":"jobs","token":"{}","scopes":["admin"],"servers":["a"]}}]"#,
            token.expose()
        );
        assert!(Tokens::parse(&clear).is_ok());
    }

    #[test]
    fn every_fault_is_told_at_once_and_none_repeats_a_token() {
        let text = r#"[
            {"name": "a", "token": "sq_secret", "scopes": ["models:read", "everything"]},
            {"name": "b", "prefix": "1", "secret_sha256": "2", "scopes": []},
            {"name": "c", "token": "sq_x", "prefix": "1", "scopes": ["admin"]}
        ]"#;
        let faults = Tokens::parse(text).unwrap_err();
        assert_eq!(faults.len(), 5, "{faults:?}");
        assert!(!faults.concat().contains("sq_secret"));
        for text in ["", "{}", "[]", r#"[{"name": "a", "tok": "sq_secret"}]"#] {
            let faults = Tokens::parse(text).unwrap_err();
            assert!(!faults.concat().contains("sq_secret"), "{faults:?}");
        }
    }
}
