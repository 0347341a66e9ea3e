//! Owns how the settings of a program are shown: every one of them, from the
//! same definition that reads them, with what is secret masked. It does not own
//! the settings nor their checks.
//!
//! A text is masked unless the program says how to show it, so that a setting
//! that comes later is masked until somebody has thought about it.

use std::any::TypeId;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value, json};

/// What is printed in place of a secret.
pub const MASK: &str = "***";

/// How the text of a setting is shown. Numbers, switches, addresses and paths
/// are shown as they are, and every text that is not spoken of is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// As it is: it cannot hold a secret.
    Text,
    /// As a URL without its user, password and query.
    Url,
    /// As a JSON list of objects, of which these members are shown, URLs as URLs.
    Objects(&'static [&'static str]),
}

/// Every setting of a sub-command as one JSON object: name to `value` (null
/// when absent), `source` (`default`, `environment` or `flag`), and the flag
/// and variable that set it.
///
/// # Errors
/// What clap says of a command line that it does not take, or that is not one
/// of `subcommand`.
pub fn settings(
    mut command: Command,
    subcommand: &str,
    line: impl IntoIterator<Item = OsString>,
    shown: &[(&str, Shown)],
) -> Result<Value, clap::Error> {
    let matches = command.try_get_matches_from_mut(line)?;
    let wrong = || clap::Error::new(clap::error::ErrorKind::InvalidSubcommand);
    let matches = matches.subcommand_matches(subcommand).ok_or_else(wrong)?;
    let arguments = command.find_subcommand(subcommand).ok_or_else(wrong)?;
    let settings = arguments
        .get_arguments()
        .filter(|argument| is_setting(argument))
        .map(|argument| {
            let id = argument.get_id().as_str();
            (id.to_owned(), row(argument, matches, how(id, shown)))
        });
    Ok(Value::Object(settings.collect()))
}

fn is_setting(argument: &Arg) -> bool {
    !matches!(
        argument.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    )
}

fn how(id: &str, shown: &[(&str, Shown)]) -> Option<Shown> {
    let found = shown.iter().find(|(name, _)| *name == id);
    found.map(|(_, how)| *how)
}

fn row(argument: &Arg, matches: &ArgMatches, how: Option<Shown>) -> Value {
    let id = argument.get_id().as_str();
    let harmless = holds_no_text(argument);
    let shown: Vec<Value> = matches
        .get_raw(id)
        .into_iter()
        .flatten()
        .map(|raw| {
            let text = raw.to_string_lossy();
            if harmless {
                Value::from(text)
            } else {
                how.map_or_else(|| Value::from(MASK), |how| show(&text, how))
            }
        })
        .collect();
    let value = match <[Value; 1]>::try_from(shown) {
        Ok([single]) => single,
        Err(none) if none.is_empty() => Value::Null,
        Err(several) => Value::Array(several),
    };
    let source = match matches.value_source(id) {
        Some(ValueSource::EnvVariable) => "environment",
        Some(ValueSource::CommandLine) => "flag",
        _ => "default",
    };
    let variable = argument.get_env().map(|name| name.to_string_lossy());
    json!({
        "value": value,
        "source": source,
        "flag": argument.get_long().map(|long| format!("--{long}")),
        "variable": variable,
    })
}

/// Whether the values are of a type that no secret fits in.
fn holds_no_text(argument: &Arg) -> bool {
    let values = argument.get_value_parser().type_id();
    [
        TypeId::of::<bool>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<SocketAddr>(),
        TypeId::of::<PathBuf>(),
    ]
    .iter()
    .any(|harmless| values == *harmless)
}

fn show(text: &str, how: Shown) -> Value {
    match how {
        Shown::Text => Value::from(text),
        Shown::Url => Value::from(masked_url(text)),
        Shown::Objects(members) => match serde_json::from_str(text) {
            Ok(Value::Array(entries)) => entries
                .into_iter()
                .map(|entry| masked_entry(entry, members))
                .collect(),
            _ => Value::from(MASK),
        },
    }
}

