//! Owns how the settings are shown by `print-config`. It does not own the
//! settings: each that clap knows is listed, and a text that is not named here
//! is masked.

use std::ffi::OsString;

use clap::CommandFactory;
use serde_json::Value;
use service_kit::settings::{self, Shown};

use super::CommandLine;

/// The sub-command whose settings are those of serve.
const PRINT_CONFIG: &str = "print-config";

/// The texts that may be shown, and how.
const SHOWN: [(&str, Shown); 2] = [("log", Shown::Text), ("download_missing", Shown::Text)];

/// Every setting of a command line that begins with the program's name and
/// `print-config`, and of the environment.
///
/// # Errors
/// A command line that clap refuses.
pub(crate) fn settings(line: impl IntoIterator<Item = OsString>) -> Result<Value, clap::Error> {
    settings::settings(
        <CommandLine as CommandFactory>::command(),
        PRINT_CONFIG,
        line,
        &SHOWN,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_serve_is_shown_and_every_text_that_is_named_exists() {
        let line = ["model-service", PRINT_CONFIG].map(OsString::from);
        let shown = settings(line).unwrap();
        let command = <CommandLine as CommandFactory>::command();
        let serve = command.find_subcommand("serve").unwrap();
        let flags: Vec<&str> = serve
            .get_arguments()
            .map(|flag| flag.get_id().as_str())
            .collect();
        assert!(flags.len() > 5, "{flags:?}");
        for flag in &flags {
            assert!(shown.get(flag).is_some(), "{flag}: {shown}");
        }
        assert_eq!(shown.as_object().unwrap().len(), flags.len());
        for (name, _) in SHOWN {
            assert!(flags.contains(&name), "{name} is not a flag");
        }
    }
}
