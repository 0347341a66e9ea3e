//! A stand-in for Civitai's REST API over real HTTP, for tests.
//!
//! It follows `civitai/README.md`: look-ups by hash, singly and in bulk, versions and models by id, with the
//! bodies and statuses of the real one. [`CivitaiSim`] is the handle; a [`Rule`] makes requests end otherwise
//! than they should; [`CivitaiSim::requests`] tells what arrived. Downloads lead to a storage on a host of its own.
//! Owns nothing of the services under test and knows nothing of them.
//!
//! Not simulated: search, keys (only downloads can be told to want one), caching at the edge.

mod catalog;
mod downloads;
mod plays;
mod recorded;
mod routes;
mod rules;
mod samples;
mod sim;
mod version;
mod world;

pub use plays::{Fed, Feed, PIECES_MAX, Play};
pub use recorded::{REQUESTS_KEPT, Recorded};
pub use routes::{HASHES_MAX, IDS_MAX};
pub use rules::{Rule, Target, Times};
pub use samples::{sample_digest, sample_names, sample_version};
pub use sim::CivitaiSim;
pub use version::{SimFile, SimImage, SimVersion, digest_of};
