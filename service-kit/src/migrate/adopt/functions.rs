//! The functions that expressions of an [`super::AdoptedTable`] may use, written in Rust and
//! called by SQLite. Values of any storage class go in; what cannot be understood comes out NULL.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Binary, Nullable};
use sha2::{Digest, Sha256};

use crate::clock::to_text;

/// Seconds below which a number cannot be meant as milliseconds: a date after 5138 in seconds, one
/// of 1973 in milliseconds.
const SECONDS_MAX: f64 = 1e11;

#[diesel::declare_sql_function]
extern "SQL" {
    /// The value as text that is valid UTF-8.
    fn adopt_text(value: Nullable<Binary>) -> Nullable<Text>;
    /// A time in any of the older formats, as the jobs database writes it.
    fn adopt_time(value: Nullable<Binary>) -> Nullable<Text>;
    /// A time in any of the older formats, as the models database writes it.
    fn adopt_seconds(value: Nullable<Binary>) -> Nullable<Text>;
    /// The time of the adoption.
    fn adopt_now() -> Text;
    /// SHA-256 in lower-case hex.
    fn adopt_sha256(value: Nullable<Binary>) -> Nullable<Text>;
    /// 1 or 0 from a number or a word, else NULL.
    fn adopt_flag(value: Nullable<Binary>) -> Nullable<Integer>;
    /// A new id.
    fn adopt_id() -> Text;
    /// The text; NULL where it is empty or the word `none`.
    fn adopt_word(value: Nullable<Binary>) -> Nullable<Text>;
    /// As `adopt_word`, and whole numbers without the `.0` that some were written with.
    fn adopt_whole(value: Nullable<Binary>) -> Nullable<Text>;
    /// The last part of a path of either system.
    fn adopt_file(value: Nullable<Binary>) -> Nullable<Text>;
    /// The path of a file from its folder and its name, of either system.
    fn adopt_join(folder: Nullable<Binary>, file: Nullable<Binary>) -> Nullable<Text>;
    /// The name of a file without its folders, of either system, and without its ending.
    fn adopt_stem(value: Nullable<Binary>) -> Nullable<Text>;
}

/// Makes the functions known to a connection.
pub(super) fn register(connection: &mut SqliteConnection, now: DateTime<Utc>) -> QueryResult<()> {
    adopt_text_utils::register_impl(connection, |value: Option<Vec<u8>>| value.map(text))?;
    adopt_time_utils::register_impl(connection, |value: Option<Vec<u8>>| {
        value.and_then(|value| time(&text(value))).map(to_text)
    })?;
    adopt_seconds_utils::register_impl(connection, |value: Option<Vec<u8>>| {
        value
            .and_then(|value| time(&text(value)))
            .map(|time| time.format("%Y-%m-%d %H:%M:%S").to_string())
    })?;
    adopt_now_utils::register_impl(connection, move || to_text(now))?;
    adopt_sha256_utils::register_impl(connection, |value: Option<Vec<u8>>| {
        value.map(|value| hex::encode(Sha256::digest(value)))
    })?;
    adopt_flag_utils::register_impl(connection, |value: Option<Vec<u8>>| {
        value.and_then(|value| flag(&text(value)))
    })?;
    adopt_word_utils::register_impl(connection, |value: Option<Vec<u8>>| {
        value.and_then(|value| word(text(value)))
    })?;
    adopt_whole_utils::register_impl(connection, |value: Option<Vec<u8>>| {
        value.and_then(|value| word(text(value))).map(whole)
    })?;
    adopt_stem_utils::register_impl(connection, |value: Option<Vec<u8>>| {
        value.and_then(|value| stem(&text(value)))
    })?;
    adopt_file_utils::register_impl(connection, |value: Option<Vec<u8>>| {
        value.and_then(|value| file(&text(value)))
    })?;
    adopt_join_utils::register_impl(
        connection,
        |folder: Option<Vec<u8>>, file: Option<Vec<u8>>| match (folder, file) {
            (Some(folder), Some(file)) => Some(join(&text(folder), &text(file))),
            (one, other) => one.or(other).map(text),
        },
    )?;
    adopt_id_utils::register_nondeterministic_impl(connection, move || {
        let at = uuid::Timestamp::from_unix(
            uuid::NoContext,
            u64::try_from(now.timestamp()).unwrap_or(0),
            now.timestamp_subsec_nanos(),
        );
        uuid::Uuid::new_v7(at).to_string()
    })?;
    Ok(())
}

