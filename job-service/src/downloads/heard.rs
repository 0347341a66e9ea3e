//! What model-service said of a model that it is to download, when it is asked
//! again, and in which words a job tells it. Asks nobody.

use std::time::Duration;

use service_kit::clock::from_proto_duration;
use stablequeue_proto::models::v1::{MissingModel, MissingModelState};
use tonic::{Code, Status};

/// The shortest time before it is asked again about what it refused.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
/// The longest one.
const AGAIN_MOST: Duration = Duration::from_secs(3600);
/// The same where it does not say when.
const AGAIN_UNSAID: Duration = Duration::from_secs(600);
/// The same where it did not answer.
const AGAIN_SILENT: Duration = Duration::from_secs(60);
/// Letters of its own words that are told.
const WORDS_CHARS_MAX: usize = 400;

/// What was heard of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// This operation downloads it.
    Downloading(String),
    /// Its file is there; what model-service says of it.
    Arrived(String),
    /// It is not downloaded.
    Not {
        /// Why.
        why: String,
        /// When to ask again.
        again: Duration,
    },
}

impl Heard {
    /// What an answer says.
    pub(super) fn of(model: MissingModel) -> Self {
        use MissingModelState as State;
        let message = || cut(&model.message);
        match (model.state(), &model.operation) {
            (State::Downloading, Some(operation)) => {
                Self::Downloading(operation.operation_id.clone())
            }
            (State::AlreadyInLibrary, _) => Self::Arrived(message()),
            (State::Unspecified | State::Downloading, _) => Self::Not {
                why: "model-service answered what this version of job-service does not know"
                    .to_owned(),
                again: AGAIN_UNSAID,
            },
            (
                State::NotAtCivitai
                | State::NotIdentified
                | State::NotAllowed
                | State::Unavailable
                | State::Failed,
                _,
            ) => {
                let after = model.retry_after.as_ref().and_then(from_proto_duration);
                Self::Not {
                    why: message(),
                    again: after.map_or(AGAIN_UNSAID, |after| after.clamp(AGAIN_FIRST, AGAIN_MOST)),
                }
            }
        }
    }

    /// What a call says that brought no answer.
    pub(super) fn refused(status: &Status) -> Self {
        let (why, again) = match status.code() {
            Code::Unimplemented => (
                "this version of model-service downloads nothing for jobs".to_owned(),
                AGAIN_UNSAID,
            ),
            Code::PermissionDenied | Code::Unauthenticated => (
                format!(
                    "model-service does not let job-service ask for it; its token needs the scope \
                     models:write ({})",
                    cut(status.message())
                ),
                AGAIN_UNSAID,
            ),
            Code::InvalidArgument => (
                format!("model-service cannot read it ({})", cut(status.message())),
                AGAIN_MOST,
            ),
            code => (
                format!(
                    "model-service did not answer ({}, {code})",
                    cut(status.message())
                ),
                AGAIN_SILENT,
            ),
        };
        Self::Not { why, again }
    }

    /// Whether servers may have it now that lacked it.
    pub(super) fn has_arrived(&self) -> bool {
        matches!(self, Self::Arrived(_))
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(WORDS_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// What is known of the models that a job lacks, as it names them; `None` when
/// that is nothing.
pub(super) fn words(known: &[(&str, Option<Heard>)]) -> Option<String> {
    let heard = known
        .iter()
        .filter_map(|(text, heard)| Some((text, heard.as_ref()?)));
    let words: Vec<String> = heard
        .map(|(text, heard)| {
            let name = match known {
                [_] => "it".to_owned(),
                _ => format!("{text:?}"),
            };
            match heard {
                Heard::Downloading(operation) => {
                    format!("model-service downloads {name}: operation {operation}")
                }
                Heard::Arrived(message) if known.len() == 1 => message.clone(),
                Heard::Arrived(message) => format!("{name}: {message}"),
                Heard::Not { why, .. } => format!("{name} is not downloaded: {why}"),
            }
        })
        .collect();
    (!words.is_empty()).then(|| words.join("; "))
}

#[cfg(test)]
mod tests {
    use stablequeue_proto::admin::v1::Operation;

    use super::*;

    fn answer(state: MissingModelState, seconds: Option<i64>) -> MissingModel {
        MissingModel {
            state: state.into(),
            message: "words".to_owned(),
            operation: Some(Operation {
                operation_id: "op".to_owned(),
                ..Operation::default()
            }),
            retry_after: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            ..MissingModel::default()
        }
    }

    fn again(heard: &Heard) -> u64 {
        match heard {
            Heard::Not { again, .. } => again.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_refused_is_asked_again_when_model_service_says_within_bounds() {
        use MissingModelState as State;
        for state in [
            State::NotAtCivitai,
            State::NotIdentified,
            State::NotAllowed,
            State::Unavailable,
            State::Failed,
        ] {
            for (said, wanted) in [
                (Some(90), 90),
                (Some(0), 1),
                (Some(-5), 600),
                (Some(1_000_000), 3600),
                (Some(i64::MAX), 600),
                (None, 600),
            ] {
                assert_eq!(again(&Heard::of(answer(state, said))), wanted, "{state:?}");
            }
        }
        let unknown = MissingModel {
            state: 99,
            ..answer(State::Failed, None)
        };
        assert_eq!(again(&Heard::of(unknown)), 600);
        for (code, wanted) in [
            (Code::Unimplemented, 600),
            (Code::PermissionDenied, 600),
            (Code::Unavailable, 60),
            (Code::DeadlineExceeded, 60),
        ] {
            let heard = Heard::refused(&Status::new(code, "said"));
            assert_eq!(again(&heard), wanted, "{code:?}");
        }
    }

    #[test]
    fn one_model_is_it_and_several_are_named() {
        use MissingModelState as State;
        let of = |state| Some(Heard::of(answer(state, None)));
        assert_eq!(words(&[("a", None)]), None);
        let one = words(&[("a", of(State::Downloading))]).unwrap();
        assert_eq!(one, "model-service downloads it: operation op");
        let one = words(&[("a", of(State::NotAllowed))]).unwrap();
        assert_eq!(one, "it is not downloaded: words");
        let several = [
            ("a", of(State::Downloading)),
            ("b", None),
            ("c", of(State::Failed)),
            ("d", of(State::AlreadyInLibrary)),
        ];
        assert_eq!(
            words(&several).unwrap(),
            "model-service downloads \"a\": operation op; \"c\" is not downloaded: words; \
             \"d\": words"
        );
    }

    #[test]
    fn its_words_are_cut() {
        let long = Status::unavailable("x".repeat(5_000));
        let Heard::Not { why, .. } = Heard::refused(&long) else {
            panic!("it is not downloaded");
        };
        assert!(why.len() < 500, "{}", why.len());
    }
}
