//! How far a long command is: a bar on a terminal, a line of the log now and then elsewhere.
//!
//! Standard error gets it, as the log does; what a command answers goes to standard output. What
//! there is to do, and how much of it, is the command's.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::Clock;

/// The least time between two lines.
const BETWEEN_LINES: Duration = Duration::from_secs(5);
/// The part of the whole by which the next line is further, in percent.
const PERCENT_BETWEEN_LINES: u64 = 10;
/// The longest time without a line, however slow it goes.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The look of the bar; indicatif's own words.
const COUNT_STYLE: &str = "{msg} [{bar:40}] {human_pos}/{human_len} {elapsed}";
const BYTES_STYLE: &str = "{msg} [{bar:40}] {bytes}/{total_bytes} {elapsed}";

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Bytes.
    Bytes,
    /// Things.
    Things,
}

/// Tells how far one command is, until it is dropped.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    clock: Clock,
    lines: Lines,
    /// On a terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins to tell of `what`, such as "copying the database".
    #[must_use]
    pub fn begin(what: &'static str, counted: Counted, clock: &Clock) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = match counted {
                Counted::Bytes => BYTES_STYLE,
                Counted::Things => COUNT_STYLE,
            };
            let bar = ProgressBar::new(0).with_message(what);
            // The styles are fixed; a bar of another look still tells.
            bar.set_style(
                ProgressStyle::with_template(style)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        Self {
            what,
            clock: clock.clone(),
            lines: Lines::new(clock.monotonic()),
            bar,
        }
    }

    /// So much is done of so much.
    pub fn at(&mut self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        } else if self.lines.is_due(self.clock.monotonic(), done, total) {
            tracing::info!(done, total, "{}", self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// When the next line is due.
#[derive(Debug)]
struct Lines {
    said_at: Duration,
    said_percent: u64,
}

impl Lines {
    fn new(now: Duration) -> Self {
        Self {
            said_at: now,
            said_percent: 0,
        }
    }

    fn is_due(&mut self, now: Duration, done: u64, total: u64) -> bool {
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
        let silent = now.saturating_sub(self.said_at);
        let further = percent >= self.said_percent.saturating_add(PERCENT_BETWEEN_LINES);
        let due = silent >= SILENCE_MAX || (silent >= BETWEEN_LINES && further);
        if due {
            (self.said_at, self.said_percent) = (now, percent);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_line_comes_when_a_tenth_more_is_done_but_not_at_once_again() {
        let mut lines = Lines::new(after(100));
        assert!(!lines.is_due(after(101), 90, 100), "too soon");
        assert!(!lines.is_due(after(105), 9, 100), "too little");
        assert!(lines.is_due(after(105), 10, 100));
        assert!(!lines.is_due(after(109), 95, 100), "too soon");
        assert!(!lines.is_due(after(150), 19, 100), "too little");
        assert!(lines.is_due(after(150), 20, 100));
    }

    #[test]
    fn a_slow_one_says_within_a_minute_that_it_lives_also_when_there_is_nothing_to_do() {
        let mut lines = Lines::new(after(0));
        assert!(!lines.is_due(after(59), 0, 0));
        assert!(lines.is_due(after(60), 0, 0));
        assert!(!lines.is_due(after(61), 0, 0));
        assert!(lines.is_due(after(120), u64::MAX, u64::MAX));
    }
}
