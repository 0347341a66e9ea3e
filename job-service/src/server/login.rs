//! A user and password of a Forge server: what one may be, and where it was
//! given. Pure. It is shown nowhere.

use std::fmt;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use url::Url;

/// Bytes that a user may have.
pub const USER_BYTES_MAX: usize = 255;
/// Bytes that a password may have.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Which of a server's two logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginKind {
    /// That of the API (`--api-auth`).
    Api,
    /// That of the UI (`--gradio-auth`).
    Ui,
}

impl LoginKind {
    /// The name of its field.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Api => "api_login",
            Self::Ui => "ui_login",
        }
    }

    /// The column that keeps it.
    #[must_use]
    pub fn column(self) -> &'static str {
        match self {
            Self::Api => "api_login_sealed",
            Self::Ui => "ui_login_sealed",
        }
    }
}

/// A user and a password.
#[derive(Clone)]
pub struct ServerLogin {
    user: String,
    password: SecretString,
}

/// What is wrong with one part of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginFault {
    /// `user` or `password`.
    pub part: &'static str,
    /// In words; never the value.
    pub words: String,
}

impl ServerLogin {
    /// A login, or everything that is wrong with it.
    pub fn parse(user: String, password: String) -> Result<Self, Vec<LoginFault>> {
        let password = SecretString::from(password);
        let mut faults = Vec::new();
        let controlled = |text: &str| text.chars().any(char::is_control);
        if user.is_empty() || user.len() > USER_BYTES_MAX || user.contains(':') || controlled(&user)
        {
            faults.push(LoginFault {
                part: "user",
                words: format!(
                    "must have 1 to {USER_BYTES_MAX} bytes without a colon and without control \
                     characters"
                ),
            });
        }
        let secret = password.expose_secret();
        if secret.is_empty() || secret.len() > PASSWORD_BYTES_MAX || controlled(secret) {
            faults.push(LoginFault {
                part: "password",
                words: format!(
                    "must have 1 to {PASSWORD_BYTES_MAX} bytes without control characters"
                ),
            });
        }
        if faults.is_empty() {
            Ok(Self { user, password })
        } else {
            Err(faults)
        }
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password, to be sent.
    #[must_use]
    pub fn password(&self) -> &SecretString {
        &self.password
    }

    /// The login in a URL, which is taken out of it.
    pub(super) fn take_from(url: &mut Url) -> Result<Option<Self>, String> {
        if url.username().is_empty() && url.password().is_none() {
            return Ok(None);
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(String::from);
        let user = decoded(url.username());
        let password = decoded(url.password().unwrap_or_default());
        let (Ok(user), Ok(password)) = (user, password) else {
            return Err("has a user or password that is not UTF-8".to_owned());
        };
        let login = Self::parse(user, password).map_err(|faults| {
            let parts: Vec<String> = faults
                .iter()
                .map(|fault| format!("its {} {}", fault.part, fault.words))
                .collect();
            parts.join("; ")
        })?;
        // Only URLs without a host refuse this.
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        cleared.map_err(|()| "must name a host".to_owned())?;
        Ok(Some(login))
    }
}

impl PartialEq for ServerLogin {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |login: &Self| login.password.expose_secret().as_bytes().to_vec();
        self.user == other.user && bool::from(bytes(self).ct_eq(&bytes(other)))
    }
}

impl fmt::Debug for ServerLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerLogin(***)")
    }
}

/// The one login where it may be given at two places, or why not.
pub fn one_login(
    given: Option<ServerLogin>,
    in_url: Option<ServerLogin>,
) -> Result<Option<ServerLogin>, String> {
    match (given, in_url) {
        (Some(given), Some(in_url)) if given != in_url => {
            Err("differs from the user and password in the URL; give one of them".to_owned())
        }
        (given, in_url) => Ok(given.or(in_url)),
    }
}

/// The logins of a server, ready to be sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logins {
    /// That of its API.
    pub api: Option<ServerLogin>,
    /// That of its UI.
    pub ui: Option<ServerLogin>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: &str, password: &str) -> Result<ServerLogin, Vec<&'static str>> {
        ServerLogin::parse(user.to_owned(), password.to_owned())
            .map_err(|faults| faults.iter().map(|fault| fault.part).collect())
    }

    #[test]
    fn a_login_has_a_user_without_a_colon_and_a_password() {
        assert!(login("u", "p:ss wörd").is_ok());
        assert!(login(&"u".repeat(255), &"p".repeat(1024)).is_ok());
        assert_eq!(login("", "p"), Err(vec!["user"]));
        assert_eq!(login("u:v", "p"), Err(vec!["user"]));
        assert_eq!(login("u", "p\n"), Err(vec!["password"]));
        assert_eq!(
            login(&"u".repeat(256), &"p".repeat(1025)),
            Err(vec!["user", "password"])
        );
    }

    #[test]
    fn a_login_is_not_shown() {
        let login = login("somebody", "hunter2").unwrap();
        assert_eq!(format!("{login:?}"), "ServerLogin(***)");
    }

    #[test]
    fn two_logins_must_be_the_same() {
        let one = login("u", "p").unwrap();
        let other = login("u", "q").unwrap();
        assert_eq!(one_login(None, None), Ok(None));
        for (given, in_url) in [
            (Some(one.clone()), None),
            (None, Some(one.clone())),
            (Some(one.clone()), Some(one.clone())),
        ] {
            assert_eq!(one_login(given, in_url), Ok(Some(one.clone())));
        }
        assert!(one_login(Some(one), Some(other)).is_err());
    }
}
