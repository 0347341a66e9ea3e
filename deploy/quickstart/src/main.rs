//! The program: parse the command line, run the pair, say how it ended.

mod arguments;
mod follow;
mod forge;
mod pair;
mod run;
mod screen;
mod submit;
mod tour;
mod words;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match arguments::Arguments::try_parse() {
        Ok(arguments) => run::main(&arguments),
        Err(error) => {
            // Nothing can be done when the terminal is gone.
            let _ = error.print();
            run::exit_of_parsing(&error)
        }
    }
}
