//! Owns the figures of Civitai's answers. It does not serve them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::answer::{Answer, Trouble};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    answer: &'static str,
}

/// Counts Civitai's answers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct CivitaiFigures {
    calls: Family<AnswerLabels, Counter>,
}

impl CivitaiFigures {
    /// Registers `civitai_calls_total`.
    pub fn new(registry: &mut Registry) -> Self {
        let figures = Self::default();
        registry.register(
            "civitai_calls",
            "Requests to Civitai, by what came of them",
            figures.calls.clone(),
        );
        figures
    }

    pub(super) fn count<T>(&self, answer: &Answer<T>) {
        let answer = match answer {
            Answer::Found(_) => "found",
            Answer::NotFound => "not_found",
            Answer::NoFile => "no_file",
            Answer::Trouble(Trouble::Limited { .. }) => "limited",
            Answer::Trouble(Trouble::Later { .. }) => "later",
            Answer::Trouble(Trouble::Unreachable { .. }) => "unreachable",
            Answer::Trouble(Trouble::OwnFault { .. }) => "own_fault",
            Answer::Trouble(Trouble::Final { .. }) => "final",
            Answer::Trouble(Trouble::TooLarge { .. }) => "too_large",
        };
        self.calls.get_or_create(&AnswerLabels { answer }).inc();
    }
}
