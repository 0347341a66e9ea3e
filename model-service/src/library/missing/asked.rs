//! Owns what Civitai says of a hash that is missing: from an answer that is kept, else by asking
//! once. The time that one call may spend on it is bounded; answers are kept, so that the next call
//! goes on behind them.

use std::time::Duration;

use super::{Fate, LATER, MUCH_LATER, MissingModel};
use crate::civitai::{Answer, Trouble, Version};
use crate::error::ModelError;
use crate::ledger::Changed;
use crate::library::download::name;
use crate::library::{Library, kept_answers};
use crate::model::{ModelKind, Sha256};
use crate::reference::reading::with_article;
use crate::store;

/// How long one call waits for Civitai in all.
const CIVITAI_WAIT_MAX: Duration = Duration::from_secs(20);

/// Endings of the formats that hold no code.
const PLAIN_ENDINGS: [&str; 3] = [".safetensors", ".sft", ".gguf"];

/// A file that Civitai has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) version_id: String,
    pub(super) sha256: Sha256,
    /// Its name, made safe, with the ending of a format that holds no code.
    pub(super) name: String,
}

/// What one call asks.
pub(super) struct Asking<'a> {
    library: &'a Library,
    /// When it has waited long enough, in the time of the process.
    until: Duration,
    /// Why Civitai is not asked any more by this call.
    silent: Option<MissingModel>,
}

impl<'a> Asking<'a> {
    pub(super) fn new(library: &'a Library) -> Self {
        let now = library.clock().monotonic();
        Self {
            library,
            until: now.saturating_add(CIVITAI_WAIT_MAX),
            silent: None,
        }
    }

    /// The file of this kind whose SHA-256 begins so, or why there is none.
    pub(super) async fn about(
        &mut self,
        digits: &str,
        kind: ModelKind,
    ) -> Result<Result<Known, MissingModel>, ModelError> {
        if self.library.civitai().offline() {
            // Also where an answer is kept: a download would be refused.
            let words = ModelError::Offline.to_string();
            return Ok(Err(MissingModel::new(Fate::Unavailable, words, None)));
        }
        let version = match self.kept(digits).await? {
            Some(kept) => kept,
            None => match self.ask(digits).await? {
                Ok(version) => version,
                Err(silent) => return Ok(Err(silent)),
            },
        };
        let chosen = version.map_or_else(
            || Err(not_there("Civitai does not know its hash".to_owned())),
            |version| chosen(&version, digits, kind),
        );
        Ok(chosen)
    }

    /// An answer that is kept: a version, or that there is none.
    async fn kept(&self, digits: &str) -> Result<Option<Option<Version>>, ModelError> {
        let questions = [kept_answers::question(digits)];
        let now = self.library.clock().now();
        let read = self
            .library
            .ledger()
            .read("kept_civitai_answer", move |connection| {
                let kept = store::civitai_answers::kept(connection, &questions, now)?;
                let texts = store::civitai_answers::texts(connection, &questions)?;
                let [question] = &questions;
                let kept = kept.get(question).map(|kept| kept.found);
                Ok(kept.map(|found| texts.get(question).cloned().filter(|_| found)))
            });
        Ok(match read.await? {
            None => None,
            Some(None) => Some(None),
            // One that cannot be read is asked anew.
            Some(Some(text)) => {
                let json = serde_json::from_str(&text).ok();
                json.and_then(Version::read).map(Some)
            }
        })
    }

    async fn ask(
        &mut self,
        digits: &str,
    ) -> Result<Result<Option<Version>, MissingModel>, ModelError> {
        if let Some(silent) = &self.silent {
            return Ok(Err(silent.clone()));
        }
        let (civitai, clock) = (self.library.civitai(), self.library.clock());
        let left = self.until.saturating_sub(clock.monotonic());
        let answer = clock.timeout(left, civitai.by_hash_once(digits)).await;
        let (version, answered) = match answer {
            Ok(Answer::Found(version)) => (Some(version), true),
            Ok(Answer::NotFound | Answer::NoFile) => (None, true),
            Ok(Answer::Trouble(trouble)) => {
                self.silent = Some(of_trouble(&trouble));
                (None, false)
            }
            Err(_) => {
                let words = "Civitai is asked about too much at this time";
                self.silent = Some(MissingModel::new(Fate::Unavailable, words, Some(LATER)));
                (None, false)
            }
        };
        match (&self.silent, answered) {
            (Some(silent), false) => Ok(Err(silent.clone())),
            _ => {
                self.keep(digits, version.as_ref()).await?;
                Ok(Ok(version))
            }
        }
    }

    async fn keep(&self, digits: &str, version: Option<&Version>) -> Result<(), ModelError> {
        let (civitai, now) = (self.library.civitai(), self.library.clock().now());
        let question = kept_answers::question(digits);
        let answer = match version {
            Some(version) => kept_answers::found(civitai, question, version, now),
            None => Some(kept_answers::not_found(civitai, question, now)),
        };
        let Some(answer) = answer else {
            return Ok(());
        };
        let keep = self
            .library
            .ledger()
            .change("keep_civitai_answer", move |connection, now| {
                store::civitai_answers::put(connection, std::slice::from_ref(&answer), now)?;
                Ok(Changed::silent(()))
            });
        keep.await
    }
}

