//! What happens without being asked: the dispatcher gives jobs to servers, an
//! attempt runs one there, reconciling finds out what became of one whose
//! answer was lost, monitors look after servers, housekeeping tidies up.

pub mod answer;
pub mod attempt;
pub mod choose;
mod claim;
pub mod clearing;
pub mod clients;
pub mod context;
pub mod deadlines;
pub mod dispatcher;
pub mod follow;
pub mod forge;
mod give;
pub mod harvest;
pub mod heal;
pub mod housekeeping;
pub mod lasting;
pub mod lessons;
mod missing;
pub mod monitor;
pub mod observe;
pub mod own_list;
mod past;
pub mod prevalidate;
pub mod questions;
pub mod reconcile;
pub mod recovery;
pub mod resume;
pub mod room;
pub mod seat;
pub mod settle;
pub mod supervise;
pub mod traces;
pub mod warmth;
