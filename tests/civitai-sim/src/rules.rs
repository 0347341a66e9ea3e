//! Which requests end otherwise than they should, and how often. What happens to them is `plays`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::plays::Play;
use crate::recorded::Recorded;

/// Which requests a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `GET /api/v1/model-versions/by-hash/{hash}`.
    ByHash,
    /// `POST /api/v1/model-versions/by-hash`.
    BulkByHash,
    /// `POST /api/v1/model-versions/by-hash/ids`.
    BulkIds,
    /// `GET /api/v1/model-versions/{id}`.
    Version,
    /// `GET /api/v1/models/{id}`.
    Model,
    /// Downloads and the storage behind them.
    Download,
    /// Exactly this path.
    Path(String),
    /// Every request.
    Any,
}

impl Target {
    fn matches(&self, path: &str) -> bool {
        const VERSIONS: &str = "/api/v1/model-versions/";
        const BULK: &str = "/api/v1/model-versions/by-hash";
        const IDS: &str = "/api/v1/model-versions/by-hash/ids";
        let by_hash = path.starts_with("/api/v1/model-versions/by-hash/") && path != IDS;
        match self {
            Self::ByHash => by_hash,
            Self::BulkByHash => path == BULK,
            Self::BulkIds => path == IDS,
            Self::Version => path.starts_with(VERSIONS) && !path.starts_with(BULK),
            Self::Model => path.starts_with("/api/v1/models/"),
            Self::Download => path.starts_with("/api/download/") || path.starts_with("/storage/"),
            Self::Path(wanted) => wanted == path,
            Self::Any => true,
        }
    }
}

/// How often a rule is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// For so many requests.
    Next(usize),
    /// Until the rules are cleared.
    Always,
}

/// What happens to which requests.
#[derive(Clone, Debug)]
pub struct Rule {
    target: Target,
    play: Play,
    times: Times,
    skip: usize,
    saying: Option<String>,
}

impl Rule {
    /// For the next request of the target.
    pub fn once(target: Target, play: Play) -> Self {
        Self::times(target, play, Times::Next(1))
    }

    /// For every request of the target.
    pub fn always(target: Target, play: Play) -> Self {
        Self::times(target, play, Times::Always)
    }

    /// For as many requests of the target.
    pub fn times(target: Target, play: Play, times: Times) -> Self {
        Self {
            target,
            play,
            times,
            skip: 0,
            saying: None,
        }
    }

    /// Lets so many matching requests by first.
    #[must_use]
    pub fn skip(mut self, count: usize) -> Self {
        self.skip = count;
        self
    }

    /// Only for requests whose path or body holds this text, in any case.
    #[must_use]
    pub fn saying(mut self, text: &str) -> Self {
        self.saying = Some(text.to_ascii_lowercase());
        self
    }

    fn is_for(&self, request: &Recorded) -> bool {
        let says = |text: &String| {
            request.path.to_ascii_lowercase().contains(text)
                || String::from_utf8_lossy(&request.body)
                    .to_ascii_lowercase()
                    .contains(text)
        };
        self.target.matches(&request.path) && self.saying.as_ref().is_none_or(says)
    }
}

/// The scripted rules, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Rules(Mutex<Vec<Rule>>);

impl Rules {
    pub(crate) fn push(&self, rule: Rule) {
        self.lock().push(rule);
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Takes what is to happen to a request by the oldest rule that is for it.
    pub(crate) fn take(&self, request: &Recorded) -> Option<Play> {
        let mut rules = self.lock();
        let matching = (0..rules.len()).find(|&at| {
            let is_for = rules[at].is_for(request);
            let let_by = is_for && rules[at].skip > 0;
            if let_by {
                rules[at].skip -= 1;
            }
            is_for && !let_by
        })?;
        let play = rules[matching].play.clone();
        match &mut rules[matching].times {
            Times::Always => {}
            Times::Next(left) if *left > 1 => *left -= 1,
            Times::Next(_) => drop(rules.remove(matching)),
        }
        Some(play)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
