//! The things that can go wrong with one request. Which request that is, and how often, is `rules`; what lasts
//! (a frozen process, a bad file, a closed door) is the handle's.

use serde::{Deserialize, Serialize};

use crate::{
    rules::Target,
    stage::{Device, Stage},
};

/// Something that goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The request is accepted and never answered; a generation does not start.
    Hang,
    /// The connection is closed when the request is there; nothing is done.
    CutBeforeWork,
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
    /// The checkpoint asked for is dropped without a word, as an unknown one is; the selected one is used.
    DropsCheckpoint,
    /// LoRAs of the prompt are ignored as unknown ones are: the infotext does not name them.
    SkipsLoras,
    /// `info` and infotexts carry another model hash; the name is right.
    WrongHash,
    /// The generation starts and fails as Forge handlers do: 500 with this class and message. Its id stays
    /// active until another job starts.
    Error500 {
        /// Name of the Python exception class.
        error: String,
        /// Text of the exception.
        message: String,
    },
    /// 500 before the task starts, as bad base64 does: the id stays queued for ever.
    FailBeforeStart {
        /// Name of the Python exception class.
        error: String,
        /// Text of the exception.
        message: String,
    },
    /// Out of memory on entering the stage (loading, sampling or decoding). In loading the server is poisoned
    /// after it; otherwise it goes on.
    OutOfMemory {
        /// Decides class and message.
        device: Device,
        /// Where memory runs out.
        stage: Stage,
    },
    /// The checkpoint is loaded anew and that fails: "Failed to recognize model type!"; the server is poisoned.
    LoadFails,
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
    /// The process dies on entering the stage; in finishing the files are saved already.
    DieAt {
        /// Where it dies.
        stage: Stage,
    },
    /// The samples are not saved although that was asked for; the answer is whole.
    FileMissing,
    /// The saved samples end in the middle; the answer is whole.
    FileTruncated,
    /// The infotext in the saved samples is of another prompt; the answer is right.
    FileOfOtherPrompt,
    /// The infotext in the saved samples names another model; the answer is right.
    FileOfOtherModel,
    /// A listing answers 500.
    FailListing,
    /// A listing answers an empty list.
    EmptyListing,
    /// Several at once.
    All(Vec<Fault>),
}

impl Fault {
    /// The requests a fault waits for when the test names none.
    pub(crate) fn usual_target(&self) -> Target {
        match self {
            Self::FailListing | Self::EmptyListing => Target::Listing,
            _ => Target::Generate,
        }
    }

    fn flatten(self, into: &mut Vec<Self>) {
        match self {
            Self::All(faults) => faults.into_iter().for_each(|fault| fault.flatten(into)),
            single => into.push(single),
        }
    }
}

/// The faults of one request; none, as a rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Played(Vec<Fault>);

impl Played {
    pub(crate) fn of(fault: Option<Fault>) -> Self {
        let mut all = Vec::new();
        if let Some(fault) = fault {
            fault.flatten(&mut all);
        }
        Self(all)
    }

    pub(crate) fn has(&self, fault: &Fault) -> bool {
        self.0.contains(fault)
    }

    /// What the first fault that `pick` wants says.
    pub(crate) fn find<T>(&self, pick: impl FnMut(&Fault) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(pick)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}
