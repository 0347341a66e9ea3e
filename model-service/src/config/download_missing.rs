//! Owns the knob that lets models be downloaded that jobs wait for: which type goes where. What is
//! downloaded is the library's to decide.

use std::collections::BTreeMap;

use clap::Args;

use super::library::RootConfig;
use crate::library::download::name::is_allowed_folder;
use crate::model::ModelKind;

/// Longest folder, in bytes.
const FOLDER_BYTES_MAX: usize = 1_024;

/// Where models go that jobs wait for.
#[derive(Debug, Clone, Args)]
pub struct DownloadMissingArgs {
    /// Where models of a type are downloaded that jobs wait for and no server has, as TYPE=ROOT or
    /// TYPE=ROOT/FOLDER with the name of a library root; repeat for the other type. TYPE is
    /// checkpoint or lora; without it nothing is downloaded for jobs. In the environment separated
    /// by `;`.
    #[arg(
        long = "download-missing",
        env = "MODEL_SERVICE_DOWNLOAD_MISSING",
        value_delimiter = ';'
    )]
    pub download_missing: Vec<String>,
}

/// A place in the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadPlace {
    /// The name of the root.
    pub root: String,
    /// The folder beneath it, with `/`; empty: the root itself.
    pub folder: String,
}

/// Where models go that jobs wait for, by their kind; a kind that is not there is not downloaded.
pub type DownloadPlaces = BTreeMap<ModelKind, DownloadPlace>;

impl DownloadMissingArgs {
    /// The checked places beneath these roots; every fault is added to `faults`.
    pub(super) fn places(&self, roots: &[RootConfig], faults: &mut Vec<String>) -> DownloadPlaces {
        let mut places = DownloadPlaces::new();
        let texts = self.download_missing.iter();
        for text in texts.filter(|text| !text.is_empty()) {
            match place(text, roots) {
                Ok((kind, _)) if places.contains_key(&kind) => {
                    faults.push(format!(
                        "--download-missing {text:?}: {} is named twice",
                        kind.as_str()
                    ));
                }
                Ok((kind, place)) => {
                    places.insert(kind, place);
                }
                Err(fault) => faults.push(format!("--download-missing {text:?} {fault}")),
            }
        }
        places
    }
}

fn place(text: &str, roots: &[RootConfig]) -> Result<(ModelKind, DownloadPlace), String> {
    let (word, place) = text
        .split_once('=')
        .ok_or("must be TYPE=ROOT or TYPE=ROOT/FOLDER")?;
    let kind = ModelKind::from_word(word);
    let kind = kind.ok_or_else(|| format!("{word:?} must be checkpoint or lora"))?;
    let (name, folder) = place.split_once('/').unwrap_or((place, ""));
    let root = roots.iter().find(|root| root.name == name);
    let root = root.ok_or_else(|| format!("{name:?} must be the name of a --library-root"))?;
    if let Some(of_root) = root.kind.filter(|of_root| *of_root != kind) {
        return Err(format!(
            "the root {name} is for files of type {}",
            of_root.as_str()
        ));
    }
    if place.ends_with('/') || folder.len() > FOLDER_BYTES_MAX || !is_allowed_folder(folder) {
        return Err(format!(
            "{folder:?} must be names of at most {FOLDER_BYTES_MAX} bytes in all with '/' between \
             them, none of which begins with a dot"
        ));
    }
    let place = DownloadPlace {
        root: name.to_owned(),
        folder: folder.to_owned(),
    };
    Ok((kind, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> (DownloadPlaces, Vec<String>) {
        let root = |name: &str, kind| RootConfig {
            name: name.to_owned(),
            path: format!("/m/{name}").into(),
            kind,
        };
        let roots = [root("main", None), root("loras", Some(ModelKind::Lora))];
        let args = DownloadMissingArgs {
            download_missing: texts.iter().map(|&text| text.to_owned()).collect(),
        };
        let mut faults = Vec::new();
        (args.places(&roots, &mut faults), faults)
    }

    #[test]
    fn each_type_has_a_root_and_maybe_a_folder() {
        let (places, faults) = read(&["checkpoint=main/from civitai/new", "lora=loras", ""]);
        assert_eq!(faults, Vec::<String>::new());
        let place = |kind| {
            let place: &DownloadPlace = &places[&kind];
            (place.root.as_str(), place.folder.as_str())
        };
        assert_eq!(place(ModelKind::Checkpoint), ("main", "from civitai/new"));
        assert_eq!(place(ModelKind::Lora), ("loras", ""));
        assert!(read(&[]).0.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_what_it_must_be() {
        for (text, said) in [
            ("checkpoint", "must be TYPE=ROOT"),
            ("vae=main", "must be checkpoint or lora"),
            ("lora=attic", "must be the name of a --library-root"),
            ("checkpoint=loras", "is for files of type lora"),
            ("lora=main/../x", "none of which begins with a dot"),
            ("lora=main//x", "must be names"),
            ("lora=main/", "must be names"),
        ] {
            let (places, faults) = read(&[text]);
            assert!(places.is_empty(), "{text}");
            assert!(
                faults[0].contains(text) && faults[0].contains(said),
                "{faults:?}"
            );
        }
        let (_, faults) = read(&["lora=main", "lora=loras"]);
        assert!(faults[0].contains("named twice"), "{faults:?}");
    }
}
