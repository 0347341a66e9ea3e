//! Which models jobs wait for, what was heard of each, and when it is asked for
//! again. Pure: the time comes in, and nobody is asked.

use std::{collections::HashMap, time::Duration};

use super::{REFERENCES_PER_CALL, heard::Heard};
use crate::availability::Reference;

/// Models that are looked after; further ones wait until one is forgotten.
const WANTED_MAX: usize = 1024;
/// How long a model is looked after that no job was found to wait for.
const WANTED_FOR: Duration = Duration::from_secs(300);
/// The longest time before servers are listed again that lack what has arrived.
const LIST_MOST: Duration = Duration::from_secs(600);
/// Doublings of that time.
const DOUBLINGS_MAX: u32 = 16;

/// The models.
#[derive(Debug)]
pub(super) struct Wanted {
    of: HashMap<Reference, Entry>,
    /// Between two looks at a download.
    look: Duration,
}

#[derive(Debug)]
struct Entry {
    /// When a job was last found to wait for it.
    wanted_at: Duration,
    /// Servers that lacked it then.
    servers: Vec<String>,
    heard: Option<Heard>,
    asked_at: Option<Duration>,
    due: Duration,
    /// How often it was heard in a row that it has arrived.
    arrivals: u32,
}

/// What noting a model found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Noted {
    /// Whether it is to be asked for now.
    pub(super) is_new: bool,
    /// What was heard of it.
    pub(super) heard: Option<Heard>,
}

/// What hearing of a model brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Whether it is something else than before.
    pub(super) changed: bool,
    /// The servers that lack it.
    pub(super) servers: Vec<String>,
}

impl Wanted {
    /// None, with this time between two looks at a download.
    pub(super) fn new(look: Duration) -> Self {
        Self {
            of: HashMap::new(),
            look,
        }
    }

    /// A job waits for this, which these servers lack.
    pub(super) fn note(
        &mut self,
        reference: &Reference,
        servers: &[String],
        now: Duration,
    ) -> Noted {
        if let Some(entry) = self.of.get_mut(reference) {
            entry.wanted_at = now;
            if entry.servers != servers {
                entry.servers = servers.to_vec();
            }
            return Noted {
                is_new: false,
                heard: entry.heard.clone(),
            };
        }
        let is_new = self.of.len() < WANTED_MAX;
        if is_new {
            let entry = Entry {
                wanted_at: now,
                servers: servers.to_vec(),
                heard: None,
                asked_at: None,
                due: now,
                arrivals: 0,
            };
            self.of.insert(reference.clone(), entry);
        }
        Noted {
            is_new,
            heard: None,
        }
    }

    /// What is to be asked for now, at most as much as one call takes, and when
    /// the next is due after that. Forgets what nobody waits for any more.
    pub(super) fn due(&mut self, now: Duration) -> (Vec<Reference>, Option<Duration>) {
        self.of
            .retain(|_, entry| now.saturating_sub(entry.wanted_at) < WANTED_FOR);
        let is_due = |(_, entry): &(&Reference, &Entry)| entry.due <= now;
        let due = self.of.iter().filter(is_due).take(REFERENCES_PER_CALL);
        let due: Vec<Reference> = due.map(|(reference, _)| reference.clone()).collect();
        let next = self.of.values().map(|entry| entry.due).min();
        (due, next)
    }

    /// Takes in what was heard; `None` when nobody waits for it any more.
    pub(super) fn hear(
        &mut self,
        reference: &Reference,
        heard: Heard,
        now: Duration,
    ) -> Option<Taken> {
        let look = self.look;
        let entry = self.of.get_mut(reference)?;
        entry.asked_at = Some(now);
        let wait = match &heard {
            Heard::Downloading(_) => look,
            Heard::Arrived(_) => look
                .saturating_mul(1 << entry.arrivals.min(DOUBLINGS_MAX))
                .min(LIST_MOST.max(look)),
            Heard::Not { again, .. } => *again,
        };
        entry.arrivals = match heard.has_arrived() {
            true => entry.arrivals.saturating_add(1),
            false => 0,
        };
        entry.due = now.saturating_add(wait);
        let changed = entry.heard.as_ref() != Some(&heard);
        entry.heard = Some(heard);
        Some(Taken {
            changed,
            servers: entry.servers.clone(),
        })
    }

