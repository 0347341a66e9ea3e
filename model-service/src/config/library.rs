//! Owns the knobs of the library and of Civitai. It does not read folders and asks nobody.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;
use url::Url;

use super::download_missing::{DownloadMissingArgs, DownloadPlaces};
use crate::model::ModelKind;

/// Most roots.
pub const ROOTS_MAX: usize = 64;
/// Longest name of a root, in bytes.
pub const ROOT_NAME_BYTES_MAX: usize = 64;
/// Where Civitai is when nothing is configured.
const CIVITAI_URL_DEFAULT: &str = "https://civitai.com";
/// Requests to Civitai in a minute when nothing is configured.
const CIVITAI_REQUESTS_PER_MINUTE_DEFAULT: u32 = 60;
/// Hours that an answer of Civitai is used again when nothing is configured.
const CIVITAI_KEPT_HOURS_DEFAULT: u32 = 168;
/// Hours that a "not found" of Civitai is used again when nothing is configured.
const CIVITAI_NOT_FOUND_HOURS_DEFAULT: u32 = 24;
/// Downloads at one time when nothing is configured.
const DOWNLOADS_AT_ONCE_DEFAULT: u32 = 2;
/// Seconds after which availability is stale when nothing is configured.
const STALE_AFTER_SECONDS_DEFAULT: u64 = 3_600;
/// Longest key of Civitai, in bytes.
const KEY_BYTES_MAX: usize = 1_024;

/// How the library is read and Civitai is asked.
#[derive(Debug, Clone, Args)]
pub struct LibraryArgs {
    /// A folder of model files that may be read, as NAME=PATH, or NAME:checkpoint=PATH or
    /// NAME:lora=PATH where its files do not say what they are; repeat for more. In the environment
    /// separated by `;`.
    #[arg(
        long = "library-root",
        env = "MODEL_SERVICE_LIBRARY_ROOTS",
        value_delimiter = ';'
    )]
    pub library_roots: Vec<String>,
    /// Threads that hash files; 0 takes one for each processor.
    #[arg(long, env = "MODEL_SERVICE_HASH_THREADS", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(0..=64))]
    pub hash_threads: u16,
    /// Where Civitai's API is.
    #[arg(long, env = "MODEL_SERVICE_CIVITAI_URL", default_value = CIVITAI_URL_DEFAULT)]
    pub civitai_url: String,
    /// Where Civitai's files are downloaded; absent is the same as --civitai-url.
    #[arg(long, env = "MODEL_SERVICE_CIVITAI_DOWNLOAD_URL")]
    pub civitai_download_url: Option<String>,
    /// The file of the key for Civitai, which downloads need.
    #[arg(long, env = "MODEL_SERVICE_CIVITAI_KEY_FILE")]
    pub civitai_key_file: Option<PathBuf>,
    /// Most requests to Civitai in a minute.
    #[arg(long, env = "MODEL_SERVICE_CIVITAI_REQUESTS_PER_MINUTE",
          default_value_t = CIVITAI_REQUESTS_PER_MINUTE_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..=6_000))]
    pub civitai_requests_per_minute: u32,
    /// Hours that an answer of Civitai is used again.
    #[arg(long, env = "MODEL_SERVICE_CIVITAI_KEPT_HOURS", default_value_t = CIVITAI_KEPT_HOURS_DEFAULT,
          value_parser = clap::value_parser!(u32).range(0..=87_600))]
    pub civitai_kept_hours: u32,
    /// Hours that Civitai's "not found" is used again.
    #[arg(long, env = "MODEL_SERVICE_CIVITAI_NOT_FOUND_HOURS",
          default_value_t = CIVITAI_NOT_FOUND_HOURS_DEFAULT,
          value_parser = clap::value_parser!(u32).range(0..=87_600))]
    pub civitai_not_found_hours: u32,
    /// Downloads at one time.
    #[arg(long, env = "MODEL_SERVICE_DOWNLOADS_AT_ONCE", default_value_t = DOWNLOADS_AT_ONCE_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..=16))]
    pub downloads_at_once: u32,
    /// See [`DownloadMissingArgs`].
    #[command(flatten)]
    pub download_missing: DownloadMissingArgs,
    /// Never ask Civitai: enrichment uses the answers that are kept, downloads are refused.
    #[arg(long, env = "MODEL_SERVICE_OFFLINE")]
    pub offline: bool,
    /// Seconds after which the availability of a model is stale, where the caller does not say.
    #[arg(long, env = "MODEL_SERVICE_STALE_AFTER_SECONDS", default_value_t = STALE_AFTER_SECONDS_DEFAULT,
          value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub stale_after_seconds: u64,
}

