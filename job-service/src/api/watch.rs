//! A watch of a job as a stream of messages.

use std::pin::Pin;

use futures_util::Stream;
use service_kit::{
    clock::{Clock, to_proto_duration, to_timestamp},
    resume::ResumeToken,
    status::Failure,
};
use stablequeue_proto::jobs::v1::{self as proto, WatchJobResponse, watch_job_response::Update};
use tonic::Status;

use super::convert;
use crate::{
    hints::Progress,
    jobs::watch::{Told, Watch},
    policy::Backoff,
};

/// The messages of a watch.
pub(super) type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchJobResponse, Status>> + Send>>;

/// The messages of a watch, until its job has ended. Nothing is read ahead: a
/// slow reader is fed from the table when it comes back.
pub(super) fn stream(watch: Watch, epoch: String, clock: Clock, backoff: Backoff) -> WatchStream {
    Box::pin(futures_util::stream::unfold(
        Some((watch, epoch, clock)),
        move |state| async move {
            let (mut watch, epoch, clock) = state?;
            match watch.next().await {
                Ok(Some(told)) => {
                    let message = message(told, &watch, &epoch, &clock, backoff);
                    Some((Ok(message), Some((watch, epoch, clock))))
                }
                Ok(None) => None,
                Err(error) => {
                    let token = ResumeToken::new(epoch, watch.place()).to_string();
                    let failure = Failure::from(error).with_metadata("resume_token", token);
                    Some((Err(failure.into_status()), None))
                }
            }
        },
    ))
}

fn message(
    told: Told,
    watch: &Watch,
    epoch: &str,
    clock: &Clock,
    backoff: Backoff,
) -> WatchJobResponse {
    let token = || ResumeToken::new(epoch.to_owned(), watch.place()).to_string();
    let (update, resume_token) = match told {
        Told::Snapshot(shown) => (
            Update::Snapshot(convert::job(*shown, None, backoff)),
            token(),
        ),
        Told::Event(event) => (Update::Event(convert::event(event)), token()),
        Told::Progress(progress) => (Update::Progress(progress_to_proto(progress)), String::new()),
        Told::Heartbeat(_) => {
            let heartbeat = proto::Heartbeat {
                send_time: Some(to_timestamp(clock.now())),
            };
            (Update::Heartbeat(heartbeat), token())
        }
    };
    WatchJobResponse {
        update: Some(update),
        resume_token,
    }
}

fn progress_to_proto(progress: Progress) -> proto::JobProgress {
    let Progress {
        job_id: _,
        attempt,
        phase,
        fraction,
        step,
        steps,
        remaining_s,
    } = progress;
    proto::JobProgress {
        attempt,
        phase: convert::phase_to_proto(phase).into(),
        fraction,
        step,
        steps,
        // A number that is no time is left out.
        remaining: remaining_s
            .and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok())
            .map(to_proto_duration),
    }
}
