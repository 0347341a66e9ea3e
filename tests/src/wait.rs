//! Waiting on state with a bound: looks again and again, and says what was
//! last seen when the time is up.

use std::{future::Future, time::Duration};

/// How long a test waits for what must come; far above what it takes.
pub const BOUND: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until `look` answers `Ok`; what it last answered instead is the error.
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, String>>,
{
    let mut last = String::new();
    let looking = async {
        loop {
            match look().await {
                Ok(found) => return found,
                Err(seen) => last = seen,
            }
            pause(LOOK_EVERY).await;
        }
    };
    let found = tokio::time::timeout(BOUND, looking).await;
    found.map_err(|_| anyhow::anyhow!("{what} did not happen within {BOUND:?}; last seen: {last}"))
}

/// The pause between two looks, for whoever bounds them otherwise.
pub async fn a_moment() {
    pause(LOOK_EVERY).await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks at real programs; no assertion rests on its length"
)]
async fn pause(length: Duration) {
    tokio::time::sleep(length).await;
}
