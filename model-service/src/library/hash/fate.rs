//! Owns the decision which model a file is of, once its hash is known. Pure: it
//! reads and writes no row.

use crate::model::{AutoV2, Sha256};

/// What the registry says of the model that a file was taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenFor {
    /// Its id.
    pub(crate) id: i64,
    /// Its SHA-256, as far as that is known.
    pub(crate) sha256: Option<String>,
    /// Its AutoV2, as far as that is known and trusted.
    pub(crate) autov2: Option<String>,
    /// Whether a server's file or another file of the library speaks for what
    /// the registry says.
    pub(crate) has_witness: bool,
}

/// Which model a file is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The one that it was taken for.
    AsTaken,
    /// The one that it was taken for, and these others, which are the same: all
    /// of them become the first.
    Merged(Vec<i64>),
    /// This other one, whose content took the place of the former.
    Other(i64),
    /// The one that it was taken for, of which nothing of the former content is
    /// left.
    Replaced,
    /// A new one: the former content lives on elsewhere.
    New,
}

/// Decides by the hash of the file and by the other models of the kind that have
/// this hash. Two different known hashes are never one model; of rows with one
/// hash the oldest is the model.
pub(crate) fn fate(taken_for: &TakenFor, same_hash: &[i64], sha256: &Sha256) -> Fate {
    let mut others = same_hash.to_vec();
    others.retain(|id| *id != taken_for.id);
    others.sort_unstable();
    let contradicted = match (&taken_for.sha256, &taken_for.autov2) {
        (Some(known), _) => known != sha256.as_str(),
        (None, Some(known)) => AutoV2::parse(known).as_ref() != Some(&sha256.autov2()),
        (None, None) => false,
    };
    match (contradicted, others.first()) {
        (true, Some(other)) => Fate::Other(*other),
        (true, None) if taken_for.has_witness => Fate::New,
        (true, None) => Fate::Replaced,
        (false, None) => Fate::AsTaken,
        (false, Some(_)) => {
            others.push(taken_for.id);
            others.sort_unstable();
            others.dedup();
            Fate::Merged(others)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMER: &str = "fc03d15844113d66863f59e8c296ec1cc549be7f6f93c6904c51333e9e2364fc";

    fn sha256() -> Sha256 {
        Sha256::of([0xab; 32])
    }

    fn taken_for(sha256: Option<&str>, autov2: Option<&str>, has_witness: bool) -> TakenFor {
        TakenFor {
            id: 5,
            sha256: sha256.map(str::to_owned),
            autov2: autov2.map(str::to_owned),
            has_witness,
        }
    }

    #[test]
    fn a_model_without_another_hash_gets_that_of_its_file() {
        let sha256 = sha256();
        let short = &sha256.as_str()[..10];
        for (full, autov2) in [
            (None, None),
            (None, Some(short)),
            (Some(sha256.as_str()), None),
            // A short hash that was wrong is settled by the full one.
            (Some(sha256.as_str()), Some("0000000000")),
        ] {
            for witness in [false, true] {
                let decided = fate(&taken_for(full, autov2, witness), &[5], &sha256);
                assert_eq!(decided, Fate::AsTaken, "{full:?} {autov2:?}");
            }
        }
    }

    #[test]
    fn models_with_the_same_hash_become_the_oldest() {
        let merged = fate(&taken_for(None, None, true), &[9, 3, 9], &sha256());
        assert_eq!(merged, Fate::Merged(vec![3, 5, 9]));
        let known = taken_for(Some(sha256().as_str()), None, false);
        assert_eq!(fate(&known, &[5, 7], &sha256()), Fate::Merged(vec![5, 7]));
    }

    #[test]
    fn a_hash_that_others_speak_for_is_not_overwritten() {
        for (full, autov2) in [(Some(FORMER), None), (None, Some(&FORMER[..10]))] {
            let with = taken_for(full, autov2, true);
            assert_eq!(fate(&with, &[], &sha256()), Fate::New);
            let without = taken_for(full, autov2, false);
            assert_eq!(fate(&without, &[], &sha256()), Fate::Replaced);
            // Whoever speaks for it: the file is the model that is known already.
            for taken_for in [with, without] {
                assert_eq!(fate(&taken_for, &[9, 8], &sha256()), Fate::Other(8));
            }
        }
    }
}
