//! What comes of work on a library, however long: counts, and the first of the
//! files that were left out. It knows neither files nor models.

use std::collections::BTreeMap;

/// Problems that a report keeps; the others are only counted.
pub const LIBRARY_PROBLEMS_MAX: usize = 100;
/// Longest text of a problem, in bytes; a longer one is cut.
pub const LIBRARY_PROBLEM_TEXT_BYTES_MAX: usize = 1024;

/// Why a file of a library was left out. Each text is cut after
/// [`LIBRARY_PROBLEM_TEXT_BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibraryProblem {
    /// The file, as the library names it.
    pub path: String,
    /// The reason, as in the catalogue of errors.
    pub reason: String,
    /// What happened and what to do.
    pub message: String,
}

/// What came of work on a library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LibraryReport {
    counts: BTreeMap<String, u64>,
    problems: Vec<LibraryProblem>,
    problem_count: u64,
}

impl LibraryReport {
    /// Counts so many more under a name that is of the program, such as
    /// `files_added`; 0 shows that it is counted.
    pub fn count(&mut self, name: &'static str, more: u64) {
        let counted = self.counts.entry(name.to_owned()).or_default();
        *counted = counted.saturating_add(more);
    }

    /// Counts a problem, and keeps it if it is one of the first
    /// [`LIBRARY_PROBLEMS_MAX`].
    pub fn problem(&mut self, path: &str, reason: &str, message: &str) {
        self.problem_count = self.problem_count.saturating_add(1);
        if self.problems.len() < LIBRARY_PROBLEMS_MAX {
            self.problems.push(LibraryProblem {
                path: cut(path),
                reason: cut(reason),
                message: cut(message),
            });
        }
    }

    /// What was counted, by its name.
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    /// The problems that were kept, the first first.
    pub fn problems(&self) -> &[LibraryProblem] {
        &self.problems
    }

    /// How many problems there were.
    pub fn problem_count(&self) -> u64 {
        self.problem_count
    }

    /// A report as it was written down.
    pub(super) fn written(
        counts: BTreeMap<String, u64>,
        problems: Vec<LibraryProblem>,
        problem_count: u64,
    ) -> Self {
        Self {
            counts,
            problems,
            problem_count,
        }
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(LIBRARY_PROBLEM_TEXT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_problems_are_kept_cut_and_all_are_counted() {
        let mut report = LibraryReport::default();
        for number in 0..=LIBRARY_PROBLEMS_MAX {
            report.problem(&number.to_string(), "UNREADABLE", &"ä".repeat(700));
        }
        assert_eq!(report.problem_count(), LIBRARY_PROBLEMS_MAX as u64 + 1);
        assert_eq!(report.problems().len(), LIBRARY_PROBLEMS_MAX);
        assert_eq!(report.problems()[99].path, "99");
        assert_eq!(report.problems()[0].message, "ä".repeat(512));
    }

    #[test]
    fn counts_of_one_name_are_added() {
        let mut report = LibraryReport::default();
        report.count("files", 2);
        report.count("files", u64::MAX);
        report.count("added", 0);
        let counts: Vec<_> = report.counts().iter().collect();
        let (added, files) = ("added".to_owned(), "files".to_owned());
        assert_eq!(counts, [(&added, &0), (&files, &u64::MAX)]);
    }
}