    /// Everything is asked for again, but nothing twice within the time of a
    /// look.
    pub(super) fn ask_anew(&mut self, now: Duration) {
        for entry in self.of.values_mut() {
            let soonest = entry.asked_at.map(|at| at.saturating_add(self.look));
            let soonest = soonest.map_or(now, |at| at.max(now));
            entry.due = entry.due.min(soonest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_secs(10);

    fn reference(number: usize) -> Reference {
        Reference {
            is_lora: false,
            text: number.to_string(),
        }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn not(again: u64) -> Heard {
        Heard::Not {
            why: "why".to_owned(),
            again: secs(again),
        }
    }

    fn noted(wanted: &mut Wanted, number: usize, now: Duration) -> Noted {
        wanted.note(&reference(number), &["gpu".to_owned()], now)
    }

    #[test]
    fn each_is_asked_for_once_in_its_time_however_many_jobs_wait() {
        let mut wanted = Wanted::new(LOOK);
        assert!(noted(&mut wanted, 1, secs(0)).is_new);
        assert!(!noted(&mut wanted, 1, secs(0)).is_new);
        assert_eq!(wanted.due(secs(0)).0, [reference(1)]);
        let taken = wanted.hear(&reference(1), not(120), secs(1)).unwrap();
        assert_eq!(
            (taken.changed, taken.servers),
            (true, vec!["gpu".to_owned()])
        );
        for now in [1, 60, 120] {
            assert_eq!(noted(&mut wanted, 1, secs(now)).heard, Some(not(120)));
            assert_eq!(wanted.due(secs(now)), (Vec::new(), Some(secs(121))));
        }
        assert_eq!(wanted.due(secs(121)).0, [reference(1)]);
        let taken = wanted.hear(&reference(1), not(120), secs(122)).unwrap();
        assert!(!taken.changed, "it is as before");
        let downloading = Heard::Downloading("op".to_owned());
        wanted.hear(&reference(1), downloading, secs(200)).unwrap();
        assert_eq!(wanted.due(secs(200)).1, Some(secs(210)));
    }

    #[test]
    fn what_has_arrived_is_looked_for_ever_more_slowly() {
        let mut wanted = Wanted::new(LOOK);
        let mut now = secs(0);
        let mut waits = Vec::new();
        for _ in 0..9 {
            noted(&mut wanted, 1, now);
            let arrived = Heard::Arrived("there".to_owned());
            wanted.hear(&reference(1), arrived, now).unwrap();
            let next = wanted.due(now).1.unwrap();
            waits.push((next - now).as_secs());
            now = next;
        }
        // Noted whenever the queue is looked at, which is more often.
        assert_eq!(waits[..6], [10, 20, 40, 80, 160, 320]);
        assert_eq!(waits[6..], [600; 3]);
    }

    #[test]
    fn what_nobody_waits_for_is_forgotten_and_their_number_is_bounded() {
        let mut wanted = Wanted::new(LOOK);
        for number in 0..WANTED_MAX {
            assert!(noted(&mut wanted, number, secs(0)).is_new);
        }
        assert!(!noted(&mut wanted, WANTED_MAX, secs(0)).is_new);
        assert_eq!(wanted.due(secs(0)).0.len(), REFERENCES_PER_CALL);
        noted(&mut wanted, 7, secs(299));
        assert_eq!(wanted.due(secs(300)).0, [reference(7)]);
        assert_eq!(wanted.hear(&reference(8), not(1), secs(300)), None);
        assert!(noted(&mut wanted, WANTED_MAX, secs(300)).is_new);
    }

    #[test]
    fn another_process_is_asked_at_once_but_not_again_and_again() {
        let mut wanted = Wanted::new(LOOK);
        noted(&mut wanted, 1, secs(0));
        wanted.hear(&reference(1), not(3600), secs(0)).unwrap();
        wanted.ask_anew(secs(3));
        assert_eq!(wanted.due(secs(3)), (Vec::new(), Some(secs(10))));
        wanted.ask_anew(secs(60));
        assert_eq!(wanted.due(secs(60)).0, [reference(1)]);
    }
}
