//! Owns the list of Forge servers as the command line and the earlier
//! application write it. It does not register them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    server::{ServerLogin, Usage, alias_fault, one_login, parse_server_url},
    store::servers::NewServer,
};

/// One entry of the list of servers, in any of the shapes that the earlier
/// application wrote: `auth` null or an object, or `username` and `password`
/// beside the URL.
#[derive(Deserialize)]
struct Entry {
    alias: String,
    #[serde(rename = "apiUrl", alias = "base_url", alias = "url")]
    api_url: String,
    #[serde(default)]
    usage: Option<String>,
    #[serde(default)]
    auth: Option<Auth>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
}

#[derive(Deserialize)]
struct Auth {
    username: String,
    password: String,
}

/// The servers of a list, or everything that is wrong with it, as faults of the
/// setting `name`.
pub(super) fn parse_servers(name: &str, text: &str) -> Result<Vec<NewServer>, Vec<String>> {
    // The words of serde quote what is wrong, which may be a password.
    let entries: Vec<Entry> = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        vec![format!(
            "{name} is not a list of servers: what is at line {line}, column {column} does not fit"
        )]
    })?;
    let mut faults = Vec::new();
    let mut servers = Vec::new();
    for (at, entry) in entries.into_iter().enumerate() {
        match parse_entry(entry) {
            Ok(server) => servers.push(server),
            Err(found) => {
                let found = found.into_iter();
                faults.extend(found.map(|fault| format!("{name}[{at}] {fault}")));
            }
        }
    }
    if faults.is_empty() {
        Ok(servers)
    } else {
        Err(faults)
    }
}

/// The servers of the earlier application's own file as far as they are sound,
/// and what is wrong with the others.
///
/// # Errors
/// Where the file is no list at all; what it holds is not told.
pub(crate) fn parse_older_servers(text: &str) -> Result<(Vec<NewServer>, Vec<String>), String> {
    let entries: Vec<Value> = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("is not a list of servers: what is at line {line}, column {column} does not fit")
    })?;
    let (mut servers, mut faults) = (Vec::new(), Vec::new());
    for (at, entry) in entries.into_iter().enumerate() {
        let parsed = match Entry::deserialize(entry) {
            Ok(entry) => parse_entry(entry),
            Err(_) => Err(vec!["does not fit".to_owned()]),
        };
        match parsed {
            Ok(server) => servers.push(server),
            Err(found) => faults.push(format!("[{at}] {}", found.join("; "))),
        }
    }
    Ok((servers, faults))
}

fn parse_entry(entry: Entry) -> Result<NewServer, Vec<String>> {
    let Entry {
        alias,
        api_url,
        usage,
        auth,
        username,
        password,
    } = entry;
    let mut faults = Vec::new();
    if let Some(fault) = alias_fault(&alias) {
        faults.push(format!("alias {fault}"));
    }
    let (base_url, in_url) = parse_server_url(&api_url).unwrap_or_else(|fault| {
        faults.push(format!("apiUrl {fault}"));
        (String::new(), None)
    });
    let usage = match usage.as_deref() {
        None => Usage::Dedicated,
        Some(text) => Usage::parse(text).unwrap_or_else(|| {
            faults.push(format!("usage {text:?} is neither dedicated nor shared"));
            Usage::Dedicated
        }),
    };
    let auth = auth.filter(|auth| !(auth.username.is_empty() && auth.password.is_empty()));
    let auth = auth.and_then(|auth| login("auth", auth.username, auth.password, &mut faults));
    let empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
    let beside = if empty(&username) && empty(&password) {
        None
    } else {
        let [user, password] = [username, password].map(Option::unwrap_or_default);
        login("username or password:", user, password, &mut faults)
    };
    let api_login = one_login(auth, beside)
        .and_then(|given| one_login(given, in_url))
        .unwrap_or_else(|fault| {
            faults.push(format!("has two logins: one {fault}"));
            None
        });
    if faults.is_empty() {
        Ok(NewServer {
            alias,
            base_url,
            usage,
            labels: BTreeMap::new(),
            enabled: true,
            interrupts_allowed: false,
            api_login,
            ui_login: None,
        })
    } else {
        Err(faults)
    }
}