fn text(value: Vec<u8>) -> String {
    String::from_utf8(value)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// ISO 8601 with or without zone and fraction, `YYYY-MM-DD HH:MM:SS` (UTC), a date, or seconds or
/// milliseconds since 1970.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return within_four_digits(time.with_timezone(&Utc));
    }
    for format in [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
    ] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return within_four_digits(time.and_utc());
        }
    }
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return within_four_digits(date.and_hms_opt(0, 0, 0)?.and_utc());
    }
    let number: f64 = text.parse().ok().filter(|number: &f64| *number > 0.0)?;
    let ms = if number < SECONDS_MAX {
        number * 1000.0
    } else {
        number
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float saturates; the range is checked"
    )]
    within_four_digits(DateTime::from_timestamp_millis(ms as i64)?)
}

/// Only years of four digits keep text order and time order the same.
fn within_four_digits(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    use chrono::Datelike as _;
    (1..=9999).contains(&time.year()).then_some(time)
}

fn flag(text: &str) -> Option<i32> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(1),
        "false" | "no" | "off" | "" => Some(0),
        number => number
            .parse()
            .ok()
            .map(|number: f64| i32::from(number != 0.0)),
    }
}

fn word(text: String) -> Option<String> {
    let said = text.trim();
    (!said.is_empty() && !said.eq_ignore_ascii_case("none")).then_some(text)
}

fn whole(text: String) -> String {
    match text.trim().strip_suffix(".0") {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.to_owned(),
        _ => text,
    }
}

/// Between the parts of a path, of either system.
const SLASHES: [char; 2] = ['/', '\\'];

fn file(path: &str) -> Option<String> {
    let name = path.rsplit(SLASHES).next().unwrap_or(path).trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// A folder can be the whole path already, and `.` is where the file is found.
fn join(folder: &str, file: &str) -> String {
    let last = file.rsplit(SLASHES).next().unwrap_or(file);
    let plain = folder.trim_end_matches(SLASHES);
    if file.is_empty() || (!last.is_empty() && folder.rsplit(SLASHES).next() == Some(last)) {
        return folder.to_owned();
    }
    if plain.is_empty() || plain == "." {
        let rooted = plain.is_empty() && !folder.is_empty();
        return if rooted {
            format!("/{file}")
        } else {
            file.to_owned()
        };
    }
    let slash = if plain.contains('\\') && !plain.contains('/') {
        '\\'
    } else {
        '/'
    };
    format!("{plain}{slash}{file}")
}

fn stem(path: &str) -> Option<String> {
    let name = path.rsplit(SLASHES).next().unwrap_or(path);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem).trim();
    (!stem.is_empty()).then(|| stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_older_format_of_a_time_is_read() {
        for text in [
            "2025-06-20T08:05:09.000Z",
            "2025-06-20T10:05:09+02:00",
            "2025-06-20T08:05:09",
            "2025-06-20 08:05:09",
            "1750406709000",
            "1750406709",
            " 1750406709.0 ",
        ] {
            let read = time(text).map(to_text);
            assert_eq!(read.as_deref(), Some("2025-06-20T08:05:09.000Z"), "{text}");
        }
        assert!(time("2025-06-20").is_some());
        for text in [
            "",
            "banana",
            "-5",
            "NaN",
            "inf",
            "1e300",
            "+12025-01-01T00:00:00Z",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn words_ids_and_stems() {
        assert_eq!(word(" none ".to_owned()), None);
        assert_eq!(word("nonesuch".to_owned()).as_deref(), Some("nonesuch"));
        assert_eq!(whole("333444.0".to_owned()), "333444");
        assert_eq!(whole("3.5".to_owned()), "3.5");
        assert_eq!(stem("a\\b/c.d.safetensors").as_deref(), Some("c.d"));
        assert_eq!(stem("x/"), None);
    }

    #[test]
    fn paths_are_put_together_as_their_system_does() {
        for (folder, name, expected) in [
            ("/srv/m", "a.ckpt", "/srv/m/a.ckpt"),
            ("/srv/m/", "a.ckpt", "/srv/m/a.ckpt"),
            ("/srv/m/a.ckpt", "a.ckpt", "/srv/m/a.ckpt"),
            (".", "Flux\\a.ckpt", "Flux\\a.ckpt"),
            ("", "a.ckpt", "a.ckpt"),
            ("/", "a.ckpt", "/a.ckpt"),
            ("C:\\m", "a.ckpt", "C:\\m\\a.ckpt"),
            ("/srv/m", "", "/srv/m"),
        ] {
            assert_eq!(join(folder, name), expected, "{folder} and {name}");
        }
        assert_eq!(file("Flux\\a.ckpt").as_deref(), Some("a.ckpt"));
        assert_eq!(file("a/"), None);
    }

    #[test]
    fn flags_are_numbers_or_words() {
        for (text, expected) in [
            ("1", Some(1)),
            ("0", Some(0)),
            ("true", Some(1)),
            ("2.5", Some(1)),
            ("?", None),
        ] {
            assert_eq!(flag(text), expected, "{text}");
        }
    }

    #[test]
    fn text_that_is_not_utf8_becomes_text() {
        assert_eq!(text(vec![b'a', 0xff]), "a\u{fffd}");
    }
}
