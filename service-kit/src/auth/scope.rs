//! Owns the words for what a key may do. Which method needs which is in each
//! service's [`super::Access`] table.

use std::fmt;

/// One permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Seeing one's own jobs.
    JobsRead,
    /// Making and changing one's own jobs.
    JobsWrite,
    /// Seeing everybody's jobs; includes [`Scope::JobsRead`].
    JobsReadAll,
    /// Pausing, purging and the like.
    QueueAdmin,
    /// Forge servers.
    ServersAdmin,
    /// API keys.
    KeysAdmin,
    /// Seeing models and where they are.
    ModelsRead,
    /// Changing models and reporting where they are.
    ModelsWrite,
    /// Everything, and everybody's jobs.
    Admin,
}

impl Scope {
    /// Every scope, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::JobsRead,
        Self::JobsWrite,
        Self::JobsReadAll,
        Self::QueueAdmin,
        Self::ServersAdmin,
        Self::KeysAdmin,
        Self::ModelsRead,
        Self::ModelsWrite,
        Self::Admin,
    ];

    /// The word, as keys and errors carry it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JobsRead => "jobs:read",
            Self::JobsWrite => "jobs:write",
            Self::JobsReadAll => "jobs:read-all",
            Self::QueueAdmin => "queue:admin",
            Self::ServersAdmin => "servers:admin",
            Self::KeysAdmin => "keys:admin",
            Self::ModelsRead => "models:read",
            Self::ModelsWrite => "models:write",
            Self::Admin => "admin",
        }
    }

    /// Reads a word.
    ///
    /// # Errors
    /// [`UnknownScope`] for any other text.
    pub fn parse(word: &str) -> Result<Self, UnknownScope> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == word);
        found.ok_or(UnknownScope)
    }

    /// Whether what it allows is administration, which is audited.
    pub const fn is_administrative(self) -> bool {
        match self {
            Self::QueueAdmin | Self::ServersAdmin | Self::KeysAdmin | Self::Admin => true,
            Self::JobsRead
            | Self::JobsWrite
            | Self::JobsReadAll
            | Self::ModelsRead
            | Self::ModelsWrite => false,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A word is not a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be one of jobs:read, jobs:write, jobs:read-all, queue:admin, servers:admin, \
     keys:admin, models:read, models:write, admin"
)]
pub struct UnknownScope;

/// Stored permissions are not a JSON list of words.
#[derive(Debug, thiserror::Error)]
#[error("stored permissions are not a JSON list of words")]
pub struct ScopesError(#[from] serde_json::Error);

/// The scopes of one caller.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u16);

impl Scopes {
    /// No scope at all.
    pub const NONE: Self = Self(0);
    /// [`Scope::Admin`], which includes all others.
    pub const ALL: Self = Self(Scope::Admin.bit());

    /// Reads stored permissions, a JSON list such as `["jobs:read"]`. A word that
    /// this version does not know grants nothing; words from callers go through
    /// [`Scope::parse`] first, which refuses it.
    ///
    /// # Errors
    /// When it is not a JSON list of texts.
    pub fn from_json(permissions: &str) -> Result<Self, ScopesError> {
        let words: Vec<String> = serde_json::from_str(permissions)?;
        let known = words.iter().filter_map(|word| Scope::parse(word).ok());
        Ok(known.collect())
    }

    /// The list that [`Scopes::from_json`] reads.
    pub fn to_json(self) -> String {
        let words: Vec<_> = self.iter().map(Scope::as_str).collect();
        serde_json::Value::from(words).to_string()
    }

    /// Whether a method that needs `scope` may be called: by this scope, or by
    /// one that includes it.
    pub fn allow(self, scope: Scope) -> bool {
        let including = match scope {
            Scope::JobsRead => Scope::JobsReadAll.bit(),
            _ => 0,
        };
        self.0 & (scope.bit() | including | Scope::Admin.bit()) != 0
    }

    /// The scopes as they were given, without those that they include.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        let given = move |scope: &Scope| self.0 & scope.bit() != 0;
        Scope::ALL.into_iter().filter(given)
    }

    /// Whether nothing is allowed.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let bits = scopes.into_iter().fold(0, |bits, scope| bits | scope.bit());
        Self(bits)
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.iter().map(Scope::as_str);
        formatter.debug_set().entries(words).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_has_its_own_word() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Ok(scope));
            assert!(UnknownScope.to_string().contains(scope.as_str()));
        }
        for word in ["", "Admin", "jobs", "jobs:", "jobs:read ", "*"] {
            assert_eq!(Scope::parse(word), Err(UnknownScope), "{word}");
        }
    }

    #[test]
    fn a_scope_allows_itself_and_only_two_include_others() {
        for given in Scope::ALL {
            let scopes = Scopes::from_iter([given]);
            for needed in Scope::ALL {
                let included = given == Scope::Admin
                    || (given, needed) == (Scope::JobsReadAll, Scope::JobsRead);
                assert_eq!(
                    scopes.allow(needed),
                    given == needed || included,
                    "{given} {needed}"
                );
            }
        }
        assert!(
            !Scope::ALL
                .into_iter()
                .any(|scope| Scopes::NONE.allow(scope))
        );
        assert!(Scopes::NONE.is_empty() && !Scopes::ALL.is_empty());
    }

    #[test]
    fn stored_permissions_are_a_list_of_words() {
        let scopes = Scopes::from_json(r#"["jobs:write", "jobs:read", "jobs:write"]"#).unwrap();
        assert_eq!(scopes.to_json(), r#"["jobs:read","jobs:write"]"#);
        assert_eq!(Scopes::from_json(&scopes.to_json()).unwrap(), scopes);
        assert_eq!(Scopes::from_json("[]").unwrap(), Scopes::NONE);
        let all: Scopes = Scope::ALL.into_iter().collect();
        assert_eq!(Scopes::from_json(&all.to_json()).unwrap(), all);
    }

    #[test]
    fn a_word_of_another_version_grants_nothing() {
        let scopes = Scopes::from_json(r#"["moon:admin", "jobs:read", "ADMIN"]"#).unwrap();
        assert_eq!(scopes, Scopes::from_iter([Scope::JobsRead]));
    }

    #[test]
    fn other_stored_texts_are_an_error() {
        for text in ["", "null", "{}", "\"admin\"", "[1]", "admin", "[\"admin\""] {
            assert!(Scopes::from_json(text).is_err(), "{text}");
        }
    }
}
