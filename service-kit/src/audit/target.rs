//! Owns how a handler says what its call is about. It does not note it.

use std::sync::{Arc, OnceLock};

use http::Extensions;

/// Longest target that is kept; a longer one is cut.
pub const AUDIT_TARGET_BYTES_MAX: usize = 200;

/// What an administrative call is about, such as the alias of a server: an
/// empty place in the request's extensions that the handler fills, so that it is
/// known however the call ends.
#[derive(Debug, Clone, Default)]
pub struct AuditTarget(Arc<OnceLock<String>>);

impl AuditTarget {
    /// Says what a call is about: an id or a name, never anything secret. The
    /// first word counts. Does nothing for a call that is not audited.
    pub fn note(extensions: &Extensions, target: &str) {
        if let Some(place) = extensions.get::<Self>() {
            place.set(target);
        }
    }

    /// As [`AuditTarget::note`], for what is known only once the request's
    /// extensions are gone.
    pub fn set(&self, target: &str) {
        let end = target.floor_char_boundary(AUDIT_TARGET_BYTES_MAX);
        self.0.get_or_init(|| target[..end].to_owned());
    }

    /// The place in the extensions of a request; an own one where there is none.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// What was said; empty when nothing was.
    pub(super) fn text(&self) -> String {
        self.0.get().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_counts_and_is_cut_at_a_character() {
        let mut extensions = Extensions::new();
        AuditTarget::note(&extensions, "nobody listens");
        let place = AuditTarget::default();
        extensions.insert(place.clone());
        assert_eq!(place.text(), "");
        AuditTarget::note(&extensions, &"ä".repeat(AUDIT_TARGET_BYTES_MAX));
        AuditTarget::of(&extensions).set("another");
        assert_eq!(place.text(), "ä".repeat(AUDIT_TARGET_BYTES_MAX / 2));
    }
}
