//! Owns how a reference finds a model: what the text of a reference can mean,
//! how well a model fits it, and whether one model fits best.
//! It does not fetch models and does not know servers.
//!
//! From the strongest to the weakest: SHA-256, AutoV2, the twelve digits of AutoV3 or of a SHA-256,
//! alias, title or path, file name. Within a kind of name, the same case outranks the other case, and
//! the names that the server itself uses outrank those of the registry. When
//! several models fit equally well, nothing is chosen.

use crate::model::{AutoV2, ModelKind, Sha256, TwelveDigits};
use crate::names::{self, Agreement, MODEL_ENDINGS};

/// How a reference was matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchKind {
    /// By the full SHA-256.
    Sha256,
    /// By its first ten or twelve digits, or by AutoV3.
    AutoV2,
    /// By an alias.
    Alias,
    /// By the path, or by its last folders.
    Path,
    /// By the title that a server shows.
    Title,
    /// By the file name.
    Filename,
}

/// How a job names a model, taken apart. Every text is a reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The kind of model that is meant; any when absent.
    pub kind: Option<ModelKind>,
    /// The whole text with `/` between folders.
    text: String,
    /// The text without the hash of a title.
    name: String,
    /// The hash that a title carries.
    title_hash: Option<AutoV2>,
    sha256: Option<Sha256>,
    autov2: Option<AutoV2>,
    twelve: Option<TwelveDigits>,
}

/// The keys under which models that may fit are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupKeys {
    /// The full hash.
    pub sha256: Option<String>,
    /// The short hash; also that of a full one.
    pub autov2: Option<String>,
    /// AutoV3, or the beginning of the full hash.
    pub twelve: Option<String>,
    /// Whole names: aliases and titles.
    pub names: Vec<String>,
    /// File names, with the endings that the reference may have left out.
    pub filenames: Vec<String>,
}

/// The names of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileNames<'a> {
    /// The title a server shows; may be empty.
    pub title: &'a str,
    /// Its path; may be empty.
    pub path: &'a str,
    /// Another name that a server takes for it; may be empty.
    pub alias: &'a str,
}

/// What is known of a model that may fit.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its kind.
    pub kind: ModelKind,
    /// Its SHA-256.
    pub sha256: Option<&'a str>,
    /// Its AutoV2 hash.
    pub autov2: Option<&'a str>,
    /// Its AutoV3 hash.
    pub autov3: Option<&'a str>,
    /// Its aliases.
    pub aliases: &'a [String],
    /// Its files where the question is asked.
    pub files: &'a [FileNames<'a>],
    /// The names that the registry has; they count less than those of `files`.
    pub registry: FileNames<'a>,
    /// The file name that the registry has.
    pub registry_filename: &'a str,
}

/// How well a model fits a reference; the smallest fits best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    class: Class,
    agreement: Agreement,
    /// The place in [`Candidate::files`] of the file that fits, if one does.
    pub file: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Sha256,
    AutoV2,
    TwelveDigits,
    Alias,
    Title,
    Path,
    ServerAlias,
    PathEnd,
    Filename,
    RegistryTitle,
    RegistryPath,
    RegistryPathEnd,
    RegistryFilename,
    TitleHash,
}

/// What a reference stands for among several models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing fits.
    None,
    /// One fits best: its place among the candidates, and how.
    One(usize, Fit),
    /// Several fit equally well: their places.
    Many(Vec<usize>),
}

impl Fit {
    /// How the reference was matched.
    pub fn kind(&self) -> MatchKind {
        match self.class {
            Class::Sha256 => MatchKind::Sha256,
            Class::AutoV2 | Class::TwelveDigits | Class::TitleHash => MatchKind::AutoV2,
            Class::Alias | Class::ServerAlias => MatchKind::Alias,
            Class::Title | Class::RegistryTitle => MatchKind::Title,
            Class::Path | Class::PathEnd | Class::RegistryPath | Class::RegistryPathEnd => {
                MatchKind::Path
            }
            Class::Filename | Class::RegistryFilename => MatchKind::Filename,
        }
    }

