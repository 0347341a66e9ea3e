//! Owns the words for what a reference is taken for, and for how a model fits it. It does not match.

use super::{Class, Fit, Reference};
use crate::model::{AUTOV2_DIGITS, AutoV2, ModelKind, SHA256_DIGITS, TWELVE_DIGITS};
use crate::names::Agreement;

/// Digits of AutoV1.
const AUTOV1_DIGITS: usize = 8;
/// Fewest digits that somebody may have taken for a hash.
const LIKELY_DIGITS_MIN: usize = 11;

impl Reference {
    /// What it is taken for, and what is compared with it.
    pub(crate) fn reading(&self) -> String {
        if self.sha256.is_some() {
            return "Read as a SHA-256: compared with the SHA-256 of each model, and its beginning \
                    with the AutoV2 of models without one; and as a name."
                .to_owned();
        }
        let names = "aliases, titles, paths, ends of paths and file names, with either slash, in \
                     either case of ASCII letters, with or without an ending such as .safetensors";
        if self.autov2.is_some() {
            return format!("Read as an AutoV2, and as a name: compared with {names}.");
        }
        if self.twelve.is_some() {
            return format!(
                "Read as {TWELVE_DIGITS} digits of an AutoV3 or of a SHA-256, and as a name: \
                 compared with {names}."
            );
        }
        if let Some(hash) = &self.title_hash {
            return format!(
                "Read as a title with the AutoV2 {}: compared with {names} of models whose AutoV2 \
                 is that or not known, and the hash alone with the AutoV2 of the others.",
                hash.as_str()
            );
        }
        format!("Read as a name: compared with {names}.")
    }

    /// What it may have been meant as and is not.
    pub(crate) fn misreading(&self) -> Option<String> {
        let digits = self.text.len();
        let hash = self.text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let known = [AUTOV2_DIGITS, TWELVE_DIGITS, SHA256_DIGITS].contains(&digits);
        if !hash || known {
            return None;
        }
        if digits == AUTOV1_DIGITS {
            return Some(
                "Eight digits are an AutoV1, which many files share: nothing is found by it; use \
                 the AutoV2 or the SHA-256."
                    .to_owned(),
            );
        }
        (digits >= LIKELY_DIGITS_MIN).then(|| {
            format!(
                "{digits} digits are no hash that models are found by: an AutoV2 has \
                 {AUTOV2_DIGITS}, an AutoV3 {TWELVE_DIGITS}, a SHA-256 {SHA256_DIGITS}."
            )
        })
    }

    /// The same for models of any kind.
    pub(crate) fn of_any_kind(&self) -> Self {
        Self {
            kind: None,
            ..self.clone()
        }
    }

    /// The name of a title alone, and the hash that it carries.
    pub(crate) fn without_title_hash(&self) -> Option<(Self, &AutoV2)> {
        let hash = self.title_hash.as_ref()?;
        Some((Self::parse(&self.name, self.kind), hash))
    }

    /// The beginning of the SHA-256 that is asked for.
    pub(crate) fn beginning(&self) -> Option<AutoV2> {
        Some(self.sha256.as_ref()?.autov2())
    }
}

impl Fit {
    /// How the model fits.
    pub(crate) fn words(&self) -> String {
        let by = match self.class {
            Class::Sha256 => "by its SHA-256",
            Class::AutoV2 => "by its AutoV2",
            Class::TwelveDigits => "by its AutoV3 or the beginning of its SHA-256",
            Class::Alias => "by an alias",
            Class::Title => "by its title",
            Class::Path => "by its path",
            Class::ServerAlias => "by another name that a server has for it",
            Class::PathEnd => "by the end of its path",
            Class::Filename => "by its file name",
            Class::RegistryTitle => "by its registered title",
            Class::RegistryPath => "by its registered path",
            Class::RegistryPathEnd => "by the end of its registered path",
            Class::RegistryFilename => "by its registered file name",
            Class::TitleHash => "by the AutoV2 in the title, under another name",
        };
        let case = match self.agreement {
            Agreement::Exact => "",
            Agreement::Folded => ", in another case of letters",
        };
        format!("{by}{case}")
    }
}

/// A kind of model in a sentence.
pub(crate) const fn with_article(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Checkpoint => "a checkpoint",
        ModelKind::Lora => "a LoRA",
    }
}
