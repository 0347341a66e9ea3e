//! Owns which file a reference means: by the hash that it gives, or by that of the one model of the
//! registry that it fits. It asks nobody outside.

use crate::availability::{self, MayFit, Resolution};
use crate::error::ModelError;
use crate::library::Library;
use crate::model::SHA256_DIGITS;
use crate::reference::Reference;
use crate::store;

/// A file that is meant for certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meant {
    /// Its SHA-256, or the first digits of it, in lower case.
    pub(super) digits: String,
    /// The name that it must have to be found by the reference; `None` when the hash finds it.
    pub(super) filename: Option<String>,
}

impl Meant {
    fn by_hash(digits: &str) -> Self {
        Self {
            digits: digits.to_owned(),
            filename: None,
        }
    }
}

impl Library {
    /// Which file a reference means, or why nobody knows.
    pub(super) async fn meant(
        &self,
        reference: &Reference,
    ) -> Result<Result<Meant, String>, ModelError> {
        if let Some(whole) = reference
            .digits()
            .filter(|digits| digits.len() == SHA256_DIGITS)
        {
            return Ok(Ok(Meant::by_hash(whole)));
        }
        let asked = [reference.clone()];
        let read = self.ledger().read("missing_may_fit", move |connection| {
            let mut found = store::lookup::may_fit(connection, &asked)?;
            let [reference] = &asked;
            Ok(found.pop().map(|may_fit| meant(reference, &may_fit)))
        });
        let nothing = || Err(NAME_ALONE.to_owned());
        Ok(read.await?.unwrap_or_else(nothing))
    }
}

/// What is said of a name that nothing is known of.
const NAME_ALONE: &str = "a name alone does not say which file is meant, and nothing is downloaded \
                          by its name; name it by its SHA-256 or AutoV2";

/// The same where these models may fit. A hash goes before a name, and a short one that the registry
/// knows is completed from there.
fn meant(reference: &Reference, may_fit: &MayFit) -> Result<Meant, String> {
    let digits = reference.digits();
    let id = match availability::resolve(reference, may_fit) {
        Resolution::One(id, _) => id,
        Resolution::Many(ids) => {
            return Err(format!(
                "it fits {} models of the registry or more; name one by its SHA-256",
                ids.len()
            ));
        }
        Resolution::None => {
            return digits
                .map(Meant::by_hash)
                .ok_or_else(|| NAME_ALONE.to_owned());
        }
    };
    let model = may_fit.models.iter().find(|model| model.id == id);
    let known = model.and_then(|model| Some((model, model.sha256.as_deref()?)));
    match (known, digits) {
        (Some((_, sha256)), Some(digits)) if sha256.starts_with(digits) => {
            Ok(Meant::by_hash(sha256))
        }
        (_, Some(digits)) => Ok(Meant::by_hash(digits)),
        (Some((model, sha256)), None) => Ok(Meant {
            digits: sha256.to_owned(),
            filename: Some(model.filename.clone()),
        }),
        (None, None) => Err(format!(
            "it is model {id} of the registry, of which no SHA-256 is known, and nothing is \
             downloaded by its name; name it by its SHA-256 or AutoV2"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::availability::KnownModel;
    use crate::model::ModelKind;

    const SHA: &str = "2870ca6e33d3665391b10c77641074755bf3b0283449ef1d52486dc7cfe392c8";

    fn known(id: i64, filename: &str, sha256: Option<&str>) -> Arc<KnownModel> {
        Arc::new(KnownModel {
            id,
            kind: ModelKind::Lora,
            sha256: sha256.map(str::to_owned),
            autov2: sha256.map(|sha256| sha256[..10].to_owned()),
            autov3: None,
            hashed_at: None,
            local_path: String::new(),
            filename: filename.to_owned(),
            forge_format: String::new(),
            aliases: Vec::new(),
            seen_on: Vec::new(),
            files: Vec::new(),
        })
    }

    fn of(text: &str, models: Vec<Arc<KnownModel>>) -> Result<Meant, String> {
        let reference = Reference::parse(text, Some(ModelKind::Lora));
        let truncated = false;
        meant(&reference, &MayFit { models, truncated })
    }

    #[test]
    fn a_hash_is_enough_and_a_name_alone_is_not() {
        for (text, digits) in [
            ("2870CA6E33", "2870ca6e33"),
            ("2870ca6e33d3", "2870ca6e33d3"),
            ("fox.safetensors [2870ca6e33]", "2870ca6e33"),
        ] {
            assert_eq!(of(text, Vec::new()), Ok(Meant::by_hash(digits)), "{text}");
        }
        for text in ["fox.safetensors", "sub/fox", "2870ca6e"] {
            assert!(of(text, Vec::new()).unwrap_err().contains("name alone"));
        }
    }

    #[test]
    fn a_short_hash_is_completed_and_a_name_stands_for_the_one_model_with_a_hash() {
        let fox = || known(1, "fox.safetensors", Some(SHA));
        assert_eq!(of("2870ca6e33", vec![fox()]), Ok(Meant::by_hash(SHA)));
        let by_name = of("fox", vec![fox()]).unwrap();
        assert_eq!(by_name.digits, SHA);
        assert_eq!(by_name.filename.as_deref(), Some("fox.safetensors"));
        let without = of("fox", vec![known(1, "fox.safetensors", None)]);
        assert!(without.unwrap_err().contains("no SHA-256 is known"));
        let other = SHA.replace('2', "3");
        let two = vec![fox(), known(2, "fox.safetensors", Some(&other))];
        assert!(of("fox", two).unwrap_err().contains("fits 2 models"));
    }

    #[test]
    fn a_name_that_looks_like_a_hash_is_no_proof_of_another_file() {
        let other = SHA.replace('2', "3");
        let named = vec![known(1, "2870ca6e33.safetensors", Some(&other))];
        assert_eq!(of("2870ca6e33", named), Ok(Meant::by_hash("2870ca6e33")));
    }
}
