//! Owns which models share a question. It asks nothing.

use std::collections::BTreeMap;

use crate::library::kept_answers;
use crate::model::{SHA256_DIGITS, Sha256};
use crate::store::enrichment::{Candidate, Outcome, Settled};

/// Models with one hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// Their SHA-256, or the beginning of it where only the AutoV2 is known; lower case.
    pub(super) digits: String,
    /// The models, at least one.
    pub(super) models: Vec<Candidate>,
}

impl Group {
    /// The name under which its answer is kept.
    pub(super) fn question(&self) -> String {
        kept_answers::question(&self.digits)
    }

    /// Whether the whole SHA-256 is known, which look-ups in bulk need.
    pub(super) fn is_whole(&self) -> bool {
        self.digits.len() == SHA256_DIGITS
    }

    /// The whole SHA-256.
    pub(super) fn sha256(&self) -> Option<Sha256> {
        Sha256::parse(&self.digits)
    }

    /// Which version somebody said that its models are, such as a file beside one.
    pub(super) fn said_version(&self) -> Option<&str> {
        let said = self
            .models
            .iter()
            .filter_map(|model| model.version_id.as_deref());
        said.into_iter()
            .find(|id| !id.is_empty() && id.len() <= 20 && id.bytes().all(|b| b.is_ascii_digit()))
    }

    /// Whether each of its models says already that Civitai does not know it.
    pub(super) fn known_unknown(&self) -> bool {
        self.models.iter().all(|model| model.known_unknown)
    }

    /// How many models.
    pub(super) fn len(&self) -> u64 {
        self.models.len() as u64
    }

    /// What came of it.
    pub(super) fn settled(&self, outcome: Outcome) -> Settled {
        Settled {
            model_ids: self.models.iter().map(|model| model.id).collect(),
            outcome,
        }
    }
}

/// The models by their hashes, the whole ones where both are known. Texts that are no hash, which
/// the earlier application left in some rows, are never sent: one of them spoils a whole look-up.
pub(super) fn groups(candidates: Vec<Candidate>) -> Vec<Group> {
    let mut by_digits: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        let whole = candidate.sha256.as_ref().map(Sha256::as_str);
        let begin = candidate.autov2.as_ref().map(|autov2| autov2.as_str());
        if let Some(digits) = whole.or(begin) {
            let digits = digits.to_owned();
            by_digits.entry(digits).or_default().push(candidate);
        }
    }
    let group = |(digits, models)| Group { digits, models };
    by_digits.into_iter().map(group).collect()
}

/// How many models are in all of them.
pub(super) fn count(groups: &[Group]) -> u64 {
    groups.iter().map(Group::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AutoV2;

    fn candidate(id: i64, sha256: Option<&str>, autov2: Option<&str>) -> Candidate {
        Candidate {
            id,
            path: format!("/m/{id}"),
            sha256: sha256.and_then(Sha256::parse),
            autov2: autov2.and_then(AutoV2::parse),
            version_id: None,
            known_unknown: false,
        }
    }

    #[test]
    fn models_with_one_hash_are_asked_about_once_and_others_never() {
        let sha256 = "ab".repeat(32);
        let found = groups(vec![
            candidate(1, Some(&sha256), Some("ababababab")),
            candidate(2, Some(&sha256.to_uppercase()), None),
            candidate(3, None, Some("CDCDCDCDCD")),
            candidate(4, None, None),
            candidate(5, Some("not a hash"), None),
        ]);
        let shown: Vec<_> = found
            .iter()
            .map(|group| (group.digits.as_str(), group.len(), group.is_whole()))
            .collect();
        assert_eq!(
            shown,
            [(sha256.as_str(), 2, true), ("cdcdcdcdcd", 1, false)]
        );
        assert_eq!(count(&found), 3);
    }

    #[test]
    fn only_a_decimal_number_is_a_version() {
        for (said, version) in [
            ("123", Some("123")),
            ("12.0", None),
            ("", None),
            ("1/..", None),
        ] {
            let mut model = candidate(1, None, Some("cdcdcdcdcd"));
            model.version_id = Some(said.to_owned());
            assert_eq!(groups(vec![model])[0].said_version(), version, "{said:?}");
        }
    }
}