    /// Whether only a part of a name fitted, so that another model which was
    /// not looked at could fit as well.
    pub fn is_partial(&self) -> bool {
        self.class >= Class::PathEnd
    }
}

impl Reference {
    /// Takes a reference apart; spaces around it do not count.
    pub fn parse(text: &str, kind: Option<ModelKind>) -> Self {
        let text = names::with_slashes(text.trim());
        let (name, title_hash) = names::split_title(&text);
        Self {
            kind,
            name: name.to_owned(),
            title_hash,
            sha256: Sha256::parse(&text),
            autov2: AutoV2::parse(&text),
            twelve: TwelveDigits::parse(&text),
            text,
        }
    }

    /// Where models that may fit are found.
    pub fn lookup_keys(&self) -> LookupKeys {
        let mut whole = vec![names::key(&self.text)];
        if self.name != self.text {
            whole.push(names::key(&self.name));
        }
        let mut filenames = Vec::with_capacity(whole.len() * (1 + MODEL_ENDINGS.len()));
        for name in &whole {
            let last = names::last_part(name);
            filenames.push(last.to_owned());
            filenames.extend(MODEL_ENDINGS.iter().map(|ending| format!("{last}{ending}")));
        }
        let short = self.sha256.as_ref().map(Sha256::autov2);
        let short = short.or_else(|| self.autov2.clone());
        LookupKeys {
            sha256: self.sha256.as_ref().map(|hash| hash.as_str().to_owned()),
            autov2: short
                .or_else(|| self.title_hash.clone())
                .map(|hash| hash.as_str().to_owned()),
            twelve: self.twelve.as_ref().map(|hash| hash.as_str().to_owned()),
            names: whole,
            filenames,
        }
    }

    /// The whole text as a path, with either slash; none when it has no folder.
    pub fn paths(&self) -> Vec<String> {
        match self.text.contains('/') {
            true => vec![self.text.clone(), self.text.replace('/', "\\")],
            false => Vec::new(),
        }
    }

    /// How well a model fits, if at all.
    pub fn fit(&self, candidate: &Candidate<'_>) -> Option<Fit> {
        if self.kind.is_some_and(|kind| kind != candidate.kind) {
            return None;
        }
        self.fit_hash(candidate)
            .or_else(|| self.fit_names(candidate))
            .or_else(|| self.fit_title_hash(candidate))
    }

    fn fit_hash(&self, candidate: &Candidate<'_>) -> Option<Fit> {
        let class = match (&self.sha256, candidate.sha256) {
            (Some(asked), Some(known)) => (asked.as_str() == known).then_some(Class::Sha256)?,
            (Some(asked), None) => {
                (Some(asked.autov2().as_str()) == candidate.autov2).then_some(Class::AutoV2)?
            }
            (None, _) => {
                let short = self.autov2.as_ref();
                let same = short.is_some_and(|asked| Some(asked.as_str()) == candidate.autov2);
                let class = same.then_some(Class::AutoV2);
                class.or_else(|| self.fit_twelve(candidate))?
            }
        };
        Some(whole(class))
    }

    /// Nothing tells of twelve digits which of the two hashes they are of.
    fn fit_twelve(&self, candidate: &Candidate<'_>) -> Option<Class> {
        let asked = self.twelve.as_ref()?.as_str();
        let begins = candidate
            .sha256
            .is_some_and(|sha256| sha256.starts_with(asked));
        (begins || candidate.autov3 == Some(asked)).then_some(Class::TwelveDigits)
    }

    fn fit_names(&self, candidate: &Candidate<'_>) -> Option<Fit> {
        let contradicted = self
            .title_hash
            .as_ref()
            .zip(candidate.autov2)
            .is_some_and(|(asked, known)| asked.as_str() != known);
        if contradicted {
            return None;
        }
        let aliases = candidate.aliases.iter().filter_map(|alias| {
            let agreement = self.agrees_with(alias)?;
            Some(Fit {
                class: Class::Alias,
                agreement,
                file: None,
            })
        });
        let files = candidate
            .files
            .iter()
            .enumerate()
            .filter_map(|(file, names)| {
                let (class, agreement) = self.fit_file(names)?;
                Some(Fit {
                    class,
                    agreement,
                    file: Some(file),
                })
            });
        let registry = self.fit_registry(candidate);
        aliases.chain(files).chain(registry).min()
    }

