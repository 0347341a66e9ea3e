//! Owns which folders are still to be listed, and when no thread can find more.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Folder;

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The last one is the next, so that the queue stays short.
    waiting: Vec<Folder>,
    /// Folders that are being listed, which may bring more.
    listing: usize,
    stopped: bool,
}

impl Queue {
    pub(super) fn new(first: Folder) -> Self {
        let state = State {
            waiting: vec![first],
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// The next folder; `None` when all are listed or the walk is stopped. Each
    /// is to be ended with [`Queue::done`].
    pub(super) fn next(&self) -> Option<Folder> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(folder) = state.waiting.pop() {
                state.listing += 1;
                return Some(folder);
            }
            if state.listing == 0 {
                return None;
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn add(&self, folders: Vec<Folder>) {
        if !folders.is_empty() {
            self.lock().waiting.extend(folders);
            self.changed.notify_all();
        }
    }

    pub(super) fn done(&self) {
        let mut state = self.lock();
        state.listing -= 1;
        if state.listing == 0 {
            self.changed.notify_all();
        }
    }

    /// Ends the walk before it is through.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
