//! Owns the collecting of field violations, so that a request is told all its
//! faults at once. It does not know any field.

use std::ops::{Deref, DerefMut};

use super::{Failure, FieldViolation, cut};

/// Most bytes of violations that are sent. A status travels in HTTP/2 trailers
/// and many clients accept only 8 KiB there.
pub const VIOLATIONS_BYTES_MAX: usize = 4096;
const DESCRIPTION_BYTES_MAX: usize = 300;
const PATH_BYTES_MAX: usize = 200;

/// Collects what is wrong with a request.
///
/// ```
/// use service_kit::status::Violations;
///
/// let mut violations = Violations::new();
/// violations.at_index("jobs", 3).at("txt2img").add("steps", "must be 1 to 150");
/// let failure = violations.finish().unwrap_err();
/// assert_eq!(failure.fields()[0].field, "jobs[3].txt2img.steps");
/// ```
#[derive(Debug, Default)]
pub struct Violations {
    prefix: String,
    found: Vec<FieldViolation>,
    found_bytes: usize,
    left_out: usize,
}

impl Violations {
    /// An empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that the field at `path` (below the present prefix; empty for the
    /// prefix itself) breaks a rule. Past [`VIOLATIONS_BYTES_MAX`] it only counts.
    pub fn add(&mut self, path: &str, description: impl Into<String>) {
        let field = cut(self.joined(path), PATH_BYTES_MAX);
        let description = cut(description.into(), DESCRIPTION_BYTES_MAX);
        let bytes = field.len() + description.len();
        if self.found_bytes + bytes > VIOLATIONS_BYTES_MAX {
            self.left_out += 1;
            return;
        }
        self.found_bytes += bytes;
        self.found.push(FieldViolation::new(field, description));
    }

    /// A view that puts `path` before every path added through it.
    pub fn at(&mut self, path: &str) -> ViolationsAt<'_> {
        let outer_len = self.prefix.len();
        self.prefix = self.joined(path);
        ViolationsAt {
            violations: self,
            outer_len,
        }
    }

    /// [`Violations::at`] for one item of a repeated field.
    pub fn at_index(&mut self, path: &str, index: usize) -> ViolationsAt<'_> {
        self.at(&format!("{path}[{index}]"))
    }

    /// Whether nothing was found, anywhere.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.left_out == 0
    }

    /// How many were found, those included that are too many to send.
    pub fn len(&self) -> usize {
        self.found.len() + self.left_out
    }

    /// Ends the collection.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with everything that was found.
    pub fn finish(mut self) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        if self.left_out > 0 {
            let rest = format!("{} more violations are left out", self.left_out);
            self.found.push(FieldViolation::new("", rest));
        }
        Err(Failure::invalid(self.found))
    }

    fn joined(&self, path: &str) -> String {
        match (self.prefix.as_str(), path) {
            ("", path) => path.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}.{path}"),
        }
    }
}

/// [`Violations`] below a prefix; the prefix ends with this value.
#[derive(Debug)]
pub struct ViolationsAt<'a> {
    violations: &'a mut Violations,
    outer_len: usize,
}

impl Deref for ViolationsAt<'_> {
    type Target = Violations;

    fn deref(&self) -> &Violations {
        self.violations
    }
}

impl DerefMut for ViolationsAt<'_> {
    fn deref_mut(&mut self) -> &mut Violations {
        self.violations
    }
}

impl Drop for ViolationsAt<'_> {
    fn drop(&mut self) {
        self.violations.prefix.truncate(self.outer_len);
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn all_violations_come_back_at_once_with_their_paths() {
        let mut violations = Violations::new();
        violations.add("request_id", "must be a UUID");
        {
            let mut item = violations.at_index("jobs", 2);
            item.add("", "has no payload");
            item.at("txt2img").add("steps", "must be 1 to 150");
            item.add("priority", "must be 0 to 9");
        }
        violations.add("atomic", "is not possible here");
        let status = violations.finish().unwrap_err().into_status();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "request_id: must be a UUID (and 4 more)");
        let fields: Vec<_> = status
            .get_details_bad_request()
            .unwrap()
            .field_violations
            .into_iter()
            .map(|violation| violation.field)
            .collect();
        assert_eq!(
            fields,
            [
                "request_id",
                "jobs[2]",
                "jobs[2].txt2img.steps",
                "jobs[2].priority",
                "atomic"
            ]
        );
    }

    #[test]
    fn no_violation_is_no_failure() {
        assert!(Violations::new().finish().is_ok());
    }

    #[test]
    fn thousands_of_violations_still_fit_into_a_header() {
        let mut violations = Violations::new();
        for index in 0..5000 {
            violations
                .at_index("jobs", index)
                .add("prompt", "is too long");
        }
        assert_eq!(violations.len(), 5000);
        let status = violations.finish().unwrap_err().into_status();
        let sent = status.get_details_bad_request().unwrap().field_violations;
        assert!(sent.len() > 50);
        assert_eq!(
            sent.last().unwrap().description,
            format!("{} more violations are left out", 5000 - (sent.len() - 1))
        );
        let mut headers = http::HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        let bytes: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        assert!(bytes < 8 * 1024, "{bytes}");
    }
}