    /// Another file may hold what a title with a hash means.
    fn fit_title_hash(&self, candidate: &Candidate<'_>) -> Option<Fit> {
        let asked = self.title_hash.as_ref()?;
        (Some(asked.as_str()) == candidate.autov2).then(|| whole(Class::TitleHash))
    }

    fn fit_registry(&self, candidate: &Candidate<'_>) -> Option<Fit> {
        let by_file = self.fit_file(&candidate.registry);
        let by_name = self
            .fit_filename(candidate.registry_filename)
            .map(|agreement| (Class::Filename, agreement));
        let (class, agreement) = [by_file, by_name].into_iter().flatten().min()?;
        let class = match class {
            Class::Title => Class::RegistryTitle,
            Class::Path => Class::RegistryPath,
            Class::PathEnd => Class::RegistryPathEnd,
            _ => Class::RegistryFilename,
        };
        Some(Fit {
            class,
            agreement,
            file: None,
        })
    }

    fn fit_file(&self, names: &FileNames<'_>) -> Option<(Class, Agreement)> {
        let title = names::slashed(names.title);
        let path = names::slashed(names.path);
        let bare_title = names::split_title(&title).0;
        let same_title = [self.agrees_with(&title), self.agrees_with(bare_title)];
        let ends = [bare_title, &*path].map(|whole| self.fit_end(whole));
        let found = [
            same_title
                .into_iter()
                .flatten()
                .min()
                .map(|agreement| (Class::Title, agreement)),
            self.agrees_with(&path)
                .map(|agreement| (Class::Path, agreement)),
            self.agrees_with(names.alias)
                .map(|agreement| (Class::ServerAlias, agreement)),
        ];
        found.into_iter().chain(ends).flatten().min()
    }

    /// Whether the reference is the end of a path: folders and file name, or
    /// the file name alone.
    fn fit_end(&self, path: &str) -> Option<(Class, Agreement)> {
        if !self.name.contains('/') {
            let agreement = self.fit_filename(names::last_part(path))?;
            return Some((Class::Filename, agreement));
        }
        let agreement = names::agree_at_end(&self.name, path)?;
        Some((Class::PathEnd, agreement))
    }

    fn fit_filename(&self, filename: &str) -> Option<Agreement> {
        let usable = !self.name.is_empty() && !self.name.contains('/') && !filename.is_empty();
        usable.then(|| names::agree_at_end(&self.name, filename))?
    }

    /// Compares a whole name with the text and with the text without its hash.
    fn agrees_with(&self, name: &str) -> Option<Agreement> {
        if name.is_empty() {
            return None;
        }
        let name = names::slashed(name);
        [&self.text, &self.name]
            .into_iter()
            .filter_map(|asked| names::agree(asked, &name))
            .min()
    }
}

fn whole(class: Class) -> Fit {
    Fit {
        class,
        agreement: Agreement::Exact,
        file: None,
    }
}

/// Chooses among the models that fit. `sha256_of` tells the full hash of a
/// candidate: equal full hashes are the same model.
pub fn decide<'a>(fits: &[(usize, Fit)], sha256_of: impl Fn(usize) -> Option<&'a str>) -> Decision {
    let rank = |fit: &Fit| (fit.class, fit.agreement);
    let Some(best) = fits.iter().map(|(_, fit)| rank(fit)).min() else {
        return Decision::None;
    };
    let mut equal = fits.iter().filter(|(_, fit)| rank(fit) == best);
    let Some(&(first, fit)) = equal.next() else {
        return Decision::None;
    };
    let mut several = vec![first];
    for &(place, _) in equal {
        let known = sha256_of(place);
        let same = known.is_some() && several.iter().any(|seen| sha256_of(*seen) == known);
        if !same {
            several.push(place);
        }
    }
    if several.len() == 1 {
        Decision::One(first, fit)
    } else {
        Decision::Many(several)
    }
}

mod digits;
pub(crate) mod reading;
#[cfg(test)]
mod tests;
