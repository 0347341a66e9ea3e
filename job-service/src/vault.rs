//! Keeps the key that seals the logins of servers: from the configuration, or
//! from a file in the data folder that is made when the first login is stored.
//! What sealing is, is `seal`'s; where sealed values are stored, the store's.
//!
//! The file is never part of a backup: a copy of the database alone opens
//! nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use crate::{
    seal::{self, NoRandomness, NotOpened, NotSealed, Place, Sealed, SealingKey},
    server::{LoginKind, ServerLogin},
};

/// The name of the key's file in the data folder.
pub const KEY_FILE: &str = "credentials.key";
/// The mode of that file: its owner reads and writes it, nobody else.
const KEY_FILE_MODE: u32 = 0o600;
/// The mode bits that the file must not have.
const OTHERS: u32 = 0o077;
/// Bytes of the file that are read at most.
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// Why there is no key, or none that may be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultFault {
    /// Others may read the key.
    #[error("{} has mode {mode:04o}, so others may read the key; run chmod 600 {}", path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds no key.
    #[error("{} holds no key: it {why}; restore it, or remove it and set the logins of servers again", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: seal::NotAKey,
    },
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// No key could be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The key is there, and the login was not encrypted.
    #[error(transparent)]
    NotSealed(#[from] NotSealed),
}

/// Why a stored login cannot be used, with what helps.
#[derive(Debug, thiserror::Error)]
#[error(
    "its {} cannot be decrypted: {why}; restore the key ({KEY_FILE} in the data folder, or \
     JOB_SERVICE_CREDENTIALS_KEY) and restart, or set server.{} again with UpdateServer",
    kind.field(), kind.field()
)]
pub struct LoginLost {
    /// Which login.
    pub kind: LoginKind,
    /// What is wrong with it.
    pub why: String,
}

/// Holds the key.
#[derive(Debug)]
pub struct Vault {
    file: PathBuf,
    key: Mutex<Option<SealingKey>>,
}

impl Vault {
    /// Takes the key that was configured, or else the one in the data folder
    /// when there is one. Reads the disk.
    pub fn open(data_dir: &Path, configured: Option<SealingKey>) -> Result<Self, VaultFault> {
        let file = data_dir.join(KEY_FILE);
        let key = match configured {
            Some(key) => Some(key),
            None => read(&file)?,
        };
        Ok(Self {
            file,
            key: Mutex::new(key),
        })
    }

    /// Seals a login for its place. The first one makes the key and its file,
    /// which is on disk when this returns; blocks until then.
    pub fn seal(
        &self,
        kind: LoginKind,
        alias: &str,
        base_url: &str,
        login: &ServerLogin,
    ) -> Result<Sealed, VaultFault> {
        let key = self.key_or_new()?;
        // No user has a colon.
        let secret = Zeroizing::new(format!(
            "{}:{}",
            login.user(),
            login.password().expose_secret()
        ));
        let place = place(kind, alias, base_url);
        Ok(seal::seal(&key, place, secret.as_bytes())?)
    }

    /// Opens a login that was sealed for this place.
    pub fn unseal(
        &self,
        kind: LoginKind,
        alias: &str,
        base_url: &str,
        sealed: &Sealed,
    ) -> Result<ServerLogin, LoginLost> {
        let lost = |why: String| LoginLost { kind, why };
        let key = self.lock().clone();
        let key = key.ok_or_else(|| lost("its key is gone".to_owned()))?;
        let secret = seal::open(&key, place(kind, alias, base_url), sealed)
            .map_err(|error| lost(error.to_string()))?;
        let login = std::str::from_utf8(&secret)
            .ok()
            .and_then(|text| text.split_once(':'))
            .and_then(|(user, password)| {
                ServerLogin::parse(user.to_owned(), password.to_owned()).ok()
            });
        login.ok_or_else(|| lost(NotOpened.to_string()))
    }

    fn key_or_new(&self) -> Result<SealingKey, VaultFault> {
        let mut held = self.lock();
        if let Some(key) = &*held {
            return Ok(key.clone());
        }
        // It may have been restored since the start.
        let key = match read(&self.file)? {
            Some(key) => key,
            None => make(&self.file)?,
        };
        *held = Some(key.clone());
        Ok(key)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<SealingKey>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place<'a>(kind: LoginKind, alias: &'a str, base_url: &'a str) -> Place<'a> {
    Place {
        column: kind.column(),
        alias,
        base_url,
    }
}

/// The key in a file; `None` when there is no file.
fn read(path: &Path) -> Result<Option<SealingKey>, VaultFault> {
    let fault = |source| VaultFault::Io {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error)),
    };
    let mode = file.metadata().map_err(fault)?.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(VaultFault::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = Zeroizing::new(String::new());
    io::Read::read_to_string(&mut io::Read::take(file, KEY_FILE_BYTES_MAX), &mut text)
        .map_err(fault)?;
    let key = SealingKey::parse(&text).map_err(|why| VaultFault::NotAKey {
        path: path.to_owned(),
        why,
    })?;
    Ok(Some(key))
}

/// Makes a key and its file, whole or not at all; a file that is there is
/// never replaced.
fn make(path: &Path) -> Result<SealingKey, VaultFault> {
    let key = SealingKey::generate()?;
    write(path, &key).map_err(|source| VaultFault::Io {
        path: path.to_owned(),
        source,
    })?;
    tracing::info!(file = %path.display(), "made the key that encrypts the logins of servers; keep a copy of it apart from backups");
    Ok(key)
}

fn write(path: &Path, key: &SealingKey) -> io::Result<()> {
    let unfinished = path.with_extension("key.unfinished");
    // What a crash left; the data folder is this process's alone.
    if let Err(error) = fs::remove_file(&unfinished)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(KEY_FILE_MODE)
        .open(&unfinished)?;
    let text = Zeroizing::new(format!("{}\n", key.to_text().as_str()));
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::hard_link(&unfinished, path)?;
    fs::remove_file(&unfinished)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
#[path = "vault/tests.rs"]
mod tests;
