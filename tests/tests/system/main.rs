//! The pair from the outside: one module per behaviour.

mod a_job_becomes_an_image;
mod bad_input_is_told_whole;
mod cancelling;
mod failures;
mod images_are_downloaded;
mod jobs_are_listed;
mod lost_answers;
mod lost_servers;
mod model_service_outage;
mod models_decide_where;
mod one_broken_row;
mod requests_arrive_as_given;
mod restarting;
mod servers_are_looked_after;
mod storms;
mod waiting;
mod watching;
mod work_is_shared_out;
mod wrong_models;
