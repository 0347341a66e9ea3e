//! The command `images`: check the images on disk, and take over those of the
//! earlier application.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use service_kit::{
    clock::Clock,
    commands::{Counted, Outcome, Progress},
    database::{DatabaseError, LockError, open_read_only},
    exit::Exit,
    migrate::{self, MigrateError},
};

use crate::{
    config::{self, IMAGES_FOLDER, ImagesCommand, ImagesImportArgs, ImagesVerifyArgs},
    error::Error,
    image_check::{self, ImageCheck},
    older_images::{self, NamedPicture, OlderImages},
    run::{self, StartError, schema},
};

/// Files of one kind that the terminal is told; JSON has more of them.
const SHOWN: usize = 20;

/// Why the command did nothing, or did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImagesError {
    /// The database cannot be taken.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The database refuses.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// There is no database.
    #[error("there is no database at {path}; name the data folder with --data-dir")]
    NoDatabase {
        /// Where it would be.
        path: PathBuf,
    },
    /// The database is not of this program's schema yet.
    #[error("the database is of an older version; bring it up to date with migrate first")]
    NotMigrated,
    /// The folder of the earlier application cannot be used.
    #[error("the folder {path} cannot be read: {source}; name the one with the old pictures")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The folder is the one of our own images.
    #[error("{path} is the folder of images of this service; name the old one")]
    OwnFolder {
        /// The folder.
        path: PathBuf,
    },
    /// An image or a row failed.
    #[error(transparent)]
    Content(#[from] Error),
}

impl From<DatabaseError> for ImagesError {
    fn from(error: DatabaseError) -> Self {
        Self::Content(error.into())
    }
}

impl ImagesError {
    /// How the program ends because of it.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Start(StartError::Lock(LockError::Held { .. })) => Exit::Locked,
            Self::Start(error) => error.exit(),
            Self::Migrate(error) if error.is_bad_data() => Exit::BadData,
            Self::NoDatabase { .. } | Self::Folder { .. } | Self::OwnFolder { .. } => {
                Exit::BadConfiguration
            }
            Self::Migrate(_) | Self::NotMigrated | Self::Content(_) => Exit::Failure,
        }
    }
}

/// Does it, and answers what is to be printed.
pub(super) async fn perform(command: &ImagesCommand, clock: Clock) -> Result<Outcome, ImagesError> {
    match command {
        ImagesCommand::Verify(args) => verify(args, &clock),
        ImagesCommand::Import(args) => import(args, &clock).await,
    }
}

fn existing(data_dir: &Path) -> Result<PathBuf, ImagesError> {
    let path = config::database(data_dir);
    if path.is_file() {
        Ok(path)
    } else {
        Err(ImagesError::NoDatabase { path })
    }
}

fn verify(args: &ImagesVerifyArgs, clock: &Clock) -> Result<Outcome, ImagesError> {
    let path = existing(&args.data.data_dir)?;
    let status = migrate::status(&path, &schema())?;
    status.refusal()?;
    if !status.pending.is_empty() {
        return Err(ImagesError::NotMigrated);
    }
    let mut conn = open_read_only(&path)?;
    let folder = args.data.data_dir.join(IMAGES_FOLDER);
    let mut progress = Progress::begin("checking the images", Counted::Things, clock);
    let found = image_check::check(&mut conn, &folder, |done, total| progress.at(done, total))?;
    drop(progress);
    Ok(Outcome {
        exit: if found.faulty == 0 {
            Exit::Clean
        } else {
            Exit::BadData
        },
        text: if args.json {
            json(&found)
        } else {
            checked(&found)
        },
    })
}

fn checked(found: &ImageCheck) -> String {
    let mut text = format!(
        "{} images, {} bytes: {} missing or other than they should be",
        found.files, found.bytes, found.faulty
    );
    for fault in found.faults.iter().take(SHOWN) {
        // Writing into a text does not fail.
        let _ = write!(
            text,
            "\n  {} of job {}: {}",
            fault.file, fault.job_id, fault.fault
        );
    }
    more(&mut text, found.faulty, found.faults.len());
    if found.unneeded > 0 {
        let (count, bytes) = (found.unneeded, found.unneeded_bytes);
        let _ = write!(
            text,
            "\n{count} files, {bytes} bytes, that no job needs; they stay"
        );
        for file in found.unneeded_files.iter().take(SHOWN) {
            let _ = write!(text, "\n  {file}");
        }
        more(&mut text, found.unneeded, found.unneeded_files.len());
    }
    text
}

async fn import(args: &ImagesImportArgs, clock: &Clock) -> Result<Outcome, ImagesError> {
    let data_dir = &args.data.data_dir;
    existing(data_dir)?;
    let folder = folder(&args.folder)?;
    let (database, store) = run::open_images(data_dir, clock).await?;
    let ours = data_dir.join(IMAGES_FOLDER);
    if fs::canonicalize(&ours).is_ok_and(|ours| ours == folder) {
        database.close().await?;
        return Err(ImagesError::OwnFolder { path: folder });
    }
    let mut progress = Progress::begin("taking over the pictures", Counted::Things, clock);
    let told = |done, total| progress.at(done, total);
    let done = older_images::import(&database, &store, &folder, told).await;
    drop(progress);
    database.close().await?;
    let done = done?;
    Ok(Outcome {
        exit: Exit::Clean,
        text: if args.json {
            json(&done)
        } else {
            imported(&done)
        },
    })
}

/// The folder with all links resolved.
fn folder(path: &Path) -> Result<PathBuf, ImagesError> {
    let fault = |source| ImagesError::Folder {
        path: path.to_owned(),
        source,
    };
    let resolved = fs::canonicalize(path).map_err(fault)?;
    // Also says so where it is a file, or may not be read.
    fs::read_dir(&resolved).map_err(fault)?;
    Ok(resolved)
}

fn imported(done: &OlderImages) -> String {
    let mut text = format!(
        "imported {} pictures of {} jobs; {} were there already",
        done.imported, done.jobs, done.present
    );
    let mut list = |what: &str, count: u64, named: &[NamedPicture]| {
        if count > 0 {
            let _ = write!(text, "\n{count} {what}");
        }
        for one in named.iter().take(SHOWN) {
            let _ = write!(
                text,
                "\n  {} of job {}: {}",
                one.name, one.job_id, one.reason
            );
        }
        more(&mut text, count, named.len());
    };
    list("are missing", done.missing, &done.missing_files);
    list("were refused", done.refused, &done.refused_files);
    text
}

/// How many are not shown.
fn more(text: &mut String, count: u64, listed: usize) {
    let shown = listed.min(SHOWN) as u64;
    if count > shown {
        let _ = write!(text, "\n  and {} more", count - shown);
    }
}

fn json(found: &impl Serialize) -> String {
    // Numbers, texts and lists always have a JSON.
    serde_json::to_string_pretty(found).unwrap_or_default()
}
