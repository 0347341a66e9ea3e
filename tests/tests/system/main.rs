//! The pair from the outside: one module per behaviour.

mod a_job_becomes_an_image;
