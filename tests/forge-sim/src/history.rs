//! What a checker reads from an event log: one entry per generation, how it really ended, and which ones of a task
//! ran at the same time. Writes nothing.

use std::collections::HashMap;

use crate::{
    events::{Event, What},
    generation::{Delivery, Outcome},
};

/// How a generation ended, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Still at work when the log was read.
    Running,
    /// All its images are done.
    Completed,
    /// An interrupt or a skip left something out.
    Interrupted,
    /// It ended with an error answer.
    Failed,
    /// Its process died, or never came to write that it did.
    ProcessDied,
}

/// One generation as the events tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// `/app_id` of its process.
    pub app_id: u64,
    /// Its number in its process's program.
    pub generation: u64,
    /// Its `force_task_id`.
    pub task_id: String,
    /// The prompt as sent.
    pub prompt: Option<String>,
    /// The checkpoint asked for by override.
    pub asked_checkpoint: Option<String>,
    /// Title of the checkpoint really used, once it was there.
    pub checkpoint: Option<String>,
    /// True SHA-256 of that file.
    pub sha256: Option<String>,
    /// Sequence number of its start.
    pub started: u64,
    /// Sequence number of its end; where its process died unseen, of the next start of a process.
    pub ended: Option<u64>,
    /// Wall clock of the start, microseconds since 1970.
    pub started_unix_us: u64,
    /// Wall clock of the end.
    pub ended_unix_us: Option<u64>,
    /// How it ended.
    pub end: RunEnd,
    /// Sampling steps done, once it ended.
    pub steps_done: u64,
    /// Sequence numbers of the interrupts and skips that met it.
    pub interrupts: Vec<u64>,
    /// Files it wrote.
    pub files: Vec<String>,
    /// Class and text of its exception.
    pub error: Option<String>,
    /// What became of its answer.
    pub delivery: Delivery,
}

/// The generations of one server's events, in order of their start.
pub fn runs(events: &[Event]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    // Numbers begin anew with each program, process ids with each process.
    let mut places: HashMap<(u64, u64), usize> = HashMap::new();
    for event in events {
        match &event.what {
            What::Booted { .. } => end_lost(&mut runs, event),
            What::Started {
                generation,
                task_id,
                prompt,
                asked_checkpoint,
                ..
            } => {
                places.insert((event.app_id, *generation), runs.len());
                runs.push(Run {
                    app_id: event.app_id,
                    generation: *generation,
                    task_id: task_id.clone(),
                    prompt: prompt.clone(),
                    asked_checkpoint: asked_checkpoint.clone(),
                    checkpoint: None,
                    sha256: None,
                    started: event.seq,
                    ended: None,
                    started_unix_us: event.unix_us,
                    ended_unix_us: None,
                    end: RunEnd::Running,
                    steps_done: 0,
                    interrupts: Vec::new(),
                    files: Vec::new(),
                    error: None,
                    delivery: Delivery::Open,
                });
            }
            what => {
                let place = generation_of(what)
                    .and_then(|generation| places.get(&(event.app_id, generation)));
                if let Some(place) = place {
                    add(&mut runs[*place], event);
                }
            }
        }
    }
    runs
}

fn generation_of(what: &What) -> Option<u64> {
    match what {
        What::Entered { generation, .. }
        | What::Model { generation, .. }
        | What::Saved { generation, .. }
        | What::Ended { generation, .. }
        | What::Delivered { generation, .. } => Some(*generation),
        What::Interrupted(interruption) => interruption.hit.as_ref().map(|hit| hit.generation),
        _ => None,
    }
}

fn add(run: &mut Run, event: &Event) {
    match &event.what {
        What::Model {
            checkpoint, sha256, ..
        } => {
            run.checkpoint = Some(checkpoint.clone());
            run.sha256 = Some(sha256.clone());
        }
        What::Interrupted(_) => run.interrupts.push(event.seq),
        What::Saved { file, .. } => run.files.push(file.clone()),
        What::Ended {
            outcome,
            steps_done,
            error,
            ..
        } => {
            run.end = match outcome {
                Outcome::Running => RunEnd::Running,
                Outcome::Completed => RunEnd::Completed,
                Outcome::Interrupted => RunEnd::Interrupted,
                Outcome::Failed => RunEnd::Failed,
                Outcome::Killed => RunEnd::ProcessDied,
            };
            run.steps_done = *steps_done;
            run.error.clone_from(error);
            end_at(run, event);
        }
        What::Delivered { delivery, .. } => run.delivery = *delivery,
        _ => {}
    }
}

fn end_lost(runs: &mut [Run], event: &Event) {
    for run in runs.iter_mut().filter(|run| run.ended.is_none()) {
        run.end = RunEnd::ProcessDied;
        end_at(run, event);
    }
}

fn end_at(run: &mut Run, event: &Event) {
    run.ended = Some(event.seq);
    run.ended_unix_us = Some(event.unix_us);
}

/// Pairs of generations of one task id that were at work at the same time, by wall clock, so that the runs of
/// several servers may be given together. One whose process died unseen counts until the next process started.
pub fn overlapping(runs: &[Run]) -> Vec<(&Run, &Run)> {
    let mut pairs = Vec::new();
    for (place, first) in runs.iter().enumerate() {
        for second in &runs[place + 1..] {
            let ends_before = |one: &Run, other: &Run| {
                one.ended_unix_us
                    .is_some_and(|end| end <= other.started_unix_us)
            };
            if first.task_id == second.task_id
                && !ends_before(first, second)
                && !ends_before(second, first)
            {
                pairs.push((first, second));
            }
        }
    }
    pairs
}
