//! Faults that a test scripts, and the queue that hands each one to the next request it is meant for.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use crate::state::hold;

/// Something that goes wrong once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is accepted and never answered; a generation does not start.
    Hang,
    /// The work is done (and files saved), then the connection is closed without an answer.
    CutBeforeAnswer,
    /// The work is done; head and half of the body are sent, then the connection is closed.
    CutMidBody,
    /// The work is done; the answer is 200 with a body that is not JSON.
    Garbage,
    /// The generation completes; the answer has no images.
    EmptyImages,
    /// The generation completes; the images are valid base64 but no picture.
    BrokenImage,
    /// The generation silently runs with another checkpoint than the one asked for.
    WrongModel,
    /// The generation starts and fails as Forge handlers do: 500 with this class and message.
    Error500 {
        /// Name of the Python exception class.
        error: String,
        /// Text of the exception.
        message: String,
    },
    /// Answered at once with this status and body; nothing is generated.
    Status {
        /// HTTP status code.
        code: u16,
        /// Body, sent as `application/json`.
        body: String,
    },
    /// The process dies when sampling reaches this step (1 is the first).
    KillDuring {
        /// Sampling step at which the process dies.
        step: u64,
    },
    /// A listing answers 500.
    FailListing,
    /// A listing answers an empty list.
    EmptyListing,
}

/// Which requests a fault waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `POST /sdapi/v1/txt2img` and `POST /sdapi/v1/img2img`.
    Generate,
    /// `GET /sdapi/v1/progress`.
    Progress,
    /// `POST /internal/progress`.
    TaskProgress,
    /// `POST /sdapi/v1/interrupt`.
    Interrupt,
    /// `GET` and `POST /sdapi/v1/options`.
    Options,
    /// `GET /app_id`.
    AppId,
    /// `GET /file=…`.
    File,
    /// Lists of models, LoRAs, modules, samplers, schedulers and the like.
    Listing,
    /// Exactly this path.
    Path(String),
    /// Any request.
    Any,
}

impl Target {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Generate => matches!(path, "/sdapi/v1/txt2img" | "/sdapi/v1/img2img"),
            Self::Progress => path == "/sdapi/v1/progress",
            Self::TaskProgress => path == "/internal/progress",
            Self::Interrupt => path == "/sdapi/v1/interrupt",
            Self::Options => path == "/sdapi/v1/options",
            Self::AppId => path == "/app_id",
            Self::File => path.starts_with("/file="),
            Self::Listing => LISTINGS.contains(&path),
            Self::Path(wanted) => wanted == path,
            Self::Any => true,
        }
    }
}

const LISTINGS: [&str; 8] = [
    "/sdapi/v1/sd-models",
    "/sdapi/v1/loras",
    "/sdapi/v1/sd-modules",
    "/sdapi/v1/samplers",
    "/sdapi/v1/schedulers",
    "/sdapi/v1/upscalers",
    "/sdapi/v1/latent-upscale-modes",
    "/sdapi/v1/embeddings",
];

/// Scripted faults, oldest first. Clones share one queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    queue: Arc<Mutex<VecDeque<(Target, Fault)>>>,
}

impl Faults {
    pub(crate) fn push(&self, target: Target, fault: Fault) {
        hold(&self.queue).push_back((target, fault));
    }

    /// Takes the oldest fault that waits for `path`.
    pub(crate) fn take(&self, path: &str) -> Option<Fault> {
        let mut queue = hold(&self.queue);
        let position = queue.iter().position(|(target, _)| target.matches(path))?;
        queue.remove(position).map(|(_, fault)| fault)
    }

    pub(crate) fn len(&self) -> usize {
        hold(&self.queue).len()
    }

    pub(crate) fn clear(&self) {
        hold(&self.queue).clear();
    }
}

impl Fault {
    /// The requests a fault waits for when the test names none.
    pub(crate) fn usual_target(&self) -> Target {
        match self {
            Self::FailListing | Self::EmptyListing => Target::Listing,
            _ => Target::Generate,
        }
    }
}
