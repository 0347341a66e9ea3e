//! The program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    job_service::program::main()
}
