//! Who a caller is to the jobs of others.

use service_kit::auth::{Caller, Scope};

use crate::viewer::{Reach, Viewer};

/// What a caller sees and changes, by its scopes.
pub(super) fn viewer(caller: &Caller) -> Viewer {
    let reach = if caller.scopes.allow(Scope::Admin) {
        Reach::ChangesAll
    } else if caller.scopes.allow(Scope::JobsReadAll) {
        Reach::SeesAll
    } else {
        Reach::Own
    };
    Viewer::new(caller.key_id.clone(), reach)
}

#[cfg(test)]
mod tests {
    use service_kit::auth::Scopes;

    use super::*;

    #[test]
    fn only_two_scopes_reach_beyond_ones_own_jobs() {
        for scope in Scope::ALL {
            let caller = Caller {
                key_id: Some("mine".to_owned()),
                scopes: Scopes::from_iter([scope]),
                ..Caller::anonymous()
            };
            let viewer = viewer(&caller);
            let sees_all = matches!(scope, Scope::JobsReadAll | Scope::Admin);
            assert_eq!(viewer.sees_only().is_none(), sees_all, "{scope}");
            assert_eq!(viewer.may_change(None), scope == Scope::Admin, "{scope}");
            assert!(viewer.may_change(Some("mine")));
        }
        let anonymous = viewer(&Caller::anonymous());
        assert!(anonymous.may_change(None) && anonymous.may_change(Some("a key's")));
    }
}