/// A folder of model files that may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootConfig {
    /// Its name, which is unique.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What its files are where they do not say so themselves.
    pub kind: Option<ModelKind>,
}

/// How Civitai is asked.
#[derive(Debug, Clone)]
pub struct CivitaiConfig {
    /// Where its API is; the path ends with `/`.
    pub url: Url,
    /// Where its files are; the path ends with `/`.
    pub download_url: Url,
    /// The key, which is never sent anywhere else.
    pub key: Option<SecretString>,
    /// Most requests in a minute.
    pub requests_per_minute: u32,
    /// How long an answer is used again.
    pub kept: Duration,
    /// How long a "not found" is used again.
    pub not_found_kept: Duration,
    /// Whether it is never asked.
    pub offline: bool,
}

/// How the library is read.
#[derive(Debug, Clone)]
pub struct LibraryConfig {
    /// The roots, by name.
    pub roots: Vec<RootConfig>,
    /// Threads that hash files, at least one.
    pub hash_threads: usize,
    /// Downloads at one time.
    pub downloads_at_once: usize,
    /// Where models go that jobs wait for.
    pub download_missing: DownloadPlaces,
    /// How Civitai is asked.
    pub civitai: CivitaiConfig,
    /// When availability is stale where the caller does not say.
    pub stale_after: Duration,
}

impl Default for LibraryConfig {
    /// No roots, and Civitai is never asked.
    fn default() -> Self {
        let address = Url::parse("http://127.0.0.1:9/").unwrap_or_else(|_| unreachable!());
        Self {
            roots: Vec::new(),
            hash_threads: 1,
            downloads_at_once: DOWNLOADS_AT_ONCE_DEFAULT as usize,
            download_missing: DownloadPlaces::new(),
            civitai: CivitaiConfig {
                url: address.clone(),
                download_url: address,
                key: None,
                requests_per_minute: CIVITAI_REQUESTS_PER_MINUTE_DEFAULT,
                kept: hours(CIVITAI_KEPT_HOURS_DEFAULT),
                not_found_kept: hours(CIVITAI_NOT_FOUND_HOURS_DEFAULT),
                offline: true,
            },
            stale_after: Duration::from_secs(STALE_AFTER_SECONDS_DEFAULT),
        }
    }
}

const fn hours(hours: u32) -> Duration {
    Duration::from_secs(hours as u64 * 3_600)
}

