//! Which requests a fault waits for and how often it is played: by path, by what the request says, by count.
//! What a fault does is told in `faults`.

use std::{collections::VecDeque, sync::Mutex};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    faults::{Fault, Played},
    state::hold,
};

/// Forge's width and height when a request names none, in pixels.
const DEFAULT_SIDE: u64 = 512;

/// Which paths a fault or a hold is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// `POST /sdapi/v1/txt2img` and `POST /sdapi/v1/img2img`.
    Generate,
    /// Everything else.
    Control,
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
    pub(crate) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Generate => generates(path),
            Self::Control => !generates(path),
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

/// True for the two routes that generate.
pub(crate) fn generates(path: &str) -> bool {
    matches!(path, "/sdapi/v1/txt2img" | "/sdapi/v1/img2img")
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

/// What the body of a request must say. All that is given must hold; the default holds for every request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// Part of the prompt.
    pub prompt: Option<String>,
    /// Exactly the `force_task_id` of a generation, or the id that progress is asked for.
    pub task_id: Option<String>,
    /// Part of the checkpoint asked for by `override_settings.sd_model_checkpoint`.
    pub checkpoint: Option<String>,
    /// More pixels than this: width × height of the first pass.
    pub above_pixels: Option<u64>,
}

impl When {
    fn is_any(&self) -> bool {
        *self == Self::default()
    }

    fn holds(&self, body: &Value) -> bool {
        let part_of = |wanted: &Option<String>, found: &Value| match wanted {
            None => true,
            Some(wanted) => found.as_str().is_some_and(|found| found.contains(wanted)),
        };
        let side = |name: &str| body[name].as_u64().unwrap_or(DEFAULT_SIDE);
        let named = |id: &String| body["force_task_id"] == **id || body["id_task"] == **id;
        part_of(&self.prompt, &body["prompt"])
            && part_of(
                &self.checkpoint,
                &body["override_settings"]["sd_model_checkpoint"],
            )
            && self.task_id.as_ref().is_none_or(named)
            && self
                .above_pixels
                .is_none_or(|limit| side("width").saturating_mul(side("height")) > limit)
    }
}

/// How often a rule is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// For so many matching requests.
    Next(u64),
    /// Until the faults are cleared.
    Always,
}

impl Default for Times {
    fn default() -> Self {
        Self::Next(1)
    }
}

/// A fault and the requests it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Paths; `None` are those the fault is usually for (generation, or the listings for listing faults).
    #[serde(default)]
    pub target: Option<Target>,
    /// What the request says.
    #[serde(default)]
    pub when: When,
    /// So many matching requests are let by first.
    #[serde(default)]
    pub skip: u64,
    /// How often it is played then.
    #[serde(default)]
    pub times: Times,
    /// What goes wrong.
    pub fault: Fault,
}

impl Rule {
    /// The fault for the next request that it is usually for.
    pub fn once(fault: Fault) -> Self {
        Self {
            target: None,
            when: When::default(),
            skip: 0,
            times: Times::default(),
            fault,
        }
    }

    fn is_for(&self, path: &str) -> bool {
        match &self.target {
            Some(target) => target.matches(path),
            None => self.fault.usual_target().matches(path),
        }
    }
}

/// Scripted rules, oldest first.
#[derive(Debug)]
pub(crate) struct Rules {
    queue: Mutex<VecDeque<Rule>>,
}

impl Rules {
    pub(crate) fn starting_with(rules: &[Rule]) -> Self {
        Self {
            queue: Mutex::new(rules.iter().cloned().collect()),
        }
    }

    pub(crate) fn push(&self, rule: Rule) {
        hold(&self.queue).push_back(rule);
    }

    /// True if the body must be read to know which rule a request to `path` meets.
    pub(crate) fn ask_for_body(&self, path: &str) -> bool {
        hold(&self.queue)
            .iter()
            .any(|rule| rule.is_for(path) && !rule.when.is_any())
    }

    /// Takes the oldest rule that the request meets.
    pub(crate) fn take(&self, path: &str, body: &Value) -> Played {
        let mut queue = hold(&self.queue);
        let mut found = None;
        for (position, rule) in queue.iter_mut().enumerate() {
            if !rule.is_for(path) || !rule.when.holds(body) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            found = Some(position);
            break;
        }
        let Some(position) = found else {
            return Played::default();
        };
        let fault = queue[position].fault.clone();
        match &mut queue[position].times {
            Times::Always => {}
            Times::Next(left) if *left > 1 => *left -= 1,
            Times::Next(_) => drop(queue.remove(position)),
        }
        Played::of(Some(fault))
    }

    /// How many plays are left, lasting rules aside.
    pub(crate) fn left(&self) -> usize {
        let queue = hold(&self.queue);
        let plays = queue.iter().map(|rule| match rule.times {
            Times::Next(left) => usize::try_from(left).unwrap_or(usize::MAX),
            Times::Always => 0,
        });
        plays.sum()
    }

    pub(crate) fn clear(&self) {
        hold(&self.queue).clear();
    }
}
