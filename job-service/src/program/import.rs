//! The command `migrate --import-json`: the jobs of a file of the earlier
//! application, after the migrations of the command and under the same lock.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use service_kit::{
    clock::Clock,
    commands::{self, CommandError, Outcome, Subject},
    database::{Database, DatabaseError, DatabaseLock, DatabaseOptions, open_read_only},
    exit::Exit,
    migrate::{MigrateError, MigrationReport},
};

use crate::{
    config::{self, MigrateArgs},
    error::Error,
    older_jobs::{self, FILE_BYTES_MAX, ListFault},
    run::{SERVICE, schema},
    store::adoption::{JobsImport, has_new, import_jobs},
};

/// Refused entries that the terminal is told; the report has them all.
const REFUSED_SHOWN: usize = 20;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    /// There is no such file.
    #[error("--import-json {path}: there is no such file")]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// It is a folder or something else.
    #[error("--import-json {path}: is no file; name the job_queue.json itself")]
    NotAFile {
        /// What it is not.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("--import-json {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is larger than what is read.
    #[error(
        "--import-json {path}: has more than {FILE_BYTES_MAX} bytes; split the list and import \
         the parts"
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no text.
    #[error("--import-json {path}: is no UTF-8 text")]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else.
    #[error("--import-json {path}: {fault}")]
    NotAList {
        /// The file.
        path: PathBuf,
        /// What it holds.
        fault: ListFault,
    },
    /// The database was not migrated, or the report not written.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The jobs did not come into the database.
    #[error("no job was imported: {0}")]
    Content(#[from] Error),
}

impl From<DatabaseError> for ImportError {
    fn from(error: DatabaseError) -> Self {
        Self::Content(error.into())
    }
}

impl From<MigrateError> for ImportError {
    fn from(error: MigrateError) -> Self {
        Self::Command(error.into())
    }
}

impl ImportError {
    /// How the program ends because of it.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::NoFile { .. } | Self::NotAFile { .. } => Exit::BadConfiguration,
            Self::TooLarge { .. } | Self::NotText { .. } | Self::NotAList { .. } => Exit::BadData,
            Self::Command(error) => error.exit(),
            Self::Io { .. } | Self::Content(_) => Exit::Failure,
        }
    }
}

/// What is written with `--report`.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    migration: &'a MigrationReport,
    import: &'a JobsImport,
}

/// Migrates the database, then imports the jobs of a file. The file is read
/// first: a wrong one changes nothing at all.
pub(super) async fn perform(args: &MigrateArgs, file: &Path) -> Result<Outcome, ImportError> {
    let text = Arc::new(read(file)?);
    check(file, &text)?;
    let (path, schema) = (config::database(&args.data.data_dir), schema());
    let clock = Clock::system();
    let subject = Subject {
        path: &path,
        schema: &schema,
        service: SERVICE,
        clock: &clock,
    };
    let (mut migration, lock) = commands::migrate_locked(&args.migration, &subject)?;
    if !args.migration.no_backup && !migration.created && migration.backup.is_none() {
        migration.backup = backup(&subject, &lock, &text)?;
    }
    let now = clock.now();
    let database = Database::open(&path, lock, DatabaseOptions::default())?;
    let imported = database
        .write("import_jobs", move |conn| {
            let entries = older_jobs::entries(&text).unwrap_or_default();
            import_jobs(conn, &entries, now)
        })
        .await;
    database.close().await?;
    let import = imported?;
    if let Some(report) = &args.migration.report {
        let whole = Report {
            migration: &migration,
            import: &import,
        };
        commands::write_report(report, &whole)?;
    }
    let verbose = args.migration.verbose;
    let text = commands::told(&migration, verbose) + &told(&import, file, verbose);
    Ok(Outcome {
        text,
        exit: Exit::Clean,
    })
}

/// A backup where the import is going to change something.
fn backup(
    subject: &Subject<'_>,
    lock: &DatabaseLock,
    text: &str,
) -> Result<Option<PathBuf>, ImportError> {
    let entries = older_jobs::entries(text).unwrap_or_default();
    let mut connection = open_read_only(subject.path)?;
    let changes = has_new(&mut connection, &entries)?;
    drop(connection);
    if !changes {
        return Ok(None);
    }
    let made = commands::make(subject, lock)?;
    Ok(Some(subject.path.with_file_name(made.name)))
}

/// The text of the file, within the limit.
fn read(path: &Path) -> Result<String, ImportError> {
    let fault = |source: io::Error| {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::NotFound => ImportError::NoFile { path },
            _ => ImportError::Io { path, source },
        }
    };
    if !fs::metadata(path).map_err(fault)?.is_file() {
        return Err(ImportError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fault)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(fault)?;
    let path = path.to_owned();
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ImportError::TooLarge { path });
    }
    String::from_utf8(bytes).map_err(|_| ImportError::NotText { path })
}

fn check(path: &Path, text: &str) -> Result<(), ImportError> {
    match older_jobs::entries(text) {
        Ok(_) => Ok(()),
        Err(fault) => Err(ImportError::NotAList {
            path: path.to_owned(),
            fault,
        }),
    }
}

/// What was imported, for the terminal.
fn told(import: &JobsImport, file: &Path, all: bool) -> String {
    let (new, there, refused) = (&import.imported, &import.present, &import.refused);
    let mut text = format!(
        "\nimported {} jobs of {}; {} were there already, {} entries were refused",
        new.len(),
        file.display(),
        there.len(),
        refused.len()
    );
    let shown = if all { refused.len() } else { REFUSED_SHOWN };
    for entry in refused.iter().take(shown) {
        // Writing into a text does not fail.
        let _ = write!(text, "\n  entry {}: {}", entry.index, entry.reason);
    }
    if refused.len() > shown {
        let more = refused.len() - shown;
        let _ = write!(
            text,
            "\n  and {more} more, which --report and --verbose tell"
        );
    }
    if !import.deleted.is_empty() {
        let count = import.deleted.len();
        let _ = write!(
            text,
            "\n{count} were deleted since an earlier import and stay so"
        );
    }
    if !refused.is_empty() {
        text.push_str("\n  their text is kept in adoption_values");
    }
    for note in &import.notes {
        let _ = write!(text, "\n{note}");
    }
    text
}
