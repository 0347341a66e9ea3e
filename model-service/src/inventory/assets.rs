//! Owns how what a job needs besides models is compared with what a server
//! lists: as Forge compares it. It knows no server and no time.

use std::collections::BTreeSet;

use super::{Asset, AssetKind};
use crate::names;

/// The schedule type that leaves the choice to Forge, which takes it in any
/// case.
const AUTOMATIC: &str = "automatic";

/// The assets of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assets {
    /// Word of the kind, and name.
    listed: BTreeSet<(String, String)>,
}

impl Assets {
    /// What a server lists: word of the kind, and name.
    pub fn new(listed: BTreeSet<(String, String)>) -> Self {
        Self { listed }
    }

    /// Whether the server takes `asset` for one of its own.
    ///
    /// Names are exact, as Forge silently takes another sampler or schedule type
    /// for one in the wrong case. Three differ: a sampler may carry a schedule
    /// type at its end, a script is found in any case, and a module by the last
    /// part of its path.
    pub fn have(&self, Asset { kind, name }: &Asset) -> bool {
        match kind {
            AssetKind::Upscaler => self.lists(*kind, name),
            AssetKind::Sampler => self.lists(*kind, name) || self.lists_suffixed(name),
            AssetKind::Scheduler => {
                self.lists(*kind, name)
                    || (name.eq_ignore_ascii_case(AUTOMATIC)
                        && self.names(*kind).any(|one| one.eq_ignore_ascii_case(name)))
            }
            AssetKind::Script => {
                let asked = name.to_lowercase();
                self.names(*kind).any(|one| one.to_lowercase() == asked)
            }
            AssetKind::Module => {
                let asked = names::last_part(name);
                self.names(*kind).any(|one| names::last_part(one) == asked)
            }
        }
    }

    fn lists(&self, kind: AssetKind, name: &str) -> bool {
        self.names(kind).any(|one| one == name)
    }

    /// Whether a name is that of a sampler, a space, and that of a schedule
    /// type, as older programs write it: `DPM++ 2M Karras`.
    fn lists_suffixed(&self, name: &str) -> bool {
        self.names(AssetKind::Scheduler).any(|scheduler| {
            let rest = name.strip_suffix(scheduler);
            let sampler = rest.and_then(|rest| rest.strip_suffix(' '));
            sampler.is_some_and(|sampler| self.lists(AssetKind::Sampler, sampler))
        })
    }

    fn names(&self, kind: AssetKind) -> impl Iterator<Item = &str> {
        let word = kind.as_str();
        let from = (word.to_owned(), String::new());
        let of_kind = self.listed.range(from..);
        let of_kind = of_kind.take_while(move |(listed, _)| listed == word);
        of_kind.map(|(_, name)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: [(AssetKind, &str); 8] = [
        (AssetKind::Module, "ae.safetensors"),
        (AssetKind::Upscaler, "R-ESRGAN 4x+"),
        (AssetKind::Sampler, "Euler a"),
        (AssetKind::Sampler, "DPM++ 2M"),
        (AssetKind::Scheduler, "Automatic"),
        (AssetKind::Scheduler, "Karras"),
        (AssetKind::Scheduler, "karras"),
        (AssetKind::Script, "x/y/z plot"),
    ];

    fn have(kind: AssetKind, name: &str) -> bool {
        let listed = LISTED.map(|(kind, name)| (kind.as_str().to_owned(), name.to_owned()));
        let name = name.to_owned();
        Assets::new(listed.into()).have(&Asset { kind, name })
    }

    #[test]
    fn names_are_compared_as_forge_does() {
        for (kind, name) in LISTED {
            assert!(have(kind, name), "{name}");
        }
        for (kind, name) in [
            (AssetKind::Module, r"C:\models\VAE\ae.safetensors"),
            (AssetKind::Module, "/elsewhere/ae.safetensors"),
            (AssetKind::Sampler, "DPM++ 2M Karras"),
            (AssetKind::Scheduler, "AUTOMATIC"),
            (AssetKind::Script, "X/Y/Z Plot"),
        ] {
            assert!(have(kind, name), "{name}");
        }
        for (kind, name) in [
            (AssetKind::Module, "AE.safetensors"),
            (AssetKind::Module, "R-ESRGAN 4x+"),
            (AssetKind::Upscaler, "r-esrgan 4x+"),
            (AssetKind::Sampler, "euler a"),
            (AssetKind::Sampler, "DPM++ 2MKarras"),
            (AssetKind::Sampler, "DPM++ 3M Karras"),
            (AssetKind::Sampler, "Karras"),
            (AssetKind::Scheduler, "KARRAS"),
            (AssetKind::Script, "plot"),
        ] {
            assert!(!have(kind, name), "{name}");
        }
    }

    #[test]
    fn a_server_that_lists_nothing_has_nothing() {
        for (kind, name) in LISTED {
            let name = name.to_owned();
            assert!(!Assets::default().have(&Asset { kind, name }));
        }
    }
}