impl LibraryArgs {
    /// The checked configuration; every fault is added to `faults`.
    pub(super) fn config(&self, faults: &mut Vec<String>) -> LibraryConfig {
        let defaults = LibraryConfig::default();
        let mut address = |flag: &str, text: &str| match base_url(text) {
            Ok(url) => url,
            Err(fault) => {
                faults.push(format!("{flag} {fault}"));
                defaults.civitai.url.clone()
            }
        };
        let url = address("--civitai-url", &self.civitai_url);
        let download_url = match &self.civitai_download_url {
            Some(text) => address("--civitai-download-url", text),
            None => url.clone(),
        };
        let roots = roots(&self.library_roots, faults);
        let key = self.civitai_key_file.as_ref().and_then(|path| {
            read_key(path)
                .map_err(|fault| faults.push(format!("--civitai-key-file {fault}")))
                .ok()
        });
        let threads = match usize::from(self.hash_threads) {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        LibraryConfig {
            download_missing: self.download_missing.places(&roots, faults),
            roots,
            hash_threads: threads,
            downloads_at_once: self.downloads_at_once as usize,
            civitai: CivitaiConfig {
                url,
                download_url,
                key,
                requests_per_minute: self.civitai_requests_per_minute,
                kept: hours(self.civitai_kept_hours),
                not_found_kept: hours(self.civitai_not_found_hours),
                offline: self.offline,
            },
            stale_after: Duration::from_secs(self.stale_after_seconds),
        }
    }
}

/// An address to which paths are added.
fn base_url(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| format!("{text:?}: {error}"))?;
    let web = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    if !web || url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "{text:?} must be http:// or https:// with a host, without query and fragment"
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password; the key goes into a file".to_owned());
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn read_key(path: &std::path::Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let key = text.trim();
    let usable = !key.is_empty()
        && key.len() <= KEY_BYTES_MAX
        && key.bytes().all(|byte| byte.is_ascii_graphic());
    if !usable {
        return Err(format!(
            "{} must hold one key of 1 to {KEY_BYTES_MAX} printable ASCII characters",
            path.display()
        ));
    }
    Ok(SecretString::from(key.to_owned()))
}

fn roots(texts: &[String], faults: &mut Vec<String>) -> Vec<RootConfig> {
    let mut roots: Vec<RootConfig> = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        match root(text) {
            Ok(root) if roots.iter().any(|other| other.name == root.name) => {
                faults.push(format!("--library-root {:?} is named twice", root.name));
            }
            Ok(root) => roots.push(root),
            Err(fault) => faults.push(format!("--library-root {text:?} {fault}")),
        }
    }
    if roots.len() > ROOTS_MAX {
        faults.push(format!("--library-root: at most {ROOTS_MAX} roots"));
    }
    roots.sort_by(|a, b| a.name.cmp(&b.name));
    roots
}

fn root(text: &str) -> Result<RootConfig, String> {
    let (name, path) = text.split_once('=').ok_or("must be NAME=PATH")?;
    let (name, kind) = match name.split_once(':') {
        None => (name, None),
        Some((name, word)) => {
            let kind = ModelKind::from_word(word);
            let kind = kind.ok_or_else(|| format!("{word:?} must be checkpoint or lora"))?;
            (name, Some(kind))
        }
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > ROOT_NAME_BYTES_MAX || !name.bytes().all(plain) {
        return Err(format!(
            "needs a name of 1 to {ROOT_NAME_BYTES_MAX} letters, digits, '-', '_' or '.'"
        ));
    }
    if path.is_empty() {
        return Err("needs a path".to_owned());
    }
    Ok(RootConfig {
        name: name.to_owned(),
        path: PathBuf::from(path),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_has_a_name_a_path_and_maybe_a_kind() {
        let mut faults = Vec::new();
        let texts = ["main:lora=/m/Lora", "a=/m/a=b", ""].map(str::to_owned);
        let read = roots(&texts, &mut faults);
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(read[0].path, PathBuf::from("/m/a=b"));
        assert_eq!(
            (read[1].name.as_str(), read[1].kind),
            ("main", Some(ModelKind::Lora))
        );
    }

    #[test]
    fn a_faulty_root_is_named_with_what_it_must_be() {
        for (text, said) in [
            ("/m", "must be NAME=PATH"),
            ("a:vae=/m", "must be checkpoint or lora"),
            ("a b=/m", "needs a name"),
            ("a=", "needs a path"),
        ] {
            let mut faults = Vec::new();
            assert!(roots(&[text.to_owned()], &mut faults).is_empty());
            assert!(faults[0].contains(said), "{faults:?}");
        }
        let mut faults = Vec::new();
        roots(&["a=/m".to_owned(), "a=/n".to_owned()], &mut faults);
        assert!(faults[0].contains("named twice"), "{faults:?}");
    }

    #[test]
    fn an_address_ends_with_a_slash_and_holds_no_login() {
        assert_eq!(
            base_url("https://c.example").unwrap().as_str(),
            "https://c.example/"
        );
        assert_eq!(
            base_url("http://c.example/a").unwrap().as_str(),
            "http://c.example/a/"
        );
        for wrong in [
            "c.example",
            "ftp://c.example",
            "https://u:p@c.example",
            "https://c.example?a",
        ] {
            assert!(base_url(wrong).is_err(), "{wrong}");
        }
    }
}
