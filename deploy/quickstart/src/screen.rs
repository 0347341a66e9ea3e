//! What the user sees: results on standard output; what happens meanwhile on
//! standard error, as a bar on a terminal and as lines elsewhere.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// The bar's length: a thousandth is one part.
const PARTS: u64 = 1000;
/// Between two turns of the bar's spinner.
const TICK: Duration = Duration::from_millis(100);
/// Without a terminal, a line of progress each time so many parts are done.
const PARTS_PER_LINE: u64 = 250;
/// The look of the bar; indicatif's own words.
const TEMPLATE: &str = "{spinner} [{bar:30}] {percent:>3}%  {msg} {prefix:.dim}";

/// The user's screen.
pub(crate) struct Screen {
    bar: Option<ProgressBar>,
    last_phase: String,
    told_parts: u64,
}

impl Screen {
    /// A bar when standard error is a terminal, lines otherwise.
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(PARTS);
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        Self {
            bar,
            last_phase: String::new(),
            told_parts: 0,
        }
    }

    /// Says what is going on now; the same twice in a row is said once.
    pub(crate) fn phase(&mut self, text: &str) {
        if self.last_phase == text {
            return;
        }
        text.clone_into(&mut self.last_phase);
        match &self.bar {
            Some(bar) => {
                bar.set_message(text.to_owned());
                bar.set_prefix("");
            }
            None => eprintln!("{text}"),
        }
    }

    /// Shows how far it is, 0 to 1, with a word on it.
    pub(crate) fn progress(&mut self, fraction: f64, detail: &str) {
        let parts = parts(fraction);
        match &self.bar {
            Some(bar) => {
                bar.set_position(parts);
                bar.set_prefix(detail.to_owned());
            }
            None if parts >= self.told_parts + PARTS_PER_LINE => {
                self.told_parts = parts - parts % PARTS_PER_LINE;
                let line = format!("{} % {detail}", parts / 10);
                eprintln!("{}", line.trim_end());
            }
            None => {}
        }
    }

    /// Takes the bar away, so that results stand alone.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A result, on standard output.
    pub(crate) fn say(&self, text: &str) {
        // Whoever reads may have left; the services go on all the same.
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}

/// A fraction in parts; what is no fraction is none.
fn parts(fraction: f64) -> u64 {
    let whole = (fraction.clamp(0.0, 1.0) * 1000.0).round();
    // NaN becomes 0, and the clamp keeps the rest between 0 and 1000.
    whole as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stay_between_nothing_and_all() {
        assert_eq!(parts(0.5), 500);
        assert_eq!(parts(-1.0), 0);
        assert_eq!(parts(7.0), PARTS);
        assert_eq!(parts(f64::NAN), 0);
    }
}
