//! The commands `backup` and `backups`: make, list, verify, restore, prune.

use std::io;
use std::ops::ControlFlow;

use chrono::TimeDelta;
use clap::{Args, Subcommand};

use super::{CommandError, Counted, Outcome, Progress, Subject};
use crate::clock::to_text;
use crate::database::DatabaseLock;
use crate::exit::Exit;
use crate::migrate::{
    self as engine, Backup, CheckedBackup, CopyProgress, Prune, Replaced, back_up_stopped,
    prune_backups, restore, verify_backup,
};

/// What to do with backups. `D` says where the database is.
#[derive(Debug, Clone, Subcommand)]
pub enum BackupsCommand<D: Args> {
    /// Show the backups beside the database, newest first, and behind them the
    /// databases that restores have put aside.
    List(D),
    /// Check backups: their integrity, their references, and that this program
    /// knows their schema.
    Verify(VerifyArgs<D>),
    /// Make a backup the database, on a stopped service. What it replaces is
    /// kept aside.
    Restore(RestoreArgs<D>),
    /// Remove old backups; the newest good one always stays.
    Prune(PruneArgs<D>),
}

/// Which backups to check.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs<D: Args> {
    /// Where the database is.
    #[command(flatten)]
    pub data: D,
    /// The name of the backup, as list prints it; the newest when absent.
    #[arg(conflicts_with = "all")]
    pub name: Option<String>,
    /// Check all of them.
    #[arg(long)]
    pub all: bool,
}

/// The backup to restore.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs<D: Args> {
    /// Where the database is.
    #[command(flatten)]
    pub data: D,
    /// The name of the backup, as list prints it.
    pub name: String,
}

/// Where to prune, and what.
#[derive(Debug, Clone, Args)]
pub struct PruneArgs<D: Args> {
    /// Where the database is.
    #[command(flatten)]
    pub data: D,
    /// What goes.
    #[command(flatten)]
    pub rule: PruneRule,
}

/// Which backups go.
#[derive(Debug, Clone, Args)]
pub struct PruneRule {
    /// How many of the newest stay.
    #[arg(long, required_unless_present_any = ["pre_adoption", "replaced"],
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub keep: Option<u32>,
    /// Of the others, only those older than this go.
    #[arg(long, requires = "keep", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub older_than_days: Option<u32>,
    /// Those from before the database was adopted go, which may hold secrets in
    /// clear.
    #[arg(long)]
    pub pre_adoption: bool,
    /// The databases that restores have put aside go, all of them.
    #[arg(long)]
    pub replaced: bool,
}

impl PruneRule {
    fn prune(&self) -> Prune {
        Prune {
            keep: self.keep.map(|keep| keep as usize),
            older_than: self
                .older_than_days
                .map(|days| TimeDelta::days(days.into())),
            pre_adoption: self.pre_adoption,
        }
    }
}

impl<D: Args> BackupsCommand<D> {
    /// Where the database is.
    pub fn data(&self) -> &D {
        match self {
            Self::List(data) => data,
            Self::Verify(verify) => &verify.data,
            Self::Restore(restore) => &restore.data,
            Self::Prune(prune) => &prune.data,
        }
    }
}

/// Backs up the database of a service that is stopped.
///
/// # Errors
/// [`CommandError::Lock`] when it runs: the service makes the backup then.
pub fn back_up(subject: &Subject<'_>) -> Result<Outcome, CommandError> {
    let lock = subject.lock()?;
    Ok(Outcome::clean(row(&make(subject, &lock)?)))
}

/// Makes a backup of a database that no service uses, and shows how far it is.
///
/// # Errors
/// [`CommandError`]; nothing is left of the copy then.
pub fn make(subject: &Subject<'_>, lock: &DatabaseLock) -> Result<Backup, CommandError> {
    let mut progress = Progress::begin("copying the database", Counted::Bytes, subject.clock);
    let mut step = |copied: CopyProgress| {
        progress.at(copied.done_bytes, copied.total_bytes);
        ControlFlow::Continue(())
    };
    let now = subject.clock.now();
    let made = back_up_stopped(subject.path, lock, subject.schema, now, &mut step);
    Ok(made?)
}

/// Does what is asked with backups.
///
/// # Errors
/// [`CommandError`]; the database is as it was then.
pub fn backups<D: Args>(
    command: &BackupsCommand<D>,
    subject: &Subject<'_>,
) -> Result<Outcome, CommandError> {
    match command {
        BackupsCommand::List(_) => list(subject),
        BackupsCommand::Verify(args) if args.all => verify_all(subject),
        BackupsCommand::Verify(args) => verify(args.name.as_deref(), subject),
        BackupsCommand::Restore(args) => put_back(&args.name, subject),
        BackupsCommand::Prune(args) => prune(&args.rule, subject),
    }
}

