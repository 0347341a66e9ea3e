//! Who gets in: a server that refuses connections, flaps by counts, or accepts and does not answer on some routes.
//! The sockets themselves are `connection`'s.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::rules::Target;

/// A server that comes and goes: `reset` connections are reset, then `serve` requests are served, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flap {
    /// Connections reset in a row, right after they are accepted.
    pub reset: u64,
    /// Requests served in a row.
    pub serve: u64,
}

impl Flap {
    /// Reads `RESET:SERVE`.
    ///
    /// # Errors
    /// In words, when there are not two whole numbers with a colon between them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once(':')
            .and_then(|(reset, serve)| Some((reset.parse().ok()?, serve.parse().ok()?)));
        let (reset, serve) = numbers.ok_or("flapping is written RESET:SERVE, two whole numbers")?;
        Ok(Self { reset, serve })
    }
}

#[derive(Clone, Copy, Debug)]
struct Flapping {
    flap: Flap,
    resets_left: u64,
    serves_left: u64,
}

impl Flapping {
    fn new(flap: Flap) -> Self {
        Self {
            flap,
            resets_left: flap.reset,
            serves_left: flap.serve,
        }
    }

    /// Counts a connection; true if it is reset.
    fn resets(&mut self) -> bool {
        if self.resets_left == 0 {
            return false;
        }
        self.resets_left -= 1;
        if self.resets_left == 0 {
            self.serves_left = self.flap.serve;
            if self.serves_left == 0 {
                self.resets_left = self.flap.reset;
            }
        }
        true
    }

    /// Counts a served request.
    fn served(&mut self) {
        self.serves_left = self.serves_left.saturating_sub(1);
        if self.serves_left == 0 {
            self.resets_left = self.flap.reset;
        }
    }
}

#[derive(Clone, Debug)]
struct Held {
    target: Target,
    let_by: u64,
}

#[derive(Clone, Debug)]
struct State {
    /// The test wants the port to listen.
    open: bool,
    /// It does.
    listening: bool,
    /// Requests until it closes by itself.
    left: Option<u64>,
    flapping: Option<Flapping>,
    held: Vec<Held>,
}

/// Decides over connections and requests. It outlives a process, as the network does.
#[derive(Debug)]
pub(crate) struct Door {
    state: watch::Sender<State>,
}

impl Door {
    pub(crate) fn new(flap: Option<Flap>) -> Self {
        Self {
            state: watch::Sender::new(State {
                open: true,
                listening: true,
                left: None,
                flapping: flap.map(Flapping::new),
                held: Vec::new(),
            }),
        }
    }

    /// `left` requests are served before it closes by itself; `None` keeps it open.
    pub(crate) fn open(&self, left: Option<u64>) {
        self.state.send_modify(|state| {
            state.open = left != Some(0);
            state.left = left;
        });
    }

    pub(crate) fn close(&self) {
        self.open(Some(0));
    }

    pub(crate) fn set_listening(&self, listening: bool) {
        self.state.send_modify(|state| state.listening = listening);
    }

    /// Waits until the port listens, or does not, as the test wants it.
    pub(crate) async fn settled(&self) {
        self.until(|state| state.open == state.listening).await;
    }

    pub(crate) async fn wanted(&self, open: bool) {
        self.until(|state| state.open == open).await;
    }

    async fn until(&self, what: impl Fn(&State) -> bool) {
        let mut changes = self.state.subscribe();
        // The sender lives in self, so the channel cannot be closed while this runs.
        let _ = changes.wait_for(what).await;
    }

    pub(crate) fn flap(&self, flap: Option<Flap>) {
        self.state
            .send_modify(|state| state.flapping = flap.map(Flapping::new));
    }

    /// Counts an accepted connection; true if it is to be reset.
    pub(crate) fn resets_connection(&self) -> bool {
        let mut resets = false;
        self.state.send_modify(|state| {
            resets = state.flapping.as_mut().is_some_and(Flapping::resets);
        });
        resets
    }

    /// Counts a request on an open connection; false if the server is gone for it too.
    pub(crate) fn lets_in(&self) -> bool {
        let mut lets_in = true;
        self.state.send_modify(|state| {
            lets_in = state.open && !state.flapping.as_mut().is_some_and(Flapping::resets);
            if !lets_in {
                return;
            }
            if let Some(flapping) = &mut state.flapping {
                flapping.served();
            }
            if let Some(left) = &mut state.left {
                *left = left.saturating_sub(1);
                state.open = *left > 0;
            }
        });
        lets_in
    }

    pub(crate) fn hold(&self, target: Target) {
        self.state.send_modify(|state| {
            state.held.retain(|held| held.target != target);
            state.held.push(Held { target, let_by: 0 });
        });
    }

    pub(crate) fn release(&self, target: &Target) {
        self.state
            .send_modify(|state| state.held.retain(|held| held.target != *target));
    }

    pub(crate) fn let_by(&self, target: &Target, count: u64) {
        self.state.send_modify(|state| {
            let held = state.held.iter_mut().filter(|held| held.target == *target);
            held.for_each(|held| held.let_by = held.let_by.saturating_add(count));
        });
    }

    /// Waits until no hold is on the path; true if a hold let it by, which is asked only once a request.
    pub(crate) async fn pass(&self, path: &str) -> bool {
        let mut changes = self.state.subscribe();
        loop {
            let (mut blocked, mut let_by) = (false, false);
            self.state.send_if_modified(|state| {
                let mine = |held: &&mut Held| held.target.matches(path);
                let_by = state.held.iter_mut().any(|held| mine(&held));
                blocked = state
                    .held
                    .iter_mut()
                    .filter(mine)
                    .any(|held| held.let_by == 0);
                if let_by && !blocked {
                    state
                        .held
                        .iter_mut()
                        .filter(mine)
                        .for_each(|held| held.let_by -= 1);
                }
                let_by && !blocked
            });
            if !blocked || changes.changed().await.is_err() {
                return let_by;
            }
        }
    }
}
