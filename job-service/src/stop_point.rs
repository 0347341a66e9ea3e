//! Named points at which a crash test stops the process, so that it can be
//! killed there. Without the feature `stop-points` they are nothing.

/// Where the process stops when it is told to: at the start, then in the order of an attempt.
pub const NAMES: &[&str] = &[
    BEFORE_IMPORT,
    AFTER_IMPORT,
    AFTER_CLAIM,
    AFTER_SENDING,
    AFTER_ANSWER,
    AFTER_IMAGES,
    IN_RECOVERY,
];

/// The servers of the earlier application are read and none is registered.
pub const BEFORE_IMPORT: &str = "before_import";
/// They are registered, and nothing was begun with them.
pub const AFTER_IMPORT: &str = "after_import";

/// The claim is committed and nothing was sent.
pub const AFTER_CLAIM: &str = "after_claim";
/// The phase `sending` is committed and nothing was sent.
pub const AFTER_SENDING: &str = "after_sending";
/// The answer is in the spool file and nothing of it is kept.
pub const AFTER_ANSWER: &str = "after_answer";
/// The images are on disk and the job does not know it.
pub const AFTER_IMAGES: &str = "after_images";
/// An attempt of an earlier process is counted as taken up and nothing was
/// done for it.
pub const IN_RECOVERY: &str = "in_recovery";

/// Before the name of a point: a panic there instead of a stop.
#[cfg(feature = "stop-points")]
const PANIC: &str = "panic:";

#[cfg(feature = "stop-points")]
static CHOSEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Chooses the point to stop at; once in a process.
#[cfg(feature = "stop-points")]
pub fn choose(name: &str) {
    // A second choice changes nothing, and no test makes one.
    let _ = CHOSEN.set(name.to_owned());
}

/// Passes a point; or says so on standard output and stays there for ever, or
/// panics.
#[cfg(feature = "stop-points")]
pub async fn reach(name: &str) {
    let Some(chosen) = CHOSEN.get() else { return };
    if let Some(chosen) = chosen.strip_prefix(PANIC) {
        assert!(chosen != name, "told to panic at {name}");
    } else if chosen == name {
        println!("stopped at {name}");
        std::future::pending::<()>().await;
    }
}

/// The same for a point on one server, chosen as `<name>/<alias>`.
#[cfg(feature = "stop-points")]
pub async fn reach_on(name: &str, alias: &str) {
    reach(&format!("{name}/{alias}")).await;
}

/// Passes a point.
#[cfg(not(feature = "stop-points"))]
#[expect(clippy::unused_async, reason = "the same shape as with the feature")]
pub async fn reach(_name: &str) {}

/// Passes a point.
#[cfg(not(feature = "stop-points"))]
#[expect(clippy::unused_async, reason = "the same shape as with the feature")]
pub async fn reach_on(_name: &str, _alias: &str) {}
