//! What happens without being asked: the dispatcher gives jobs to servers, an
//! attempt runs one there, reconciling finds out what became of one whose
//! answer was lost, monitors look after servers, housekeeping tidies up.

pub mod answer;
pub mod attempt;
pub mod choose;
pub mod clients;
pub mod context;
pub mod dispatcher;
pub mod follow;
pub mod forge;
pub mod harvest;
pub mod heal;
pub mod housekeeping;
pub mod monitor;
pub mod reconcile;
pub mod recovery;
pub mod settle;