fn masked_entry(entry: Value, members: &[&str]) -> Value {
    let Value::Object(entry) = entry else {
        return Value::from(MASK);
    };
    let masked: Map<String, Value> = entry
        .into_iter()
        .map(|(name, value)| {
            let shown = match value {
                Value::String(text) if members.contains(&name.as_str()) => masked_url(&text).into(),
                Value::Null => Value::Null,
                _ => MASK.into(),
            };
            (name, shown)
        })
        .collect();
    Value::Object(masked)
}

/// A URL, or a text that was to be one, without its user and password and
/// without its query. Nothing before the last `@` is taken for harmless, since a
/// password that was not encoded can hold every other character.
fn masked_url(text: &str) -> String {
    let (scheme, rest) = match text.find("://") {
        Some(at) => text.split_at(at + "://".len()),
        None => ("", text),
    };
    let (login, rest) = match rest.rfind('@') {
        Some(at) => (MASK, &rest[at..]),
        None => ("", rest),
    };
    match rest.find(['?', '#']) {
        Some(at) => format!("{scheme}{login}{}{MASK}", &rest[..=at]),
        None => format!("{scheme}{login}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Command {
        let text = |name: &'static str| Arg::new(name).long(name);
        Command::new("program").subcommand(
            Command::new("print-config")
                .arg(text("plain").default_value("word"))
                .arg(text("url").env("SETTINGS_TEST_URL"))
                .arg(text("list"))
                .arg(text("later"))
                .arg(text("several").action(ArgAction::Append))
                .arg(text("number").value_parser(clap::value_parser!(u32)))
                .arg(text("path").value_parser(clap::value_parser!(PathBuf))),
        )
    }

    const SHOWN: [(&str, Shown); 4] = [
        ("plain", Shown::Text),
        ("url", Shown::Url),
        ("list", Shown::Objects(&["alias", "url"])),
        ("several", Shown::Text),
    ];

    fn shown(line: &[&str]) -> Value {
        let line = ["program", "print-config"].iter().chain(line);
        settings(program(), "print-config", line.map(OsString::from), &SHOWN).unwrap()
    }

    #[test]
    fn every_setting_is_there_with_its_source_flag_and_variable() {
        let all = shown(&["--number", "7"]);
        let names: Vec<&str> = all
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let declared = ["plain", "url", "list", "later", "several", "number", "path"];
        assert_eq!(names, declared);
        assert_eq!(all["plain"]["value"], "word");
        assert_eq!(all["plain"]["source"], "default");
        assert_eq!(all["number"]["value"], "7");
        assert_eq!(all["number"]["source"], "flag");
        assert_eq!(all["url"]["value"], Value::Null);
        assert_eq!(all["url"]["variable"], "SETTINGS_TEST_URL");
        assert_eq!(all["path"]["flag"], "--path");
    }

    #[test]
    fn a_text_that_nobody_spoke_of_is_masked() {
        let all = shown(&[
            "--later",
            "hunter2",
            "--path",
            "/etc/secret",
            "--several",
            "a",
            "--several",
            "b",
        ]);
        assert_eq!(all["later"]["value"], MASK);
        assert_eq!(all["path"]["value"], "/etc/secret");
        assert_eq!(all["several"]["value"], json!(["a", "b"]));
    }

    #[test]
    fn no_login_and_no_query_of_a_url_is_shown() {
        for (url, masked) in [
            ("http://host:1/path", "http://host:1/path"),
            ("http://user:hunter2@host", "http://***@host"),
            ("http://user:hun@ter2/@host/x", "http://***@host/x"),
            ("user:hunter2@host", "***@host"),
            ("http://host/?token=hunter2", "http://host/?***"),
            ("http://host#hunter2", "http://host#***"),
        ] {
            assert_eq!(masked_url(url), masked);
        }
    }

    #[test]
    fn of_a_list_only_the_members_that_are_named_are_shown() {
        let list = r#"[{"alias":"a","url":"http://u:hunter2@h","auth":{"password":"hunter2"},"password":"hunter2","usage":null},"hunter2"]"#;
        assert_eq!(
            shown(&["--list", list])["list"]["value"],
            json!([{"alias": "a", "url": "http://***@h", "auth": MASK, "password": MASK, "usage": null}, MASK])
        );
        for broken in [
            "hunter2",
            r#"{"password":"hunter2"}"#,
            r#"[{"password":"hunter2""#,
        ] {
            assert_eq!(shown(&["--list", broken])["list"]["value"], MASK);
        }
    }
}
