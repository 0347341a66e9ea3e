//! Owns how logs leave the process. It does not own what is logged, and metrics
//! leave through [`crate::metrics_http`].

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// What is logged when nothing is configured.
pub const FILTER_DEFAULT: &str = "info";

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter text is not one (`tracing_subscriber`'s directive syntax).
    #[error("the log filter {filter:?} is not valid")]
    Filter {
        /// The text as given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was set up before in this process.
    #[error("logging was already set up in this process")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends logs to standard error from here on, panics of any thread included.
///
/// # Errors
/// A filter that cannot be read, or a second call in one process.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let directives = EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let on_terminal = std::io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(directives);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if format == LogFormat::Json || (format == LogFormat::Auto && !on_terminal) {
        registry.with(lines.json().flatten_event(true)).try_init()?;
    } else {
        registry.with(lines.with_ansi(on_terminal)).try_init()?;
    }
    log_panics();
    Ok(())
}

/// Panics become log lines of the chosen shape instead of bare text.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let thread = std::thread::current();
        tracing::error!(
            panic.message = panic.payload_as_str().unwrap_or("(no text)"),
            panic.location = location.as_deref().unwrap_or("(unknown)"),
            panic.thread = thread.name().unwrap_or("(unnamed)"),
            "a thread panicked"
        );
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_filter_is_refused() {
        let refused = init(LogFormat::Text, "info,=,=");
        assert!(
            matches!(refused, Err(TelemetryError::Filter { .. })),
            "{refused:?}"
        );
    }
}
