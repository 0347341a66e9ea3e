//! The arrows between the modules of a service, and which libraries each of
//! its rooms may know.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::names::{module_path, names};

/// What a set of modules must not name, as the beginnings of paths.
struct Rule {
    /// The modules, at the root of the crate.
    rooms: &'static [&'static str],
    forbidden: &'static [&'static str],
}

const DIESEL: [&str; 4] = ["diesel", "diesel_migrations", "libsqlite3_sys", "rusqlite"];

const API: Rule = Rule {
    rooms: &["api"],
    forbidden: &[
        "diesel",
        "diesel_migrations",
        "libsqlite3_sys",
        "rusqlite",
        "reqwest",
    ],
};
const STORE: Rule = Rule {
    rooms: &["store"],
    forbidden: &[
        "tonic",
        "tonic_types",
        "prost",
        "prost_types",
        "stablequeue_proto",
        "reqwest",
        "tokio",
        "crate::api",
        "crate::dispatch",
    ],
};
const PURE: [&str; 13] = [
    "crate::store",
    "crate::api",
    "crate::dispatch",
    "crate::run",
    "crate::config",
    "tokio",
    "diesel",
    "tonic",
    "stablequeue_proto",
    "reqwest",
    "std::fs",
    "std::net",
    "std::env",
];
const USE_CASES: [&str; 6] = [
    "tonic",
    "stablequeue_proto",
    "crate::api",
    "diesel",
    "diesel_migrations",
    "reqwest",
];

/// Of the protos only `admin`, which both services serve.
const SERVICE_KIT: [Rule; 1] = [Rule {
    rooms: &[
        "admin",
        "audit",
        "auth",
        "clock",
        "commands",
        "database",
        "layers",
        "migrate",
        "operations",
        "page",
        "resume",
        "server",
        "shutdown",
        "status",
    ],
    forbidden: &["stablequeue_proto::jobs", "stablequeue_proto::models"],
}];

const JOB_SERVICE: [Rule; 5] = [
    API,
    STORE,
    Rule {
        rooms: &[
            "api_key",
            "job",
            "server",
            "seal",
            "request",
            "request_id",
            "payload",
            "outcome",
            "verify",
            "generation_info",
            "infotext",
            "stealth",
            "viewer",
        ],
        forbidden: &PURE,
    },
    Rule {
        rooms: &["jobs", "keys", "servers"],
        forbidden: &USE_CASES,
    },
    Rule {
        rooms: &["dispatch"],
        forbidden: &["tonic", "crate::api", "diesel", "diesel_migrations"],
    },
];

const MODEL_SERVICE: [Rule; 4] = [
    API,
    STORE,
    Rule {
        rooms: &[
            "model",
            "model_change",
            "request_id",
            "names",
            "reference",
            "availability",
            "inventory",
            "events",
            "file_header",
            "findings",
            "infotext",
            "sidecar",
        ],
        forbidden: &PURE,
    },
    Rule {
        rooms: &["models", "inventories", "watch"],
        forbidden: &USE_CASES,
    },
];

/// The files of a module and of everything below it.
fn files(source: &Path, room: &str) -> Vec<PathBuf> {
    let file = source.join(room).with_extension("rs");
    assert!(file.is_file(), "{} is gone", file.display());
    let mut found = vec![file];
    let mut folders = vec![source.join(room)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// Whether naming `path` reaches what is forbidden; `*` at the end of a path
/// is everything below it.
fn reaches(path: &str, forbidden: &str) -> bool {
    let below = |path: &str, root: &str| {
        path == root
            || path
                .strip_prefix(root)
                .is_some_and(|rest| rest.starts_with("::"))
    };
    below(path, forbidden)
        || path
            .strip_suffix("::*")
            .is_some_and(|root| below(forbidden, root))
}

fn faults(service: &str, rules: &[Rule]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let source = root.join(service).join("src");
    let mut faults = Vec::new();
    for rule in rules {
        for room in rule.rooms {
            for file in files(&source, room) {
                let text = fs::read_to_string(&file).unwrap();
                let module = module_path(file.strip_prefix(&source).unwrap());
                if module.ends_with("::tests") {
                    // Tests of pure modules read recorded exchanges.
                    continue;
                }
                for path in names(&text, &module) {
                    let broken = rule.forbidden.iter().find(|root| reaches(&path, root));
                    if let Some(root) = broken {
                        faults.push(format!("{module} names {path}, but must not know {root}"));
                    }
                }
            }
        }
    }
    faults
}

#[test]
fn the_kit_speaks_only_of_administration() {
    assert_eq!(faults("service-kit", &SERVICE_KIT), Vec::<String>::new());
}

#[test]
fn the_modules_of_job_service_know_only_what_they_may() {
    assert_eq!(faults("job-service", &JOB_SERVICE), Vec::<String>::new());
}

#[test]
fn the_modules_of_model_service_know_only_what_they_may() {
    assert_eq!(
        faults("model-service", &MODEL_SERVICE),
        Vec::<String>::new()
    );
}

#[test]
fn the_rooms_whose_work_is_sql_and_grpc_are_seen_to_name_them() {
    // The reading of names works on the real files: these do what others may not.
    for service in ["job-service", "model-service"] {
        let found = faults(
            service,
            &[
                Rule {
                    rooms: &["store"],
                    forbidden: &DIESEL,
                },
                Rule {
                    rooms: &["api"],
                    forbidden: &["tonic"],
                },
            ],
        );
        for (room, library) in [("crate::store", "diesel"), ("crate::api", "tonic")] {
            let seen = |fault: &&String| fault.starts_with(room) && fault.ends_with(library);
            assert!(found.iter().filter(seen).count() > 10, "{service} {room}");
        }
    }
}

#[test]
fn a_path_reaches_what_it_begins_with_and_what_its_star_covers() {
    assert!(reaches("diesel::prelude::*", "diesel"));
    assert!(reaches("crate::store::jobs", "crate::store"));
    assert!(reaches("crate::*", "crate::store"));
    assert!(!reaches("crate::stores", "crate::store"));
    assert!(!reaches("crate::job::*", "crate::store"));
}