fn all(subject: &Subject<'_>) -> Result<Vec<Backup>, CommandError> {
    let found = engine::backups(subject.path, subject.schema.database);
    in_folder(subject, found)
}

fn in_folder<T>(subject: &Subject<'_>, done: io::Result<T>) -> Result<T, CommandError> {
    done.map_err(|source| CommandError::Io {
        path: subject.path.to_owned(),
        source,
    })
}

fn list(subject: &Subject<'_>) -> Result<Outcome, CommandError> {
    let mut rows: Vec<String> = all(subject)?.iter().map(row).collect();
    if rows.is_empty() {
        rows.push(NONE.to_owned());
    }
    let aside = engine::replaced(subject.path, subject.schema.database);
    rows.extend(in_folder(subject, aside)?.iter().map(aside_row));
    Ok(Outcome::clean(rows.join("\n")))
}

const NONE: &str = "there is no backup";

fn row(backup: &Backup) -> String {
    let Backup {
        name,
        created_at,
        size_bytes,
    } = backup;
    format!("{name}  {}  {size_bytes} bytes", to_text(*created_at))
}

fn aside_row(aside: &Replaced) -> String {
    let Replaced {
        name,
        replaced_at,
        size_bytes,
    } = aside;
    let time = to_text(*replaced_at);
    format!("{name}  {time}  {size_bytes} bytes  put aside by a restore")
}

fn verify(name: Option<&str>, subject: &Subject<'_>) -> Result<Outcome, CommandError> {
    let newest = || Ok::<_, CommandError>(all(subject)?.into_iter().next());
    let name = match name {
        Some(name) => name.to_owned(),
        None => match newest()? {
            Some(newest) => newest.name,
            None => {
                return Ok(Outcome {
                    text: NONE.to_owned(),
                    exit: Exit::Failure,
                });
            }
        },
    };
    let checked = verify_backup(subject.path, &name, subject.schema)?;
    Ok(Outcome::clean(good(&checked)))
}

/// Every backup is looked at, also behind a damaged one.
fn verify_all(subject: &Subject<'_>) -> Result<Outcome, CommandError> {
    let (mut lines, mut exit) = (Vec::new(), Exit::Clean);
    let backups = all(subject)?;
    let mut progress = Progress::begin("checking the backups", Counted::Things, subject.clock);
    for (done, backup) in (0..).zip(&backups) {
        progress.at(done, backups.len() as u64);
        match verify_backup(subject.path, &backup.name, subject.schema) {
            Ok(checked) => lines.push(good(&checked)),
            Err(error) => {
                lines.push(format!("{}: {error}", backup.name));
                exit = Exit::BadData;
            }
        }
    }
    if lines.is_empty() {
        lines.push(NONE.to_owned());
    }
    Ok(Outcome {
        text: lines.join("\n"),
        exit,
    })
}

fn good(checked: &CheckedBackup) -> String {
    let CheckedBackup {
        backup,
        schema_version,
        pre_adoption,
        rows,
    } = checked;
    let schema = if *pre_adoption {
        "from before the adoption".to_owned()
    } else {
        format!("schema version {schema_version}")
    };
    format!("{}: good, {schema}, {rows} rows", backup.name)
}

fn put_back(name: &str, subject: &Subject<'_>) -> Result<Outcome, CommandError> {
    let lock = subject.lock()?;
    let done = restore(
        subject.path,
        &lock,
        subject.schema,
        name,
        subject.clock.now(),
    )?;
    let mut text = format!("restored {}", good(&done.from));
    if let Some(replaced) = done.replaced {
        text = format!("{text}\nthe database from before is {}", replaced.display());
    }
    Ok(Outcome::clean(text))
}

fn prune(rule: &PruneRule, subject: &Subject<'_>) -> Result<Outcome, CommandError> {
    let now = subject.clock.now();
    let pruned = prune_backups(subject.path, subject.schema, &rule.prune(), now)?;
    let mut lines: Vec<String> = pruned
        .removed
        .iter()
        .map(|backup| format!("removed {}", backup.name))
        .collect();
    if let Some(spared) = pruned.spared {
        lines.push(format!(
            "{} stays, as it is the newest good one; make a backup and prune again",
            spared.name
        ));
    }
    if rule.replaced {
        let removed = engine::remove_replaced(subject.path, subject.schema.database);
        let removed = in_folder(subject, removed)?;
        lines.extend(
            removed
                .iter()
                .map(|aside| format!("removed {}", aside.name)),
        );
    }
    if lines.is_empty() {
        lines.push("nothing to remove".to_owned());
    }
    Ok(Outcome::clean(lines.join("\n")))
}
