//! Owns the command line. Knows no service.

use std::path::PathBuf;

use clap::Parser;
use job_service::server::parse_base_url;

/// What is painted when nobody says what.
const PROMPT_DEFAULT: &str = "a lighthouse on a cliff at dusk, oil painting";

/// Starts StableQueue on this machine, runs one real job on it and shows where
/// the image is.
///
/// Without --forge the job runs on a stand-in for a Stable Diffusion Forge
/// server, which paints test pictures and needs no GPU.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// What to paint.
    #[arg(long, value_name = "TEXT", default_value = PROMPT_DEFAULT)]
    pub(crate) prompt: String,
    /// End when the image is there, instead of staying up for grpcurl.
    #[arg(long)]
    pub(crate) once: bool,
    /// A real Forge server (started with --api) to use instead of the
    /// stand-in, such as http://127.0.0.1:7860. It is registered as `forge`,
    /// shared with its owner: nothing is saved there and options are restored.
    #[arg(long, value_name = "URL", value_parser = parse_base_url)]
    pub(crate) forge: Option<String>,
    /// The folder of both databases and of the images; made when missing.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub(crate) data_dir: PathBuf,
    /// Sampling steps.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..=150))]
    pub(crate) steps: i32,
    /// Pixels across; a multiple of 8.
    #[arg(long, value_name = "PIXELS", default_value_t = 512, value_parser = clap::value_parser!(i32).range(64..=4096))]
    pub(crate) width: i32,
    /// Pixels down; a multiple of 8.
    #[arg(long, value_name = "PIXELS", default_value_t = 512, value_parser = clap::value_parser!(i32).range(64..=4096))]
    pub(crate) height: i32,
    /// The seed, 0 to 4294967295; drawn anew for each run when absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..=4_294_967_295))]
    pub(crate) seed: Option<i64>,
    /// The checkpoint: a sha256, AutoV2, alias, path or file name; the one
    /// that the server has selected when absent.
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) checkpoint: Option<String>,
    /// What both services log to standard error, as tracing filter directives.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub(crate) log: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_server_is_checked_and_kept_in_one_form() {
        let parse = |url| Arguments::try_parse_from(["quickstart", "--forge", url]);
        assert_eq!(
            parse("http://127.0.0.1:7860/").unwrap().forge.as_deref(),
            Some("http://127.0.0.1:7860")
        );
        assert!(parse("127.0.0.1:7860").is_err());
    }

    #[test]
    fn a_seed_beyond_what_forge_takes_is_refused() {
        let parse = |seed| Arguments::try_parse_from(["quickstart", "--seed", seed]);
        assert_eq!(parse("0").unwrap().seed, Some(0));
        assert!(parse("4294967296").is_err());
    }
}
