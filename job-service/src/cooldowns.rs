//! What a server is not given for a while, since it failed with it: a model,
//! or generations of a size and larger. Pure: time is given; keeping it is the
//! store's, finding out which failure means what that of `dispatch::lessons`.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::verify::without_hash;

/// Cooldowns that a server has at most; the one that ends first makes room.
pub const COOLDOWNS_MAX: usize = 100;
/// How long after its end a cooldown still counts when the same fails again.
pub const REMEMBERED: Duration = Duration::from_secs(3600);
/// Failures in a row after which the time grows no further, whatever the pace.
const DOUBLINGS_MAX: u32 = 16;

/// What a server failed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A model, by its title on the server without the hash at its end, which
    /// comes with the first load.
    Model(String),
    /// Generations of so many pixels and more: width by height by batch size.
    Pixels(i64),
}

impl Subject {
    /// The model with this title.
    #[must_use]
    pub fn model(title: &str) -> Self {
        Self::Model(without_hash(title).to_owned())
    }

    /// Its kind in the database.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Model(_) => "model",
            Self::Pixels(_) => "pixels",
        }
    }

    /// What it is in the database.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Model(title) => title.clone(),
            Self::Pixels(pixels) => pixels.to_string(),
        }
    }

    /// What the database calls so; `None` when that is nothing.
    #[must_use]
    pub fn parse(kind: &str, text: &str) -> Option<Self> {
        match kind {
            "model" => Some(Self::Model(text.to_owned())),
            "pixels" => text.parse().ok().map(Self::Pixels),
            _ => None,
        }
    }

    /// Whether an attempt with these models and so many pixels has it.
    fn fits<'a>(&self, mut titles: impl Iterator<Item = &'a str>, pixels: Option<i64>) -> bool {
        match self {
            Self::Model(known) => titles.any(|title| without_hash(title) == known),
            Self::Pixels(least) => pixels.is_some_and(|pixels| pixels >= *least),
        }
    }
}

/// How long cooldowns are.
#[derive(Clone, Copy, Debug)]
pub struct CooldownTimes {
    /// After the first failure; doubles with each further one.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
}

/// Something that a server is not given for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooldown {
    /// What.
    pub subject: Subject,
    /// How often in a row it failed.
    pub failures: u32,
    /// Until when; for a time after that it is only remembered.
    pub until: DateTime<Utc>,
    /// How it failed the last time.
    pub message: String,
}

/// All cooldowns of a server, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cooldowns(Vec<Cooldown>);

impl Cooldowns {
    /// Those that were kept, in any order.
    pub fn put_back(&mut self, cooldown: Cooldown) {
        self.0.push(cooldown);
        self.0.sort_by_key(|one| one.until);
    }

    /// The server failed with it. Answers the cooldown that follows and what
    /// it takes the place of.
    pub fn failed(
        &mut self,
        subject: Subject,
        message: &str,
        now: DateTime<Utc>,
        times: CooldownTimes,
    ) -> (Cooldown, Vec<Subject>) {
        // A smaller size that fails stands for the larger ones.
        let covered = |one: &Cooldown| match (&one.subject, &subject) {
            (Subject::Pixels(known), Subject::Pixels(new)) => known >= new,
            (known, new) => known == new,
        };
        let (replaced, mut kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(covered);
        let remembered = replaced.iter().filter(|one| !is_forgotten(one, now));
        let before = remembered.map(|one| one.failures).max().unwrap_or(0);
        let wait = times
            .first
            .saturating_mul(1 << before.min(DOUBLINGS_MAX))
            .min(times.most);
        let cooldown = Cooldown {
            subject,
            failures: before.saturating_add(1),
            until: now + wait,
            message: message.to_owned(),
        };
        let mut gone: Vec<Subject> = replaced.into_iter().map(|one| one.subject).collect();
        while kept.len() >= COOLDOWNS_MAX {
            let first = (0..kept.len()).min_by_key(|at| kept[*at].until);
            gone.extend(first.map(|at| kept.remove(at).subject));
        }
        kept.push(cooldown.clone());
        self.0 = kept;
        (cooldown, gone)
    }

    /// An attempt with these models and so many pixels succeeded: what it
    /// disproves ends. Answers that.
    pub fn succeeded(&mut self, titles: &[&str], pixels: Option<i64>) -> Vec<Subject> {
        let mut over = Vec::new();
        self.0.retain(|one| {
            let ends = one.subject.fits(titles.iter().copied(), pixels);
            if ends {
                over.push(one.subject.clone());
            }
            !ends
        });
        over
    }

    /// Forgets those whose end is long past, and answers them.
    pub fn prune(&mut self, now: DateTime<Utc>) -> Vec<Subject> {
        let mut gone = Vec::new();
        self.0.retain(|one| {
            let forgotten = is_forgotten(one, now);
            if forgotten {
                gone.push(one.subject.clone());
            }
            !forgotten
        });
        gone
    }

    /// Ends all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether any is kept, remembered ones included.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that keeps an attempt with these models and so many pixels
    /// away for longest.
    pub fn against<'a>(
        &self,
        titles: impl Iterator<Item = &'a str> + Clone,
        pixels: Option<i64>,
        now: DateTime<Utc>,
    ) -> Option<&Cooldown> {
        self.under_way(now)
            .filter(|one| one.subject.fits(titles.clone(), pixels))
            .max_by_key(|one| one.until)
    }

    /// Those that are not over.
    pub fn under_way(&self, now: DateTime<Utc>) -> impl Iterator<Item = &Cooldown> {
        self.0.iter().filter(move |one| one.until > now)
    }
}

fn is_forgotten(cooldown: &Cooldown, now: DateTime<Utc>) -> bool {
    cooldown.until + REMEMBERED <= now
}

#[cfg(test)]
#[path = "cooldowns/tests.rs"]
mod tests;
