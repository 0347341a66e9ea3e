//! Owns what the terminal is told of an operation that has ended.

use std::fmt::Write as _;

use stablequeue_proto::admin::v1::operation::Result as Outcome;
use stablequeue_proto::admin::v1::{Operation, OperationState};

/// The end of an operation, its counts, and what was left out, without a line
/// break at the end.
pub(super) fn text(what: &str, operation: &Operation) -> String {
    let mut text = match (operation.state(), &operation.error) {
        (OperationState::Succeeded, _) => format!("{what}: done"),
        (OperationState::Cancelled, _) => format!("{what}: cancelled; what was done stays"),
        (_, Some(error)) => format!(
            "{what}: failed ({}): {}",
            error.reason,
            plain(&error.message)
        ),
        (_, None) => format!("{what}: failed"),
    };
    let Some(Outcome::LibraryReport(report)) = &operation.result else {
        return text;
    };
    let mut counts: Vec<_> = report.counts.iter().collect();
    counts.sort_unstable();
    // Writing into a String cannot fail.
    for (name, count) in counts {
        let _ = write!(text, "\n  {name}: {count}");
    }
    if report.problem_count > 0 {
        let _ = write!(text, "\nleft out: {}", report.problem_count);
    }
    for problem in &report.problems {
        let (path, message) = (plain(&problem.path), plain(&problem.message));
        let _ = write!(text, "\n  {path}: {message} ({})", problem.reason);
    }
    let more = usize::try_from(report.problem_count).unwrap_or_default();
    if more > report.problems.len() {
        let _ = write!(text, "\n  and {} more", more - report.problems.len());
    }
    text
}

/// A text without what a terminal would obey: names of files can hold anything.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => plain.extend(character.escape_default()),
            false => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use stablequeue_proto::admin::v1::{LibraryProblem, LibraryReport, OperationError};

    use super::*;

    #[test]
    fn counts_and_problems_are_listed_and_names_cannot_move_the_cursor() {
        let problem = LibraryProblem {
            path: "main/a\n\u{1b}[2J.sft".to_owned(),
            reason: "FILE_CHANGING".to_owned(),
            message: "wait".to_owned(),
        };
        let operation = Operation {
            state: OperationState::Succeeded.into(),
            result: Some(Outcome::LibraryReport(LibraryReport {
                counts: [("files".to_owned(), 2), ("bytes".to_owned(), 7)].into(),
                problems: vec![problem],
                problem_count: 3,
            })),
            ..Operation::default()
        };
        let expected = "hashing: done\n  bytes: 7\n  files: 2\nleft out: 3\n  \
                        main/a\\n\\u{1b}[2J.sft: wait (FILE_CHANGING)\n  and 2 more";
        assert_eq!(text("hashing", &operation), expected);
    }

    #[test]
    fn a_failure_says_why() {
        let operation = Operation {
            state: OperationState::Failed.into(),
            error: Some(OperationError {
                reason: "INTERNAL".to_owned(),
                message: "look".to_owned(),
            }),
            ..Operation::default()
        };
        assert_eq!(
            text("scanning", &operation),
            "scanning: failed (INTERNAL): look"
        );
        let cancelled = Operation {
            state: OperationState::Cancelled.into(),
            ..Operation::default()
        };
        assert!(text("scanning", &cancelled).contains("cancelled"));
    }
}
