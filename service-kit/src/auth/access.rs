//! Owns the table that says which scope each method needs, and how it is
//! compared with the methods that are served. It does not check calls;
//! [`super::layer`] does.

use std::collections::{HashMap, HashSet};

use super::Scope;
use crate::layers::Methods;

/// Which scope each method of a service needs.
///
/// ```
/// use service_kit::auth::{Access, Scope};
///
/// const ACCESS: Access = Access::new(&[
///     ("stablequeue.jobs.v1.JobService/SubmitJob", Scope::JobsWrite),
///     ("stablequeue.jobs.v1.JobService/GetJob", Scope::JobsRead),
/// ]);
/// assert_eq!(ACCESS.rules().count(), 2);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Access {
    own: &'static [(&'static str, Scope)],
    shared: &'static [SharedRule],
}

/// The rule for one method of a service that several programs serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedRule {
    /// The full name of the method, `package.Service/Method`.
    pub method: &'static str,
    /// The scope that it needs.
    pub scope: Scope,
    /// Whether its calls come into the audit.
    pub noted: Noted,
}

/// Whether the calls of a method come into the audit. Those of a method without
/// a word on it do when its scope is [administrative](Scope::is_administrative).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// Each call, which therefore goes on to its end without its caller.
    Yes,
    /// Only those that are denied: reading that callers repeat would drive out of
    /// the audit what it is there for, and is over when its caller leaves.
    No,
}

/// What is checked before a call of a method, and whether it is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) scope: Scope,
    pub(super) noted: bool,
}

impl From<Scope> for Checked {
    fn from(scope: Scope) -> Self {
        let noted = scope.is_administrative();
        Self { scope, noted }
    }
}

impl Access {
    /// A table of rules: the full name of a method, `package.Service/Method`,
    /// and the scope it needs. Served methods without a rule need
    /// [`Scope::Admin`].
    pub const fn new(rules: &'static [(&'static str, Scope)]) -> Self {
        Self {
            own: rules,
            shared: &[],
        }
    }

    /// The same with the rules of a service that several programs serve.
    #[must_use]
    pub const fn with(self, shared: &'static [SharedRule]) -> Self {
        Self {
            own: self.own,
            shared,
        }
    }

    /// The rules, in the order of the table.
    pub fn rules(&self) -> impl Iterator<Item = (&'static str, Scope)> {
        let shared = self.shared.iter().map(|rule| (rule.method, rule.scope));
        self.own.iter().copied().chain(shared)
    }

    /// The scope of every described method and of every rule, by request path.
    pub(super) fn by_path(&self, methods: &Methods) -> HashMap<String, Checked> {
        let described = methods
            .paths()
            .map(|(_, path)| (path.to_owned(), Scope::Admin.into()));
        let own = self.own.iter();
        let own = own.map(|(name, scope)| (path_of(name), (*scope).into()));
        let shared = self.shared.iter().map(|rule| {
            let (scope, noted) = (rule.scope, rule.noted == Noted::Yes);
            (path_of(rule.method), Checked { scope, noted })
        });
        described.chain(own).chain(shared).collect()
    }
}

/// The methods of the `served` services (full names) that have no rule. A
/// service's test keeps this empty.
///
/// # Errors
/// When the descriptor set is not one.
pub fn methods_without_rule(
    descriptor_set: &[u8],
    served: &[&str],
    access: Access,
) -> Result<Vec<String>, prost::DecodeError> {
    let ruled: HashSet<_> = access.rules().map(|(name, _)| name).collect();
    let mut missing = served_methods(descriptor_set, served)?;
    missing.retain(|name| !ruled.contains(name.as_str()));
    missing.sort();
    Ok(missing)
}

/// The rules that name no method of the `served` services, or one that an
/// earlier rule has named. A service's test keeps this empty.
///
/// # Errors
/// When the descriptor set is not one.
pub fn rules_without_method(
    descriptor_set: &[u8],
    served: &[&str],
    access: Access,
) -> Result<Vec<&'static str>, prost::DecodeError> {
    let mut open: HashSet<_> = served_methods(descriptor_set, served)?
        .into_iter()
        .collect();
    let names = access.rules().map(|(name, _)| name);
    Ok(names.filter(|name| !open.remove(*name)).collect())
}

fn served_methods(
    descriptor_set: &[u8],
    served: &[&str],
) -> Result<Vec<String>, prost::DecodeError> {
    let methods = Methods::read(&[descriptor_set])?;
    let names = methods
        .paths()
        .filter(|(service, _)| served.contains(service))
        .map(|(_, path)| path.trim_start_matches('/').to_owned());
    Ok(names.collect())
}

fn path_of(name: &str) -> String {
    format!("/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &[u8] = tonic_health::pb::FILE_DESCRIPTOR_SET;
    const HEALTH: &str = "grpc.health.v1.Health";
    const CHECK: (&str, Scope) = ("grpc.health.v1.Health/Check", Scope::JobsRead);

    #[test]
    fn a_method_without_a_rule_is_found_and_needs_admin() {
        const ACCESS: Access = Access::new(&[CHECK]);
        let missing = methods_without_rule(SET, &[HEALTH], ACCESS).unwrap();
        assert!(missing.contains(&"grpc.health.v1.Health/Watch".to_owned()));
        assert!(!missing.contains(&CHECK.0.to_owned()));
        assert!(
            methods_without_rule(SET, &["other"], ACCESS)
                .unwrap()
                .is_empty()
        );
        let scopes = ACCESS.by_path(&Methods::read(&[SET]).unwrap());
        let checked = |scope, noted| Checked { scope, noted };
        let watch = scopes["/grpc.health.v1.Health/Watch"];
        assert_eq!(watch, checked(Scope::Admin, true));
        let check = scopes["/grpc.health.v1.Health/Check"];
        assert_eq!(check, checked(CHECK.1, false));
    }

    #[test]
    fn a_shared_rule_says_itself_whether_its_calls_are_noted() {
        const SHARED: [SharedRule; 2] = [
            SharedRule {
                method: CHECK.0,
                scope: Scope::ModelsWrite,
                noted: Noted::Yes,
            },
            SharedRule {
                method: "grpc.health.v1.Health/Watch",
                scope: Scope::Admin,
                noted: Noted::No,
            },
        ];
        let scopes = Access::new(&[])
            .with(&SHARED)
            .by_path(&Methods::read(&[SET]).unwrap());
        assert!(scopes["/grpc.health.v1.Health/Check"].noted);
        assert!(!scopes["/grpc.health.v1.Health/Watch"].noted);
    }

    #[test]
    fn a_rule_without_a_method_or_given_twice_is_found() {
        const ACCESS: Access = Access::new(&[
            CHECK,
            ("grpc.health.v1.Health/Heal", Scope::Admin),
            ("grpc.health.v1.Health/Check", Scope::Admin),
        ]);
        let wrong = rules_without_method(SET, &[HEALTH], ACCESS).unwrap();
        assert_eq!(wrong, ["grpc.health.v1.Health/Heal", CHECK.0]);
        let foreign = rules_without_method(SET, &[], Access::new(&[CHECK])).unwrap();
        assert_eq!(foreign, [CHECK.0]);
        assert!(rules_without_method(b"\xff\xff", &[], ACCESS).is_err());
    }
}
