//! Owns which empty folders look like places where a volume is not mounted.
//! Pure.

use std::collections::{BTreeSet, HashMap};

use crate::library::found::KnownFile;

/// The folders, of those that are empty and on these volumes, beneath which there
/// were files of another volume. Somebody who removes all files of a folder
/// leaves it on the volume where they were.
pub(super) fn unmounted<'a>(
    empty: &HashMap<Vec<u8>, i64>,
    known: impl Iterator<Item = &'a KnownFile>,
) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    if empty.is_empty() {
        return found;
    }
    for file in known {
        let slashes = file
            .path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/');
        for (at, _) in slashes {
            let folder = &file.path[..at];
            if empty
                .get(folder)
                .is_some_and(|device| *device != file.stamp.device)
            {
                found.insert(folder.to_vec());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::stamp::FileStamp;

    fn file(path: &str, device: i64) -> KnownFile {
        KnownFile {
            id: 1,
            root: "main".into(),
            path: path.into(),
            stamp: FileStamp {
                size_bytes: 1,
                modified_ns: 2,
                device,
                inode: 4,
            },
            beside_stamp: "-".into(),
            model_id: None,
            missing: false,
            sha256: None,
        }
    }

    #[test]
    fn an_empty_folder_on_another_volume_than_its_files_were_is_not_mounted() {
        let empty = |names: &[&str]| -> HashMap<Vec<u8>, i64> {
            names
                .iter()
                .map(|name| (name.as_bytes().to_vec(), 7))
                .collect()
        };
        let files = [
            file("a/b/x.sft", 9),
            file("ab/y.sft", 9),
            file("c/z.sft", 7),
        ];
        let of = |names: &[&str]| Vec::from_iter(unmounted(&empty(names), files.iter()));
        assert_eq!(of(&["a", "c", "d"]), [b"a".to_vec()]);
        assert_eq!(of(&["a/b", "ab"]), [b"a/b".to_vec(), b"ab".to_vec()]);
        // Emptied by hand, and never with files.
        assert_eq!(of(&["c", "d", ""]), Vec::<Vec<u8>>::new());
    }
}
