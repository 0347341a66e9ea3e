//! How many watches are open, of all callers and of each key. Whose limits
//! are how high is not decided here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::error::Error;

/// The watches that are open.
#[derive(Debug)]
pub struct Watches {
    most: usize,
    open: Mutex<Open>,
}

/// No more entries than watches, since one without watches goes.
#[derive(Debug, Default)]
struct Open {
    all: usize,
    of_key: HashMap<String, usize>,
}

/// The place of an open watch, given back when dropped.
#[derive(Debug)]
pub struct WatchPlace {
    watches: Arc<Watches>,
    key_id: Option<String>,
}

impl Watches {
    /// Places for so many watches at a time.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            open: Mutex::default(),
        }
    }

    /// Takes a place for a caller: with a key, as one of the `most` that this
    /// key may have.
    pub fn enter(self: &Arc<Self>, of_key: Option<(&str, usize)>) -> Result<WatchPlace, Error> {
        let mut open = self.lock();
        if let Some((key_id, most)) = of_key {
            let now = open.of_key.get(key_id).copied().unwrap_or(0);
            if now >= most {
                return Err(Error::TooManyWatches {
                    key_id: Some(key_id.to_owned()),
                    limit: most,
                });
            }
        }
        if open.all >= self.most {
            return Err(Error::TooManyWatches {
                key_id: None,
                limit: self.most,
            });
        }
        open.all += 1;
        let key_id = of_key.map(|(key_id, _)| key_id.to_owned());
        if let Some(key_id) = &key_id {
            *open.of_key.entry(key_id.clone()).or_default() += 1;
        }
        Ok(WatchPlace {
            watches: Arc::clone(self),
            key_id,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WatchPlace {
    fn drop(&mut self) {
        let mut open = self.watches.lock();
        open.all = open.all.saturating_sub(1);
        let Some(key_id) = &self.key_id else { return };
        if let Some(count) = open.of_key.get_mut(key_id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.of_key.remove(key_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit_of(refused: Result<WatchPlace, Error>) -> (Option<String>, usize) {
        match refused.unwrap_err() {
            Error::TooManyWatches { key_id, limit } => (key_id, limit),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn each_key_has_its_own_places_and_all_together_theirs() {
        let watches = Arc::new(Watches::new(3));
        let first = watches.enter(Some(("a", 1))).unwrap();
        let refused = watches.enter(Some(("a", 1)));
        assert_eq!(limit_of(refused), (Some("a".to_owned()), 1));
        let _other = watches.enter(Some(("b", 1))).unwrap();
        let _nobody = watches.enter(None).unwrap();
        assert_eq!(limit_of(watches.enter(None)), (None, 3));
        assert_eq!(limit_of(watches.enter(Some(("c", 5)))), (None, 3));
        drop(first);
        let _again = watches.enter(Some(("a", 1))).unwrap();
    }

    #[test]
    fn nothing_is_kept_of_keys_without_a_watch() {
        let watches = Arc::new(Watches::new(2));
        drop(watches.enter(Some(("a", 2))).unwrap());
        let open = watches.lock();
        assert_eq!((open.all, open.of_key.len()), (0, 0));
    }
}
