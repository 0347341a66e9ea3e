//! Owns which downloads go and which wait: so many at one time, the higher priority first, then the
//! older. It does not know what they are.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

/// The order of those that wait: the last part tells those apart that are alike.
type Ticket = (Reverse<i32>, DateTime<Utc>, u64);

/// The queue. Clones share it.
#[derive(Debug, Clone)]
pub(in crate::library) struct Queue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    at_once: usize,
    state: Mutex<State>,
    /// Wakes those that wait; the state is the truth.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    going: usize,
    waiting: BTreeSet<Ticket>,
    given: u64,
}

impl Queue {
    /// One that lets so many go at one time, at least one.
    pub(in crate::library) fn new(at_once: usize) -> Self {
        Self(Arc::new(Inner {
            at_once: at_once.max(1),
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        }))
    }

    /// Waits for a turn. Dropping the future gives the wait up.
    pub(super) async fn place(&self, priority: i32, asked_at: DateTime<Utc>) -> Place {
        // Subscribed before the look, so that no change between both is missed.
        let mut changed = self.0.changed.subscribe();
        let waiting = self.wait(priority, asked_at);
        while !self.take(&waiting) {
            // The sender lives in the queue, which is held here.
            let _ = changed.changed().await;
        }
        Place(self.clone())
    }

    fn wait(&self, priority: i32, asked_at: DateTime<Utc>) -> Waiting {
        let mut state = self.state();
        state.given += 1;
        let ticket = (Reverse(priority), asked_at, state.given);
        state.waiting.insert(ticket);
        drop(state);
        Waiting {
            queue: self.clone(),
            ticket,
        }
    }

    fn take(&self, waiting: &Waiting) -> bool {
        let mut state = self.state();
        let may = state.going < self.0.at_once && state.waiting.first() == Some(&waiting.ticket);
        if may {
            state.going += 1;
            state.waiting.remove(&waiting.ticket);
        }
        may
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that waits; dropped, it does not any more.
struct Waiting {
    queue: Queue,
    ticket: Ticket,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.queue.state().waiting.remove(&self.ticket);
        // Whoever is first now may have room.
        self.queue.0.changed.send_replace(());
    }
}

/// The turn of a download; dropped, the next one has it.
#[derive(Debug)]
pub(super) struct Place(Queue);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state().going -= 1;
        self.0.0.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[tokio::test]
    async fn the_higher_priority_goes_first_then_the_older() {
        let queue = Queue::new(1);
        let first = queue.place(-100, at(9)).await;
        let mut late = pin!(queue.place(0, at(3)));
        let mut early = pin!(queue.place(0, at(2)));
        let mut urgent = pin!(queue.place(1, at(4)));
        assert!(poll!(&mut late).is_pending());
        assert!(poll!(&mut early).is_pending());
        assert!(poll!(&mut urgent).is_pending());
        drop(first);
        assert!(poll!(&mut early).is_pending());
        let urgent = urgent.await;
        assert!(poll!(&mut early).is_pending());
        drop(urgent);
        assert!(poll!(&mut late).is_pending());
        drop(early.await);
        drop(late.await);
    }

    #[tokio::test]
    async fn whoever_gives_up_holds_nobody_up() {
        let queue = Queue::new(2);
        let (one, _two) = (queue.place(0, at(0)).await, queue.place(0, at(0)).await);
        let mut third = Box::pin(queue.place(5, at(0)));
        let mut fourth = pin!(queue.place(0, at(0)));
        assert!(poll!(&mut third).is_pending());
        assert!(poll!(&mut fourth).is_pending());
        drop(one);
        assert!(poll!(&mut fourth).is_pending());
        drop(third);
        fourth.await;
    }
}
