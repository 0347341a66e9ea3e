//! Whose jobs a caller may see and change. Pure: who calls was found out
//! before, and the use cases ask here before they show or change a job.

/// A caller, as far as jobs are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    key_id: Option<String>,
    reach: Reach,
}

/// How far a caller sees beyond its own jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It sees and changes its own jobs.
    Own,
    /// It sees everybody's jobs and changes its own.
    SeesAll,
    /// It sees and changes everybody's jobs.
    ChangesAll,
}

/// Whose jobs a list has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's, also those that nobody owns.
    #[default]
    Everybody,
    /// Those of the key with this id.
    Key(String),
    /// None at all.
    Nobody,
}

impl Viewer {
    /// The caller with this key; one without a key owns nothing.
    #[must_use]
    pub fn new(key_id: Option<String>, reach: Reach) -> Self {
        Self { key_id, reach }
    }

    /// Whose a job is that it submits.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The one owner whose jobs it sees; `None` when it sees everybody's. A
    /// caller who sees only its own and has no key gets a name that no key has.
    #[must_use]
    pub fn sees_only(&self) -> Option<&str> {
        match self.reach {
            Reach::Own => Some(self.key_id().unwrap_or_default()),
            Reach::SeesAll | Reach::ChangesAll => None,
        }
    }

    /// Whether it may change a job with this owner.
    #[must_use]
    pub fn may_change(&self, owner: Option<&str>) -> bool {
        self.reach == Reach::ChangesAll || (owner.is_some() && owner == self.key_id())
    }

    /// What is left for it of a list. What is left stays when it is asked
    /// again.
    #[must_use]
    pub fn narrow(&self, asked: Whose) -> Whose {
        let Some(own) = self.sees_only() else {
            return asked;
        };
        match asked {
            Whose::Key(other) if other != own => Whose::Nobody,
            Whose::Nobody => Whose::Nobody,
            Whose::Everybody | Whose::Key(_) => Whose::Key(own.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNERS: [Option<&str>; 3] = [Some("mine"), Some("other"), None];

    fn viewer(key_id: Option<&str>, reach: Reach) -> Viewer {
        Viewer::new(key_id.map(str::to_owned), reach)
    }

    fn sees(viewer: &Viewer, owner: Option<&str>) -> bool {
        viewer.sees_only().is_none_or(|only| owner == Some(only))
    }

    #[test]
    fn who_sees_and_changes_what() {
        // Whether each of OWNERS is seen and changed.
        let cases = [
            (
                Some("mine"),
                Reach::Own,
                [true, false, false],
                [true, false, false],
            ),
            (
                Some("mine"),
                Reach::SeesAll,
                [true; 3],
                [true, false, false],
            ),
            (Some("mine"), Reach::ChangesAll, [true; 3], [true; 3]),
            (None, Reach::Own, [false; 3], [false; 3]),
            (None, Reach::SeesAll, [true; 3], [false; 3]),
            (None, Reach::ChangesAll, [true; 3], [true; 3]),
        ];
        for (key_id, reach, seen, changed) in cases {
            let viewer = viewer(key_id, reach);
            assert_eq!(OWNERS.map(|owner| sees(&viewer, owner)), seen, "{viewer:?}");
            let changes = OWNERS.map(|owner| viewer.may_change(owner));
            assert_eq!(changes, changed, "{viewer:?}");
        }
    }

    #[test]
    fn what_may_be_changed_is_seen() {
        for key_id in [Some("mine"), None] {
            for reach in [Reach::Own, Reach::SeesAll, Reach::ChangesAll] {
                let viewer = viewer(key_id, reach);
                for owner in OWNERS {
                    assert!(!viewer.may_change(owner) || sees(&viewer, owner));
                }
            }
        }
    }

    #[test]
    fn a_list_never_has_more_than_is_seen() {
        let key = |id: &str| Whose::Key(id.to_owned());
        let own = viewer(Some("mine"), Reach::Own);
        assert_eq!(own.narrow(Whose::Everybody), key("mine"));
        assert_eq!(own.narrow(key("mine")), key("mine"));
        assert_eq!(own.narrow(key("other")), Whose::Nobody);
        assert_eq!(own.narrow(Whose::Nobody), Whose::Nobody);
        let all = viewer(Some("mine"), Reach::SeesAll);
        for asked in [Whose::Everybody, key("other"), Whose::Nobody] {
            assert_eq!(all.narrow(asked.clone()), asked);
            let once = own.narrow(asked);
            assert_eq!(own.narrow(once.clone()), once);
        }
    }
}
