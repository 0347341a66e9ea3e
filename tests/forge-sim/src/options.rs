//! Forge's options: recorded defaults, the values stored in the process, what an override changes and what its
//! restore forgets (the leak), and `config.json`.

use std::{fs, path::Path, sync::OnceLock};

use anyhow::Context;
use serde_json::{Map, Value};

use crate::{
    errors::{Failure, python_repr},
    models::Models,
};

/// All option names with their defaults, from exchange 01/options.
const RECORDED: &str = include_str!("recorded/options.json");
const CHECKPOINT: &str = "sd_model_checkpoint";
const CHECKPOINT_HASH: &str = "sd_checkpoint_hash";
const MODULES: &str = "forge_additional_modules";

/// The options of one process. `data` holds what config.json had and what was set since; only keys in it are
/// restored after an override.
#[derive(Debug, Default)]
pub(crate) struct Options {
    data: Map<String, Value>,
}

fn defaults() -> &'static Map<String, Value> {
    static DEFAULTS: OnceLock<Map<String, Value>> = OnceLock::new();
    DEFAULTS.get_or_init(|| {
        let mut recorded: Map<String, Value> =
            serde_json::from_str(RECORDED).expect("the recorded options are JSON");
        recorded[CHECKPOINT] = Value::Null;
        recorded
    })
}

impl Options {
    /// Options at start: config.json if there, else those of a fresh install.
    pub(crate) fn boot(
        config_file: &Path,
        fresh: &Map<String, Value>,
        checkpoint: &str,
    ) -> anyhow::Result<Self> {
        let mut data = match fs::read(config_file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is no JSON object", config_file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => fresh.clone(),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot read {}", config_file.display()));
            }
        };
        for (key, value) in [(CHECKPOINT, checkpoint), (CHECKPOINT_HASH, "")] {
            if !data.contains_key(key) {
                data.insert(key.to_owned(), Value::from(value));
            }
        }
        Ok(Self { data })
    }

    pub(crate) fn save(&self, config_file: &Path) -> std::io::Result<()> {
        if let Some(folder) = config_file.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(&self.data)?;
        fs::write(config_file, text)
    }

    pub(crate) fn get(&self, key: &str) -> Value {
        self.data
            .get(key)
            .or_else(|| defaults().get(key))
            .cloned()
            .unwrap_or(Value::Null)
    }

    pub(crate) fn text(&self, key: &str) -> String {
        self.get(key).as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        truthy(&self.get(key))
    }

    pub(crate) fn number(&self, key: &str) -> f64 {
        self.get(key).as_f64().unwrap_or(0.0)
    }

    /// Paths of the modules in effect.
    pub(crate) fn modules(&self) -> Vec<String> {
        let value = self.get(MODULES);
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        items
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    }

    pub(crate) fn checkpoint_loaded(&mut self, sha256: &str) {
        self.data
            .insert(CHECKPOINT_HASH.to_owned(), Value::from(sha256));
    }

    /// The answer of `GET options`: every name; numbers as floats where the default is one.
    pub(crate) fn listing(&self) -> Value {
        let shown = defaults().iter().map(|(key, default)| {
            let value = self.data.get(key).unwrap_or(default);
            let shown = match (default.is_f64(), value.as_f64()) {
                (true, Some(number)) => Value::from(number),
                _ => value.clone(),
            };
            (key.clone(), shown)
        });
        Value::Object(shown.collect())
    }

    /// Values that differ from the defaults.
    pub(crate) fn changed(&self) -> Map<String, Value> {
        let differs = |key: &str, value: &Value| {
            defaults()
                .get(key)
                .is_some_and(|default| !same(default, value))
        };
        self.data
            .iter()
            .filter(|(key, value)| differs(key, value))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// What a restore will put back: only keys that are stored already. The others leak.
    pub(crate) fn restorable(&self, overrides: &Map<String, Value>) -> Map<String, Value> {
        let stored = overrides
            .keys()
            .filter_map(|key| Some((key.clone(), self.data.get(key)?.clone())));
        stored.collect()
    }

    /// Forge's `set_config`: sets key by key and stops at the first unknown one.
    pub(crate) fn set_all(
        &mut self,
        models: &Models,
        values: &Map<String, Value>,
    ) -> Result<(), Failure> {
        for (key, value) in values.iter().filter(|(_, value)| !value.is_null()) {
            match key.as_str() {
                CHECKPOINT => self.select(models, value.as_str().unwrap_or_default()),
                MODULES => self.set_modules(models, value)?,
                key if defaults().contains_key(key) => self.set(key, value.clone()),
                key => return Err(Failure::unknown_option(key)),
            }
        }
        Ok(())
    }

    /// `POST options` refuses a checkpoint that no id names (exchange 03/23).
    pub(crate) fn check_post(models: &Models, values: &Map<String, Value>) -> Result<(), Failure> {
        match values.get(CHECKPOINT).and_then(Value::as_str) {
            Some(name) if models.by_alias(name).is_none() => {
                let message = format!("model {} not found", python_repr(name));
                Err(Failure::exception("RuntimeError", message))
            }
            _ => Ok(()),
        }
    }

    fn set(&mut self, key: &str, value: Value) {
        if !self.data.get(key).is_some_and(|old| same(old, &value)) {
            self.data.insert(key.to_owned(), value);
        }
    }

    fn select(&mut self, models: &Models, name: &str) {
        let current = self.text(CHECKPOINT);
        if models.closest(name) != models.closest(&current) {
            self.data.insert(CHECKPOINT.to_owned(), Value::from(name));
        }
    }

    /// An unchanged list is not stored, so that an empty one never gets into the saved keys.
    fn set_modules(&mut self, models: &Models, value: &Value) -> Result<(), Failure> {
        let names: Vec<String> = match value {
            Value::Array(items) => items
                .iter()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect(),
            Value::String(text) => text.chars().map(String::from).collect(),
            Value::Object(map) => map.keys().cloned().collect(),
            other => {
                let message = format!("'{}' object is not iterable", python_type(other));
                return Err(Failure::exception("TypeError", message));
            }
        };
        let mut wanted = models.module_paths(&names);
        let mut stored = self.modules();
        let paths = Value::from(wanted.clone());
        wanted.sort();
        stored.sort();
        if wanted != stored {
            self.data.insert(MODULES.to_owned(), paths);
        }
        Ok(())
    }
}

fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// Python's `==`: 3 equals 3.0.
fn same(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

/// Python's truth of a value.
pub(crate) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}
