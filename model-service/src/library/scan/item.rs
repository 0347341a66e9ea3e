//! Owns how a found file and what it says become what is settled. Pure.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::findings::fill;
use crate::library::beside;
use crate::library::found::FileNow;
use crate::library::kind::kind;
use crate::library::roots::Root;
use crate::library::settle::{Item, What};
use crate::library::take_in::TakenIn;
use crate::library::walk::{Found, Listed, joined};
use crate::model::FILENAME_BYTES_MAX;

/// A name as the registry holds it.
pub(super) fn shown_name(name: &[u8]) -> String {
    let mut shown = String::from_utf8_lossy(name).into_owned();
    shown.truncate(shown.floor_char_boundary(FILENAME_BYTES_MAX));
    shown
}

/// A found file with what was read of it.
pub(in crate::library) fn item(
    root: &Root,
    listed: &Listed,
    file: &Found,
    beside_stamp: String,
    what: What,
    taken: TakenIn,
) -> Item {
    let path = joined(&listed.path, &file.name);
    let stem = beside::stem(&file.name).unwrap_or(&file.name);
    let findings = fill(&BTreeMap::new(), taken.findings);
    let local_path = root.path().join(OsStr::from_bytes(&path));
    Item {
        what,
        kind: kind(
            taken.stated,
            root.kind(),
            taken.stated_beside,
            &file.name,
            file.stamp.size_bytes,
        ),
        stem: shown_name(stem),
        filename: shown_name(&file.name),
        local_path: local_path.to_string_lossy().into_owned(),
        findings,
        sidecars: taken.sidecars,
        of_another_file: taken.of_another_file,
        was_unproven: false,
        sha256: None,
        file: FileNow {
            root: root.name().to_owned(),
            stamp: file.stamp,
            beside_stamp,
            preview_path: taken.preview.map(|name| joined(&listed.path, &name)),
            header_problem: taken.header_problem,
            path,
        },
    }
}
