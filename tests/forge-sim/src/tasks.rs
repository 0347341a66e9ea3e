//! Forge's memory of tasks (`modules/progress.py`): which id runs, which wait, the last sixteen that ended.

use std::collections::VecDeque;

/// Forge forgets ended ids beyond this many.
const FINISHED_LIMIT: usize = 16;

/// Task ids as Forge remembers them. A failed task stays `current` until another one starts.
#[derive(Debug, Default)]
pub(crate) struct TaskMemory {
    current: Option<String>,
    pending: Vec<String>,
    finished: VecDeque<String>,
}

/// What Forge says about one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tracking {
    pub(crate) active: bool,
    pub(crate) queued: bool,
    pub(crate) completed: bool,
    /// Place in the queue from 1, and its length.
    pub(crate) place: Option<(usize, usize)>,
}

impl TaskMemory {
    /// A dictionary in Forge: the same id twice is one entry, moved to the end by its newer time.
    pub(crate) fn add_to_queue(&mut self, id: &str) {
        self.pending.retain(|pending| pending != id);
        self.pending.push(id.to_owned());
    }

    pub(crate) fn start(&mut self, id: &str) {
        self.current = Some(id.to_owned());
        self.pending.retain(|pending| pending != id);
    }

    pub(crate) fn finish(&mut self, id: &str) {
        if self.current.as_deref() == Some(id) {
            self.current = None;
        }
        self.finished.push_back(id.to_owned());
        if self.finished.len() > FINISHED_LIMIT {
            self.finished.pop_front();
        }
    }

    pub(crate) fn pending(&self) -> &[String] {
        &self.pending
    }

    /// `None` is a request without an id, which equals "no current task".
    pub(crate) fn track(&self, id: Option<&str>) -> Tracking {
        let place = self
            .pending
            .iter()
            .position(|pending| Some(pending.as_str()) == id);
        Tracking {
            active: self.current.as_deref() == id,
            queued: place.is_some(),
            completed: self
                .finished
                .iter()
                .any(|finished| Some(finished.as_str()) == id),
            place: place.map(|index| (index + 1, self.pending.len())),
        }
    }
}
