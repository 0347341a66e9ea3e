//! The command `migrate`: look, try, do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::report::write;
use super::{CommandError, Outcome, Subject};
use crate::database::DatabaseLock;
use crate::exit::Exit;
use crate::migrate::{
    self as engine, AdoptionReport, DryRun, MigrateOptions, MigrationReport, MigrationStatus,
};

/// How to migrate.
#[derive(Debug, Clone, Default, Args)]
pub struct MigrationArgs {
    /// Only tell what is applied and what is pending, also beside a running
    /// service.
    #[arg(long, conflicts_with_all = ["dry_run", "to", "report", "no_backup"])]
    pub status: bool,
    /// Do it on a copy of the database, tell what would change, and remove the
    /// copy.
    #[arg(long)]
    pub dry_run: bool,
    /// The version to end with; an older one than the database's takes its
    /// migrations back, as far as they can be, and 0 takes all back.
    #[arg(long, value_name = "VERSION")]
    pub to: Option<String>,
    /// A file for the report, as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Make no backup first. Not with --to, which may lose what an older schema
    /// cannot hold.
    #[arg(long, conflicts_with_all = ["dry_run", "to"])]
    pub no_backup: bool,
    /// Tell every migration, and every table of an adoption or a dry run.
    #[arg(long)]
    pub verbose: bool,
}

/// Does what the arguments say with the database of a service that is stopped; only the status is
/// told of a running one.
///
/// # Errors
/// [`CommandError`]; the database is as it was then.
pub fn migrate(args: &MigrationArgs, subject: &Subject<'_>) -> Result<Outcome, CommandError> {
    if args.status {
        return status(subject);
    }
    let lock = locked(subject)?;
    if args.dry_run {
        return dry_run(args, subject, &lock);
    }
    let report = carry_out(args, subject, &lock)?;
    if let Some(path) = &args.report {
        write_report(path, &report)?;
    }
    Ok(Outcome::clean(told(&report, args.verbose)))
}

/// The same where the service goes on with the database after that, which it keeps locked; neither
/// a status nor a dry run is told, and no report is written.
///
/// # Errors
/// As [`migrate`].
pub fn migrate_locked(
    args: &MigrationArgs,
    subject: &Subject<'_>,
) -> Result<(MigrationReport, DatabaseLock), CommandError> {
    let lock = locked(subject)?;
    let report = carry_out(args, subject, &lock)?;
    Ok((report, lock))
}

/// The lock of the database, whose folder is made if it is missing.
fn locked(subject: &Subject<'_>) -> Result<DatabaseLock, CommandError> {
    if let Some(folder) = subject.path.parent() {
        std::fs::create_dir_all(folder).map_err(|source| CommandError::Io {
            path: folder.to_owned(),
            source,
        })?;
    }
    subject.lock()
}

/// Writes what was done as JSON, whole or not at all, readable by its owner only.
///
/// # Errors
/// [`CommandError::Report`].
pub fn write_report(path: &Path, report: &impl Serialize) -> Result<(), CommandError> {
    write(path, report).map_err(|source| CommandError::Report {
        path: path.to_owned(),
        source,
    })
}

fn carry_out(
    args: &MigrationArgs,
    subject: &Subject<'_>,
    lock: &DatabaseLock,
) -> Result<MigrationReport, CommandError> {
    let Subject { path, schema, .. } = subject;
    let now = subject.clock.now();
    let options = MigrateOptions {
        backup: !args.no_backup,
    };
    let done = match &args.to {
        None => engine::migrate(path, lock, schema, now, &options),
        Some(version) => engine::migrate_to(path, lock, schema, version, now, &options),
    };
    Ok(done?)
}

fn dry_run(
    args: &MigrationArgs,
    subject: &Subject<'_>,
    lock: &DatabaseLock,
) -> Result<Outcome, CommandError> {
    let Subject { path, schema, .. } = subject;
    let now = subject.clock.now();
    let tried = engine::dry_run(path, lock, schema, args.to.as_deref(), now)?;
    if let Some(path) = &args.report {
        write(path, &tried).map_err(|source| CommandError::Io {
            path: path.clone(),
            source,
        })?;
    }
    let mut text = "nothing was changed; a migration would end with\n".to_owned();
    text.push_str(&told(&tried.report, true));
    text.push_str(&rows(&tried, args.verbose));
    Ok(Outcome::clean(text))
}

