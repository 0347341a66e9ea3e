//! Owns the knob that lets models be downloaded for jobs. Where they go, and
//! whether at all, is set at model-service.

use clap::Args;

use crate::policy::DownloadPolicy;

/// Whether models are downloaded for jobs.
#[derive(Debug, Clone, Args)]
pub struct DownloadArgs {
    /// Ask model-service to download models that no server has, for jobs whose
    /// policy does not say; it does as its own --download-missing allows.
    #[arg(long, env = "JOB_SERVICE_DOWNLOAD_MISSING")]
    pub download_missing: bool,
}

impl DownloadArgs {
    /// What holds for jobs that do not say.
    pub(super) fn policy(&self) -> DownloadPolicy {
        match self.download_missing {
            true => DownloadPolicy::Allow,
            false => DownloadPolicy::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::{Command, CommandLine};

    #[test]
    fn it_is_off_unless_it_is_asked_for() {
        for (arguments, wanted) in [
            (&["job-service"][..], DownloadPolicy::Never),
            (
                &["job-service", "--download-missing"],
                DownloadPolicy::Allow,
            ),
        ] {
            let command = CommandLine::try_parse_from(arguments).unwrap().command();
            let Command::Serve(serve) = command else {
                panic!("serve is the default");
            };
            assert_eq!(serve.config().unwrap().download_missing, wanted);
        }
    }
}
