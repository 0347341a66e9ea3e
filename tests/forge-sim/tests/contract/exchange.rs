//! Reads recorded exchanges and compares answers with them.

use std::{fs, path::PathBuf};

use serde_json::{Map, Value};

/// One recorded request and its answer.
pub(crate) struct Exchange {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) request: Option<String>,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Exchange {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/forge")
        .join(name)
}

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    fs::read(fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Reads `NAME.request.json`, `NAME.meta.json` and `NAME.response.txt`.
pub(crate) fn recorded(name: &str) -> Exchange {
    let text = String::from_utf8(bytes(&format!("{name}.response.txt")))
        .unwrap()
        .replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    let meta: Value = serde_json::from_slice(&bytes(&format!("{name}.meta.json"))).unwrap();
    Exchange {
        method: meta["method"].as_str().unwrap_or("POST").to_owned(),
        path: meta["path"]
            .as_str()
            .unwrap_or("/sdapi/v1/txt2img")
            .to_owned(),
        request: fs::read_to_string(fixture(&format!("{name}.request.json"))).ok(),
        status,
        headers,
        body: body.to_owned(),
    }
}

/// The answers of a recorded poll series, in order, with the request each answers.
pub(crate) fn series(name: &str) -> Vec<(Value, Value)> {
    let text = String::from_utf8(bytes(name)).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| (line.clone(), line["json"].clone()))
        .collect()
}

/// Keys in order and JSON types, values left out; of a list the shape of all its members.
pub(crate) fn shape(value: &Value) -> Value {
    match value {
        Value::Null => Value::from("null"),
        Value::Bool(_) => Value::from("bool"),
        Value::Number(number) if number.is_f64() => Value::from("float"),
        Value::Number(_) => Value::from("int"),
        Value::String(_) => Value::from("string"),
        Value::Array(items) => {
            let mut shapes: Vec<Value> = items.iter().map(shape).collect();
            shapes.dedup();
            Value::Array(shapes)
        }
        Value::Object(map) => {
            let shapes: Map<String, Value> = map
                .iter()
                .map(|(key, value)| (key.clone(), shape(value)))
                .collect();
            Value::Object(shapes)
        }
    }
}

/// The entries of a list of states without repeats in a row.
pub(crate) fn changes<T: PartialEq>(states: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut states: Vec<T> = states.into_iter().collect();
    states.dedup();
    states
}
