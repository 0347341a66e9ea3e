//! The arrows between crates, as cargo sees them.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Who may depend on whom in what is built for users.
const ARROWS: [(&str, &str); 16] = [
    // The administration of a service, which both serve; no other package.
    ("service-kit", "stablequeue-proto"),
    ("job-service", "stablequeue-proto"),
    ("job-service", "service-kit"),
    ("model-service", "stablequeue-proto"),
    ("model-service", "service-kit"),
    ("quickstart", "stablequeue-proto"),
    ("quickstart", "service-kit"),
    ("quickstart", "job-service"),
    ("quickstart", "model-service"),
    ("quickstart", "forge-sim"),
    ("system-tests", "stablequeue-proto"),
    ("system-tests", "service-kit"),
    ("system-tests", "job-service"),
    ("system-tests", "model-service"),
    ("system-tests", "forge-sim"),
    ("system-tests", "quickstart"),
];

/// Who may further depend on whom in tests.
const TEST_ARROWS: [(&str, &str); 9] = [
    ("service-kit", "stablequeue-proto"),
    // Itself, with the stop points of crash tests.
    ("job-service", "job-service"),
    ("job-service", "model-service"),
    ("job-service", "forge-sim"),
    ("job-service", "stablequeue-proto"),
    ("model-service", "stablequeue-proto"),
    ("model-service", "civitai-sim"),
    ("system-tests", "stablequeue-proto"),
    ("system-tests", "civitai-sim"),
];

/// Every arrow between crates of this workspace, with whether it is for tests.
fn arrows() -> BTreeSet<(String, String, bool)> {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    let ours: BTreeSet<String> = metadata
        .packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let mut arrows = BTreeSet::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            if ours.contains(&dependency.name) {
                let for_tests = dependency.kind == DependencyKind::Development;
                arrows.insert((package.name.to_string(), dependency.name.clone(), for_tests));
            }
        }
    }
    arrows
}

#[test]
fn crates_depend_on_each_other_one_way() {
    let arrows = arrows();
    assert!(arrows.len() > 10, "{arrows:#?}");
    for (from, to, for_tests) in &arrows {
        let arrow = (from.as_str(), to.as_str());
        let allowed = ARROWS.contains(&arrow) || (*for_tests && TEST_ARROWS.contains(&arrow));
        assert!(
            allowed,
            "{from} must not depend on {to} (for tests: {for_tests})"
        );
    }
}

#[test]
fn the_services_meet_only_over_the_wire_and_the_kit_knows_neither() {
    // What the table above must never come to allow.
    for (from, to) in ARROWS {
        let services = ["job-service", "model-service"];
        assert!(!(services.contains(&from) && services.contains(&to)));
        assert!(from != "service-kit" || to == "stablequeue-proto");
        assert!(!["stablequeue-proto", "forge-sim"].contains(&from));
        assert!(!["quickstart", "system-tests"].contains(&to) || from == "system-tests");
    }
}