/// The one file of a version whose SHA-256 begins so, if it may be had and is of this kind.
fn chosen(version: &Version, digits: &str, kind: ModelKind) -> Result<Known, MissingModel> {
    let id = version.id();
    let mut files = version.files();
    files.retain(|file| {
        let sha256 = file.sha256.as_ref().map(Sha256::as_str);
        file.is_model() && sha256.is_some_and(|sha256| sha256.starts_with(digits))
    });
    files.dedup_by(|one, other| one.sha256 == other.sha256);
    let Some(file) = files.pop() else {
        return Err(not_there(format!(
            "Civitai finds version {id} by it, and has no file there whose SHA-256 begins so"
        )));
    };
    let Some(sha256) = file.sha256.filter(|_| files.is_empty()) else {
        let words = format!(
            "several files of Civitai's version {id} have a SHA-256 that begins so; name the one \
             that is meant by all its digits"
        );
        return Err(not_identified(words));
    };
    if !version.downloadable() {
        return Err(not_there(format!(
            "Civitai's version {id} cannot be downloaded: it is archived, or for use at Civitai only"
        )));
    }
    if let Some(word) = of_kind(version).filter(|word| kind_of(word) != Some(kind)) {
        return Err(not_identified(format!(
            "it is {word:?} at Civitai, and not {}",
            with_article(kind)
        )));
    }
    let name = file.name.as_deref().and_then(name::made_safe);
    match name.filter(|name| holds_no_code(name)) {
        Some(name) => Ok(Known {
            version_id: id.to_owned(),
            sha256,
            name,
        }),
        None => Err(MissingModel::new(
            Fate::NotAllowed,
            format!(
                "{:?} is in a format that can hold code, and is not fetched for jobs; if it is \
                 trusted, fetch it with StartDownload of version {id}",
                file.name.unwrap_or_default()
            ),
            None,
        )),
    }
}

/// Whether a file of that name is read as data only: whoever may submit jobs decides what is
/// fetched, and a pickle runs where it is loaded.
pub(super) fn holds_no_code(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    PLAIN_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// What Civitai calls the kind of the version's model.
fn of_kind(version: &Version) -> Option<&str> {
    version.json().get("model")?.get("type")?.as_str()
}

fn kind_of(word: &str) -> Option<ModelKind> {
    match word.to_ascii_lowercase().as_str() {
        "checkpoint" => Some(ModelKind::Checkpoint),
        "lora" | "locon" | "dora" => Some(ModelKind::Lora),
        _ => None,
    }
}

fn not_there(words: String) -> MissingModel {
    MissingModel::new(Fate::NotAtCivitai, words, Some(MUCH_LATER))
}

fn not_identified(words: String) -> MissingModel {
    MissingModel::new(Fate::NotIdentified, words, Some(MUCH_LATER))
}

fn of_trouble(trouble: &Trouble) -> MissingModel {
    let words = format!("Civitai gave no answer ({trouble})");
    let passes = match trouble.may_pass() {
        true => LATER,
        false => MUCH_LATER,
    };
    let after = trouble.after().unwrap_or_default().max(passes);
    MissingModel::new(Fate::Unavailable, words, Some(after))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version(kind: &str, files: &[(&str, &str, &str)]) -> Version {
        let files = files.iter().map(|(name, kind, sha256)| {
            json!({"id": 1, "name": name, "type": kind, "hashes": {"SHA256": sha256}})
        });
        let files: Vec<_> = files.collect();
        Version::read(json!({"id": 7, "files": files, "model": {"type": kind}})).unwrap()
    }

    fn not_identified(chosen: Result<Known, MissingModel>) -> bool {
        matches!(chosen, Err(missing) if matches!(missing.fate, Fate::NotIdentified))
    }

    fn not_there(chosen: Result<Known, MissingModel>) -> bool {
        matches!(chosen, Err(missing) if matches!(missing.fate, Fate::NotAtCivitai))
    }

    #[test]
    fn the_file_that_has_the_hash_is_chosen_whatever_else_the_version_has() {
        let (one, other) = ("ab".repeat(32), "cd".repeat(32));
        let files = [
            ("a.safetensors", "Model", other.as_str()),
            ("../b.safetensors", "Pruned Model", &one),
            ("c.zip", "Training Data", &one),
        ];
        let known = chosen(&version("LoCon", &files), &one[..10], ModelKind::Lora).unwrap();
        assert_eq!(known.sha256.as_str(), one);
        assert_eq!(known.name, "b.safetensors");
        assert_eq!(known.version_id, "7");
    }

    #[test]
    fn what_is_not_certain_is_not_chosen() {
        let one = "ab".repeat(32);
        let like = format!("{}{}", &one[..40], "0".repeat(24));
        let both = [
            ("a.safetensors", "Model", one.as_str()),
            ("b.safetensors", "Model", &like),
        ];
        let of = |version: &Version, digits: &str| chosen(version, digits, ModelKind::Lora);
        let lora = version("LORA", &both);
        assert!(not_identified(of(&lora, &one[..10])));
        assert!(of(&lora, &one).is_ok());
        assert!(not_there(of(&lora, &"cd".repeat(32))));
        let checkpoint = version("Checkpoint", &both[..1]);
        assert!(not_identified(of(&checkpoint, &one)));
        for name in ["a.ckpt", "a.pt", "a", "a.safetensors.pth"] {
            let pickle = chosen(
                &version("LORA", &[(name, "Model", &one)]),
                &one,
                ModelKind::Lora,
            );
            let refused =
                matches!(pickle, Err(missing) if matches!(missing.fate, Fate::NotAllowed));
            assert!(refused, "{name}");
        }
        let vae = version("LORA", &[("a.safetensors", "VAE", &one)]);
        assert!(not_there(of(&vae, &one)));
    }
}
