use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn record() -> ApiKeyRecord {
    ApiKeyRecord {
        id: "1".to_owned(),
        name: "one".to_owned(),
        description: String::new(),
        scopes: Scopes::from_iter([Scope::KeysAdmin]),
        active: true,
        expires_at: None,
        limits: KeyLimits::default(),
        prefix: "01234567".to_owned(),
        created_at: at("2026-01-01T00:00:00Z"),
        last_used: None,
        old_secret_expires_at: None,
        revision: 1,
    }
}

#[test]
fn a_key_is_good_until_the_instant_it_expires_at() {
    let mut key = record();
    let end = at("2026-02-01T00:00:00Z");
    assert!(key.is_good(end));
    key.expires_at = Some(end);
    assert!(key.is_good(end - Duration::milliseconds(1)));
    assert!(!key.is_good(end));
    assert!(!key.manages_keys(end));
    key.expires_at = None;
    key.active = false;
    assert!(!key.is_good(end));
}

#[test]
fn only_keys_admin_and_admin_manage_keys() {
    for scope in Scope::ALL {
        let mut key = record();
        key.scopes = Scopes::from_iter([scope]);
        let manages = matches!(scope, Scope::KeysAdmin | Scope::Admin);
        assert_eq!(key.manages_keys(key.created_at), manages, "{scope}");
    }
}

#[test]
fn a_caller_gives_only_what_it_has() {
    let admin = KeysAdmin {
        scopes: Scopes::from_iter([Scope::KeysAdmin, Scope::JobsReadAll]),
        local: false,
    };
    let may = |scopes: &[Scope]| admin.lacks(scopes.iter().copied().collect());
    assert_eq!(may(&[Scope::JobsRead, Scope::KeysAdmin]), None);
    assert_eq!(
        may(&[Scope::JobsRead, Scope::JobsWrite]),
        Some(Scope::JobsWrite)
    );
    assert_eq!(may(&[Scope::Admin]), Some(Scope::Admin));
    assert_eq!(
        KeysAdmin::LOCAL.lacks(Scope::ALL.into_iter().collect()),
        None
    );
}

#[test]
fn names_are_short_and_printable() {
    let longest = "é".repeat(NAME_CHARS_MAX);
    for good in ["a", "the attic's laptop", longest.as_str()] {
        assert_eq!(name_fault(good), None, "{good}");
    }
    for bad in ["", "  ", "a\n", "a\u{0}", &format!("{longest}x")] {
        assert!(name_fault(bad).is_some(), "{bad:?}");
    }
    assert_eq!(description_fault(&"x".repeat(DESCRIPTION_BYTES_MAX)), None);
    assert!(description_fault(&"x".repeat(DESCRIPTION_BYTES_MAX + 1)).is_some());
}

#[test]
fn every_wrong_scope_is_named_by_its_place() {
    let words = ["jobs:read", "everything", "Admin"].map(str::to_owned);
    let mut violations = Vec::new();
    let scopes = parse_scopes("scopes", &words, &mut violations);
    assert_eq!(scopes, Scopes::from_iter([Scope::JobsRead]));
    let paths: Vec<_> = violations.iter().map(|found| found.path.as_str()).collect();
    assert_eq!(paths, ["scopes[1]", "scopes[2]"]);
    for words in [vec![], vec!["jobs:read".to_owned(); 10]] {
        let mut violations = Vec::new();
        parse_scopes("scopes", &words, &mut violations);
        assert_eq!(violations.len(), 1, "{words:?}");
    }
}

#[test]
fn limits_have_bounds_and_zero_is_one() {
    let mut violations = Vec::new();
    assert_eq!(parse_limit("x", 0, 7, &mut violations), Some(0));
    assert_eq!(parse_limit("x", 7, 7, &mut violations), Some(7));
    assert!(violations.is_empty());
    assert_eq!(parse_limit("x", -1, 7, &mut violations), None);
    assert_eq!(parse_limit("x", 8, 7, &mut violations), None);
    assert_eq!(violations.len(), 2);
}

#[test]
fn an_end_lies_in_the_future() {
    let now = at("2026-01-01T00:00:00Z");
    assert_eq!(expiry_fault(now + Duration::milliseconds(1), now), None);
    assert!(expiry_fault(now, now).is_some());
    assert!(expiry_fault(now - Duration::days(1), now).is_some());
}

#[test]
fn a_change_touches_only_what_it_names() {
    let mut key = record();
    key.expires_at = Some(at("2026-02-01T00:00:00Z"));
    key.limits.queued_jobs_max = Some(3);
    assert_eq!(KeyChange::default().applied_to(&key), key);
    let change = KeyChange {
        expires_at: Some(None),
        queued_jobs_max: Some(None),
        watches_max: Some(Some(0)),
        active: Some(false),
        ..KeyChange::default()
    };
    let changed = change.applied_to(&key);
    assert_eq!(changed.expires_at, None);
    assert_eq!(changed.limits.queued_jobs_max, None);
    assert_eq!(changed.limits.watches_max, Some(0));
    assert!(!changed.active);
    assert_eq!(changed.name, key.name);
}
