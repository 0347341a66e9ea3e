//! The closed sets of words that jobs are told in, each with its text in the
//! database. Which may follow which is decided in `job`.

use std::fmt;

/// Declares an enum whose variants have a fixed text, as it stands in the
/// database, in logs and in metrics.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every variant, in order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// Its text in the database, in logs and in metrics.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// The variant with this text.
            #[must_use]
            pub fn parse(text: &str) -> Option<$name> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Where a job stands: the five documented values of `jobs.status`.
    JobState {
        /// Waits for a server.
        Pending = "pending",
        /// An attempt is under way.
        Processing = "processing",
        /// Its images are on disk and checked.
        Completed = "completed",
        /// It ended without its images.
        Failed = "failed",
        /// It was cancelled.
        Cancelled = "cancelled",
    }
}

words! {
    /// Why a pending job is not running now.
    HoldReason {
        /// No server is registered and enabled.
        NoServer = "no_server",
        /// The server that it names is not registered.
        TargetUnknown = "target_unknown",
        /// Every server that may take it is unhealthy, disabled or unprobed.
        ServerUnavailable = "server_unavailable",
        /// Every server that may take it is cordoned.
        ServerCordoned = "server_cordoned",
        /// Every server that may take it is busy.
        ServerBusy = "server_busy",
        /// No server that may take it has its models.
        ModelMissing = "model_missing",
        /// A reference fits several models.
        ModelAmbiguous = "model_ambiguous",
        /// model-service does not answer.
        ModelServiceUnavailable = "model_service_unavailable",
        /// A retry waits for its back-off.
        RetryBackoff = "retry_backoff",
        /// Every server that may take it has refused it.
        ServerLacksFeature = "server_lacks_feature",
        /// It was taken over too old, or while it was under way, and waits for
        /// somebody to decide.
        AdoptedStale = "adopted_stale",
        /// It was taken over and cannot be understood.
        AdoptedUnreadable = "adopted_unreadable",
        /// Every server that may take it failed lately, with its model, with
        /// its size or with several jobs in a row.
        CoolingDown = "cooling_down",
    }
}

impl HoldReason {
    /// Whether only a caller ends it: choosing passes such a job over.
    #[must_use]
    pub fn waits_for_a_decision(self) -> bool {
        matches!(self, Self::AdoptedStale | Self::AdoptedUnreadable)
    }
}

words! {
    /// Where an attempt is.
    AttemptPhase {
        /// Written to the database, nothing sent.
        Claimed = "claimed",
        /// The request is on its way.
        Sending = "sending",
        /// Behind other work at the server.
        Queued = "queued",
        /// The server loads the checkpoint.
        Loading = "loading",
        /// The server samples.
        Generating = "generating",
        /// The answer or the saved file is read.
        Fetching = "fetching",
        /// Images are checked and written.
        Saving = "saving",
        /// The answer was lost and the server cannot be asked.
        OutcomeUnknown = "outcome_unknown",
        /// It ended.
        Ended = "ended",
    }
}

words! {
    /// How an attempt ended.
    AttemptOutcome {
        /// The job is completed by it.
        Completed = "completed",
        /// Nothing ran: refused, not found, TLS, credentials, no API.
        Refused = "refused",
        /// Given back before the request was sent.
        HandedBack = "handed_back",
        /// The server lacks something that the job needs.
        ServerLacksFeature = "server_lacks_feature",
        /// The job can never work.
        PermanentError = "permanent_error",
        /// The server failed; another try may work.
        RetryableError = "retryable_error",
        /// The server used another model.
        WrongModel = "wrong_model",
        /// The answer or its images could not be read.
        BrokenAnswer = "broken_answer",
        /// The answer is lost and the generation is known not to run.
        Lost = "lost",
        /// Cancelled by the caller.
        Cancelled = "cancelled",
        /// Somebody else stopped the generation.
        Interrupted = "interrupted",
        /// Given up by the job's own policy while nobody could say what became
        /// of it.
        Abandoned = "abandoned",
        /// Stopped as the job's time was up.
        Expired = "expired",
        /// The service ended again and again while it took this attempt up.
        Crashed = "crashed",
    }
}

impl AttemptOutcome {
    /// Whether an attempt that ended so counts against the job's limit: one
    /// that never reached a server's queue does not.
    #[must_use]
    pub fn is_spent(self) -> bool {
        !matches!(self, Self::Refused | Self::HandedBack)
    }
}

words! {
    /// How sure the model is.
    Verification {
        /// The server's hash equals the registry's.
        Hash = "hash",
        /// The server names the checkpoint that was asked for.
        Name = "name",
        /// The server says nothing that could be compared.
        Unverified = "unverified",
    }
}

words! {
    /// What an image of a job is.
    ImageKind {
        /// One that was asked for.
        Sample = "sample",
        /// One that a script added.
        Extra = "extra",
        /// One of a generation that was stopped.
        Partial = "partial",
    }
}

words! {
    /// Where a job came from: the documented values of `jobs.app_type`.
    AppType {
        /// The Forge extension.
        Forge = "forge",
        /// A browser.
        Browser = "browser",
        /// A program.
        Api = "api",
    }
}

words! {
    /// Which of Forge's two generation calls a job uses.
    Endpoint {
        /// `/sdapi/v1/txt2img`.
        Txt2img = "txt2img",
        /// `/sdapi/v1/img2img`.
        Img2img = "img2img",
    }
}

words! {
    /// What a job needs a model for.
    ModelRole {
        /// The checkpoint it is generated with.
        Checkpoint = "checkpoint",
        /// The checkpoint of the hires pass.
        HiresCheckpoint = "hires_checkpoint",
        /// The checkpoint that the refiner switches to.
        Refiner = "refiner",
        /// A LoRA named in a prompt.
        Lora = "lora",
    }
}

words! {
    /// What happened to a job, as it stands in its history.
    EventType {
        /// It was submitted.
        Submitted = "submitted",
        /// It waits for another reason than before.
        Held = "held",
        /// An attempt claimed it.
        Claimed = "claimed",
        /// Its attempt entered another phase.
        PhaseChanged = "phase_changed",
        /// Its attempt ended and another may follow.
        AttemptEnded = "attempt_ended",
        /// Cancelling it was asked for.
        CancelRequested = "cancel_requested",
        /// It is completed.
        Completed = "completed",
        /// It failed.
        Failed = "failed",
        /// It is cancelled.
        Cancelled = "cancelled",
        /// It was changed by a caller.
        Updated = "updated",
        /// It was deleted.
        Deleted = "deleted",
        /// Its next run began.
        Retried = "retried",
    }
}
