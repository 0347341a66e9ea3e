//! Owns the settings that can hold secrets and so come from files: the list of
//! servers, the key of their logins, tokens and the first API key. It says what is wrong with
//! them, and never what they hold.

use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use service_kit::auth::Token;

use super::{ServeArgs, servers::parse_servers};
use crate::{keys::BootstrapKey, seal::SealingKey, store::servers::NewServer};

impl ServeArgs {
    /// The servers to register; what is wrong goes to `faults`.
    pub(super) fn server_list(&self, faults: &mut Vec<String>) -> Vec<NewServer> {
        let names = ["--servers", "--servers-file"];
        let (name, text) = match one(names, &self.servers, self.servers_file.as_deref()) {
            Ok(Some(found)) => found,
            Ok(None) => return Vec::new(),
            Err(fault) => {
                faults.push(fault);
                return Vec::new();
            }
        };
        parse_servers(name, text.expose_secret()).unwrap_or_else(|found| {
            faults.extend(found);
            Vec::new()
        })
    }

    /// The key of logins; what is wrong goes to `faults`.
    pub(super) fn credentials_key(&self, faults: &mut Vec<String>) -> Option<SealingKey> {
        let names = ["JOB_SERVICE_CREDENTIALS_KEY", "--credentials-key-file"];
        let file = self.credentials_key_file.as_deref();
        let found = one(names, &self.credentials_key, file).unwrap_or_else(|fault| {
            faults.push(fault);
            None
        });
        let (name, text) = found?;
        SealingKey::parse(text.expose_secret())
            .map_err(|error| faults.push(format!("{name} {error}")))
            .ok()
    }
}

/// The setting that was given, with its name: the text, or else the file.
fn one(
    names: [&'static str; 2],
    text: &Option<SecretString>,
    file: Option<&Path>,
) -> Result<Option<(&'static str, SecretString)>, String> {
    match (text, file) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(format!("give {} or {}, not both", names[0], names[1])),
        (Some(text), None) => Ok(Some((names[0], text.clone()))),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{} {}: {error}", names[1], path.display()))?;
            Ok(Some((names[1], text.into())))
        }
    }
}

/// The token in a file, or why there is none; never a part of it.
pub(super) fn read_token(path: &Path) -> Result<Token, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Token::parse(text.trim()).map_err(|_| format!("{}: holds no token", path.display()))
}

/// The digests of the key in a file, or why there is none; never a part of it.
pub(super) fn read_key(path: &Path) -> Result<BootstrapKey, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    BootstrapKey::parse(text.trim()).map_err(|_| format!("{}: holds no key", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Command, CommandLine};
    use super::*;

    fn serve(arguments: &[&str]) -> ServeArgs {
        let line = ["job-service"].iter().chain(arguments).copied();
        match CommandLine::try_parse_from(line).unwrap().command() {
            Command::Serve(serve) => *serve,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_list_and_the_key_may_come_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let [list, key] = ["servers.json", "key"].map(|name| folder.path().join(name));
        std::fs::write(&list, r#"[{"alias":"a","apiUrl":"http://u:hunter2@h"}]"#).unwrap();
        std::fs::write(&key, "11".repeat(32) + "\n").unwrap();
        let serve = serve(&[
            "--servers-file",
            list.to_str().unwrap(),
            "--credentials-key-file",
            key.to_str().unwrap(),
        ]);
        let config = serve.config().unwrap();
        assert!(config.servers[0].api_login.is_some());
        assert!(config.credentials_key.is_some());
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn neither_is_shown_and_both_ways_at_once_are_refused() {
        let key = "22".repeat(32);
        let list = r#"[{"alias":"a","apiUrl":"http://h","password":5,"username":"hunter2"}]"#;
        let serve = serve(&[
            "--servers",
            list,
            "--servers-file",
            "f",
            "--credentials-key",
            &key,
            "--credentials-key-file",
            "f",
        ]);
        let shown = format!("{serve:?}");
        let faults = serve.config().unwrap_err();
        for text in [&shown, &faults] {
            assert!(
                !text.contains("hunter2") && !text.contains("2222"),
                "{text}"
            );
        }
        for part in ["--servers or", "JOB_SERVICE_CREDENTIALS_KEY or"] {
            assert!(faults.contains(part), "{part}: {faults}");
        }
    }
}
