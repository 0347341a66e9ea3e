//! Starts the pair and Forge stand-ins for tests and benches, in this process
//! or as programs of their own, and waits on what they show. Holds no test.

pub mod callers;
pub mod killable;
pub mod pair;
pub mod sim;
pub mod wait;

pub use pair::{Pair, PairOptions};
pub use sim::Sim;