/// The tables whose rows would be others, or all of them.
fn rows(tried: &DryRun, all: bool) -> String {
    let mut text = String::new();
    for table in &tried.tables {
        if !all && table.before == table.after {
            continue;
        }
        let count = |rows: Option<i64>| rows.map_or("no table".to_owned(), |rows| rows.to_string());
        let (before, after) = (count(table.before), count(table.after));
        line(
            &mut text,
            format_args!("rows of {}: {before}, then {after}", table.table),
        );
    }
    text
}

fn status(subject: &Subject<'_>) -> Result<Outcome, CommandError> {
    let found = engine::status(subject.path, subject.schema)?;
    let refusal = found.refusal().err();
    let mut text = described(&found, subject);
    if let Some(refusal) = &refusal {
        line(&mut text, format_args!("refused: {refusal}"));
    }
    let exit = refusal.map_or(Exit::Clean, |refusal| CommandError::from(refusal).exit());
    Ok(Outcome { text, exit })
}

fn described(found: &MigrationStatus, subject: &Subject<'_>) -> String {
    let missing = if found.exists { "" } else { " (not there yet)" };
    let mut text = format!("database {}{missing}", subject.path.display());
    line(
        &mut text,
        format_args!("schema version {}", found.schema_version()),
    );
    if let Some(oldest) = &found.oldest_schema_version {
        line(
            &mut text,
            format_args!("programs from schema version {oldest} on may open it"),
        );
    }
    if found.is_ahead() {
        let ours = &found.program_schema_version;
        line(
            &mut text,
            format_args!("opened as it is by this program, whose schema version is {ours}"),
        );
    }
    for row in &found.applied {
        line(
            &mut text,
            format_args!("applied {} at {}", row.name, row.applied_at),
        );
    }
    for version in &found.pending {
        line(&mut text, format_args!("pending {version}"));
    }
    if found.adoptable {
        let tables = found.foreign_tables.join(", ");
        line(&mut text, format_args!("to be adopted: {tables}"));
    }
    if found.scrub_pending {
        line(
            &mut text,
            format_args!("secrets in clear are removed by the next start"),
        );
    }
    text
}

/// What a migration did, for the terminal. The first line is for scripts.
#[must_use]
pub fn told(report: &MigrationReport, verbose: bool) -> String {
    let mut text = format!("schema version {}", report.schema_version);
    if verbose {
        for version in &report.applied {
            line(&mut text, format_args!("applied {version}"));
        }
        for version in &report.reverted {
            line(&mut text, format_args!("taken back {version}"));
        }
    }
    if let Some(backup) = &report.backup {
        line(&mut text, format_args!("backup {}", backup.display()));
    }
    if let Some(adoption) = &report.adoption {
        adopted(&mut text, adoption, verbose);
    }
    text
}

fn adopted(text: &mut String, adoption: &AdoptionReport, verbose: bool) {
    for table in &adoption.tables {
        let (name, kept, before) = (&table.table, table.rows_kept, table.rows_before);
        line(
            text,
            format_args!("adopted {name}: {kept} of {before} rows kept"),
        );
        for aside in &table.set_aside {
            line(
                text,
                format_args!("  set aside {} rows: {}", aside.rows, aside.reason),
            );
        }
        if verbose {
            for column in &table.extra {
                let (name, values) = (&column.column, column.values);
                line(text, format_args!("  kept apart {values} values of {name}"));
            }
            for column in &table.replaced {
                let (name, values) = (&column.column, column.values);
                line(text, format_args!("  replaced {values} values of {name}"));
            }
        }
    }
    for renamed in &adoption.renamed {
        line(text, format_args!("gave its name to ours: {renamed}"));
    }
    for lost in &adoption.statements_lost {
        line(text, format_args!("not put back: {lost}"));
    }
    for note in &adoption.notes {
        line(text, format_args!("{note}"));
    }
    if adoption.held_secrets {
        line(
            text,
            format_args!(
                "secrets in clear are gone from the database; the backup from before still has \
                 them until backups prune --pre-adoption"
            ),
        );
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing into a text does not fail.
    let _ = write!(text, "\n{words}");
}
