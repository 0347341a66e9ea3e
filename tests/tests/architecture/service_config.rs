//! The service config that ships with the protos names the calls that gRPC may
//! repeat by itself: exactly those that are safe to repeat, read from the
//! descriptors.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::{
    FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
};
use serde_json::Value;
use stablequeue_proto::FILE_DESCRIPTOR_SET;

/// First words of methods that change nothing.
const READS: [&str; 7] = ["Check", "Find", "Get", "List", "Resolve", "Verify", "Wait"];
/// First words of methods that say what is to hold, whatever held before, so
/// that the second call finds nothing left to do.
const SETTLED_BY_THE_FIRST: [&str; 7] = [
    "Cancel", "Cordon", "Download", "Drain", "Probe", "Prune", "Uncordon",
];
/// The field by which a method knows its repetition.
const REQUEST_ID: &str = "request_id";
/// The field of methods that begin an operation when they are asked to.
const BACKGROUND: &str = "background";
/// What methods answer that begin an operation: a second call begins another
/// one, or is refused, and its request_id may be left out.
const OPERATION: &str = ".stablequeue.admin.v1.Operation";
/// gRPC makes no more attempts than this, whatever a config says.
const ATTEMPTS_MAX: u64 = 5;

/// A method as a service config names it: service, method.
type Name = (String, String);

fn config() -> Value {
    let text = include_str!("../../../proto/service_config.json");
    serde_json::from_str(text).unwrap()
}

/// What the config names, each once.
fn named(config: &Value) -> BTreeSet<Name> {
    let mut names = BTreeSet::new();
    for method_config in config["methodConfig"].as_array().unwrap() {
        for name in method_config["name"].as_array().unwrap() {
            let part = |key: &str| name[key].as_str().unwrap().to_owned();
            let name = (part("service"), part("method"));
            assert!(names.insert(name.clone()), "{name:?} is named twice");
        }
    }
    names
}

fn first_word(method: &str) -> &str {
    let rest = method.char_indices().skip(1);
    let end = rest
        .filter(|(_, letter)| letter.is_uppercase())
        .map(|(at, _)| at)
        .next();
    &method[..end.unwrap_or(method.len())]
}

/// The fields of a message by its full name.
fn fields<'a>(files: &'a [FileDescriptorProto], message: &str) -> &'a [FieldDescriptorProto] {
    let wanted = message.trim_start_matches('.');
    let found = files
        .iter()
        .flat_map(|file| file.message_type.iter().map(move |each| (file, each)))
        .find(|(file, message)| wanted == format!("{}.{}", file.package(), message.name()));
    &found.unwrap().1.field
}

fn asks_with(
    files: &[FileDescriptorProto],
    method: &MethodDescriptorProto,
    field_name: &str,
) -> bool {
    let mut input = fields(files, method.input_type()).iter();
    input.any(|field| field.name() == field_name)
}

fn answers_an_operation(files: &[FileDescriptorProto], method: &MethodDescriptorProto) -> bool {
    let mut output = fields(files, method.output_type()).iter();
    output.any(|field| field.type_name() == OPERATION)
}

/// Every unary method that is declared, with whether it is safe to repeat.
/// Streams are left out: only their reader knows where to go on.
fn unary_methods() -> Vec<(Name, bool)> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    let mut methods = Vec::new();
    for file in &files {
        for service in &file.service {
            let full = format!("{}.{}", file.package(), service.name());
            for method in &service.method {
                if method.client_streaming() || method.server_streaming() {
                    continue;
                }
                let verb = first_word(method.name());
                // Reads of operations answer them too.
                let begins = asks_with(&files, method, BACKGROUND)
                    || !(READS.contains(&verb) || SETTLED_BY_THE_FIRST.contains(&verb))
                        && answers_an_operation(&files, method);
                let safe = READS.contains(&verb)
                    || SETTLED_BY_THE_FIRST.contains(&verb)
                    || asks_with(&files, method, REQUEST_ID);
                let safe = safe && !begins;
                methods.push(((full.clone(), method.name().to_owned()), safe));
            }
        }
    }
    methods
}

#[test]
fn exactly_the_calls_that_are_safe_to_repeat_are_repeated() {
    let methods = unary_methods();
    let safe = methods.iter().filter(|(_, safe)| *safe);
    let safe: BTreeSet<Name> = safe.map(|(name, _)| name.clone()).collect();
    assert!(
        safe.len() > 20 && safe.len() < methods.len(),
        "{methods:#?}"
    );
    let named = named(&config());
    let missing: Vec<_> = safe.difference(&named).collect();
    assert!(missing.is_empty(), "safe and not named: {missing:?}");
    let wrong: Vec<_> = named.difference(&safe).collect();
    assert!(
        wrong.is_empty(),
        "named and not safe, or not there: {wrong:?}"
    );
}

#[test]
fn a_call_is_repeated_only_when_the_service_could_not_take_it() {
    for method_config in config()["methodConfig"].as_array().unwrap() {
        let policy = &method_config["retryPolicy"];
        assert_eq!(
            policy["retryableStatusCodes"],
            serde_json::json!(["UNAVAILABLE"])
        );
        let attempts = policy["maxAttempts"].as_u64().unwrap();
        assert!(
            (2..=ATTEMPTS_MAX).contains(&attempts),
            "{attempts} attempts"
        );
    }
}