fn login(
    path: &str,
    user: String,
    password: String,
    faults: &mut Vec<String>,
) -> Option<ServerLogin> {
    ServerLogin::parse(user, password)
        .map_err(|found| {
            let found = found.into_iter();
            faults.extend(found.map(|fault| format!("{path} {} {}", fault.part, fault.words)));
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<NewServer>, Vec<String>> {
        parse_servers("--servers", text)
    }

    #[test]
    fn the_list_of_the_earlier_application_is_taken() {
        let login = ServerLogin::parse("u".to_owned(), "p".to_owned()).unwrap();
        for (rest, wanted) in [
            (r#","auth":null"#, None),
            ("", None),
            (r#","username":"","password":null"#, None),
            (r#","auth":{"username":"","password":""}"#, None),
            (r#","auth":{"username":"u","password":"p"}"#, Some(&login)),
            (
                r#","username":"u","password":"p","auth":null"#,
                Some(&login),
            ),
        ] {
            let text = format!(r#"[{{"alias":"Laptop","apiUrl":"http://127.0.0.1:7861/"{rest}}}]"#);
            let servers = parse(&text).unwrap();
            assert_eq!(servers[0].base_url, "http://127.0.0.1:7861");
            assert_eq!(servers[0].usage, Usage::Dedicated);
            assert_eq!(servers[0].api_login.as_ref(), wanted, "{text}");
        }
        let servers = parse(r#"[{"alias":"a","apiUrl":"http://u:p@h:1/"}]"#).unwrap();
        assert_eq!(servers[0].base_url, "http://h:1");
        assert_eq!(servers[0].api_login.as_ref(), Some(&login));
    }

    #[test]
    fn of_the_earlier_file_every_sound_entry_is_taken() {
        let text = r#"[{"alias":"a","apiUrl":"http://h:1","auth":null,"modelRootPath":"/m"},
            {"alias":"","apiUrl":"http://h:2"},
            {"alias":"c","apiUrl":"http://h:3","auth":{"username":"u","password":7777777}},
            "hunter2", {"alias":"e","apiUrl":"http://h:5","username":"u","password":"p"}]"#;
        let (servers, faults) = parse_older_servers(text).unwrap();
        let aliases: Vec<&str> = servers.iter().map(|server| &*server.alias).collect();
        assert_eq!(aliases, ["a", "e"]);
        assert!(servers[1].api_login.is_some());
        assert_eq!(faults.len(), 3, "{faults:?}");
        for (fault, place) in faults.iter().zip(["[1] alias", "[2] ", "[3] "]) {
            assert!(fault.starts_with(place), "{fault}");
            assert!(
                !fault.contains("777") && !fault.contains("hunter2"),
                "{fault}"
            );
        }
        for text in ["", "{}", "[{", "\"hunter2\""] {
            let fault = parse_older_servers(text).unwrap_err();
            assert!(
                fault.contains("line") && !fault.contains("hunter2"),
                "{fault}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_login_is_told_without_it() {
        for (rest, wanted) in [
            (
                r#","auth":{"username":"u:v","password":"hunter2"}"#,
                "auth user",
            ),
            (
                r#","auth":{"username":"u","password":7777777}"#,
                "does not fit",
            ),
            (r#","auth":"u:hunter2""#, "does not fit"),
            (r#","password":"hunter2""#, "username or password: user"),
            (
                r#","auth":{"username":"u","password":"hunter2"},"username":"u","password":"p""#,
                "two logins",
            ),
        ] {
            let text = format!(r#"[{{"alias":"a","apiUrl":"http://h"{rest}}}]"#);
            let faults = parse(&text).unwrap_err().join("\n");
            assert!(faults.contains(wanted), "{text}: {faults}");
            assert!(
                !faults.contains("hunter2") && !faults.contains("777"),
                "{faults}"
            );
        }
    }
}
