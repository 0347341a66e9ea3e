//! What a Forge server is to us: its settings and what may be said of its
//! health. Pure; asking it is the monitor's work, keeping it the store's.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use url::Url;

use crate::seal::Sealed;

mod login;

pub use login::{
    LoginFault, LoginKind, Logins, PASSWORD_BYTES_MAX, ServerLogin, USER_BYTES_MAX, one_login,
};

/// Bytes that an alias may have.
pub const ALIAS_BYTES_MAX: usize = 63;

/// Who else uses a Forge server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Usage {
    /// Only StableQueue.
    Dedicated,
    /// Its owner uses it too.
    Shared,
}

impl Usage {
    /// Its text in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dedicated => "dedicated",
            Self::Shared => "shared",
        }
    }

    /// The usage with this text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "dedicated" => Some(Self::Dedicated),
            "shared" => Some(Self::Shared),
            _ => None,
        }
    }
}

/// How a server is, as its monitor last found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Not probed yet.
    Unknown,
    /// Answers and can take jobs.
    Healthy,
    /// Does not answer.
    Unreachable,
    /// Refuses our credentials.
    Unauthenticated,
    /// Answers, but has no `/sdapi`.
    ApiMissing,
    /// Answers something that is not Forge's.
    NotForge,
}

impl Health {
    /// Its text in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unreachable => "unreachable",
            Self::Unauthenticated => "unauthenticated",
            Self::ApiMissing => "api_missing",
            Self::NotForge => "not_forge",
        }
    }
}

/// A registered Forge server.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Its name, which never changes.
    pub alias: String,
    /// Where its API is, without a slash at the end.
    pub base_url: String,
    /// Who else uses it.
    pub usage: Usage,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is used at all.
    pub enabled: bool,
    /// Whether it is kept from taking further jobs.
    pub cordoned: bool,
    /// Why.
    pub cordon_reason: String,
    /// Whether a cancel may stop what runs there although the server cannot
    /// say whose it is.
    pub interrupts_allowed: bool,
    /// The options read from it before our first job there.
    pub baseline: Option<Map<String, Value>>,
    /// What its API asks for, encrypted.
    pub api_login: Option<Sealed>,
    /// What its UI asks for, encrypted.
    pub ui_login: Option<Sealed>,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When its settings last changed.
    pub updated_at: DateTime<Utc>,
    /// Grows with every change of its settings.
    pub revision: i32,
}

/// What is wrong with an alias, in words; `None` when nothing is.
#[must_use]
pub fn alias_fault(alias: &str) -> Option<String> {
    let first_ok = alias
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest_ok = alias
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    (!first_ok || !rest_ok || alias.len() > ALIAS_BYTES_MAX).then(|| {
        format!(
            "must be 1 to {ALIAS_BYTES_MAX} letters, digits, dots, underscores or hyphens, \
             beginning with a letter or digit"
        )
    })
}

/// The base URL without a slash at its end, or what is wrong with it.
pub fn parse_base_url(text: &str) -> Result<String, String> {
    match parse_server_url(text)? {
        (url, None) => Ok(url),
        (_, Some(_)) => Err("must not carry a user or password".to_owned()),
    }
}

/// The base URL of a Forge server and the login that was written into it, or
/// what is wrong with it; never a part of the login.
pub fn parse_server_url(text: &str) -> Result<(String, Option<ServerLogin>), String> {
    let mut url = Url::parse(text)
        .map_err(|error| format!("must be a URL such as http://10.0.0.5:7860 ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err("must begin with http:// or https:// and name a host".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must have neither query nor fragment".to_owned());
    }
    let login = ServerLogin::take_from(&mut url)?;
    Ok((url.as_str().trim_end_matches('/').to_owned(), login))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_short_and_plain() {
        assert_eq!(alias_fault("gpu-1.a_b"), None);
        for bad in ["", "-a", "a b", "ü", &"a".repeat(64)] {
            assert!(alias_fault(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn a_base_url_is_http_without_extras() {
        assert_eq!(
            parse_base_url("http://127.0.0.1:7860/").as_deref(),
            Ok("http://127.0.0.1:7860")
        );
        assert_eq!(
            parse_base_url("https://gpu.example/forge/").as_deref(),
            Ok("https://gpu.example/forge")
        );
        for bad in [
            "",
            "gpu",
            "ftp://x",
            "http://u:p@x",
            "http://x/?a=1",
            "http://x/#a",
        ] {
            assert!(parse_base_url(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_login_is_taken_out_of_a_server_url() {
        let login = |user: &str, password: &str| {
            ServerLogin::parse(user.to_owned(), password.to_owned()).unwrap()
        };
        for (text, user, password) in [
            ("http://u:p@gpu:7860/", "u", "p"),
            (
                "http://some%40body:p%3Aw%20%C3%B6@gpu:7860",
                "some@body",
                "p:w ö",
            ),
        ] {
            let parsed = parse_server_url(text).unwrap();
            let wanted = ("http://gpu:7860".to_owned(), Some(login(user, password)));
            assert_eq!(parsed, wanted, "{text}");
        }
        assert_eq!(
            parse_server_url("http://gpu"),
            Ok(("http://gpu".to_owned(), None))
        );
        for bad in [
            "http://u@gpu",
            "http://:hunter2@gpu",
            "http://u%3Av:hunter2@gpu",
            "http://u:hunter2%00@gpu",
            "http://u:hunter2%ff@gpu",
            "http://u:hunter2@",
            "ftp://u:hunter2@gpu",
            "http://u:hunter2@gpu/?q",
            "http://u:hunter2@gp u",
        ] {
            let fault = parse_server_url(bad).unwrap_err();
            assert!(!fault.contains("hunter2"), "{bad}: {fault}");
        }
    }
}
