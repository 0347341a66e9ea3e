//! Writes infotexts and the `info` object as Forge does (forge/infotext.md, sections 1 and 2): key order, quoting,
//! Python's number and JSON formats.

use std::io;

use serde::Serialize;
use serde_json::{Value, ser::Formatter};

/// Version string of the Forge commit the stand-in follows.
pub(crate) const VERSION: &str = "f2.0.1v1.10.1-previous-669-gdfdcbab6";

/// The text for one image: prompts and the parameter line. Entries without value are left out.
pub(crate) fn infotext(
    prompt: &str,
    negative: &str,
    entries: &[(String, Option<String>)],
) -> String {
    let line: Vec<String> = entries
        .iter()
        .filter_map(|(key, value)| Some((key, value.as_ref()?)))
        .map(|(key, value)| {
            if key == value {
                key.clone()
            } else {
                format!("{key}: {}", quote(value))
            }
        })
        .collect();
    let negative = if negative.is_empty() {
        String::new()
    } else {
        format!("\nNegative prompt: {negative}")
    };
    format!("{prompt}{negative}\n{}", line.join(", "))
        .trim()
        .to_owned()
}

/// A value is quoted only if it would not read back.
fn quote(value: &str) -> String {
    if value.contains([',', ':', '\n']) {
        Value::from(value).to_string()
    } else {
        value.to_owned()
    }
}

/// `str()` of a Python float: always with a point or an exponent of two digits.
pub(crate) fn python_float(number: f64) -> String {
    let text = format!("{number:?}");
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return text;
    };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// `json.dumps` with its defaults: blanks after `,` and `:`, everything beyond ASCII escaped.
pub(crate) fn python_json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, PythonFormat);
    value
        .serialize(&mut serializer)
        .expect("writing JSON to memory cannot fail");
    String::from_utf8(bytes).expect("the formatter writes ASCII")
}

struct PythonFormat;

impl Formatter for PythonFormat {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for character in fragment.chars() {
            if character.is_ascii() {
                write!(writer, "{character}")?;
                continue;
            }
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

/// Cuts `# …` comments out of a prompt (option `enable_prompt_comments`).
pub(crate) fn without_comments(prompt: &str) -> String {
    if !prompt.contains('#') {
        return prompt.to_owned();
    }
    let lines = prompt.split('\n').filter(|line| !line.starts_with('#'));
    let cut = lines.map(|line| line.split_once('#').map_or(line, |(text, _)| text));
    cut.collect::<Vec<_>>().join("\n")
}

/// Names in `<lora:name:weight>` tokens, in order, once each.
pub(crate) fn lora_names(prompt: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for part in prompt.split("<lora:").skip(1) {
        let Some((inside, _)) = part.split_once('>') else {
            continue;
        };
        let name = inside.split(':').next().unwrap_or(inside);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{infotext, lora_names, python_float, python_json, without_comments};

    fn entry(key: &str, value: &str) -> (String, Option<String>) {
        (key.to_owned(), Some(value.to_owned()))
    }

    #[test]
    fn a_value_with_a_comma_is_quoted_and_an_empty_negative_has_no_line() {
        let text = infotext(
            "a cat",
            "",
            &[entry("Steps", "2"), entry("Lora hashes", "a: 1, b: 2")],
        );
        assert_eq!(text, "a cat\nSteps: 2, Lora hashes: \"a: 1, b: 2\"");
    }

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        let written = [7.0, 5.5, 0.0001, 0.00001, 1e16].map(python_float);
        assert_eq!(written, ["7.0", "5.5", "0.0001", "1e-05", "1e+16"]);
    }

    #[test]
    fn json_has_blanks_and_only_ascii() {
        assert_eq!(
            python_json(&json!({ "a": ["é", 1, "😀"] })),
            r#"{"a": ["\u00e9", 1, "\ud83d\ude00"]}"#
        );
    }

    #[test]
    fn comments_leave_the_prompt_and_lora_names_are_found_once() {
        assert_eq!(
            without_comments("a cat # sleepy\n# whole line\non a mat"),
            "a cat \non a mat"
        );
        assert_eq!(lora_names("<lora:a:0.8> x <lora:b> <lora:a:1>"), ["a", "b"]);
    }
}
