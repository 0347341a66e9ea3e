//! Takes many jobs in one write: all of them or none.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Jobs,
    admission::admit,
    submit::{Submission, given_or_drawn, new_id},
};
use crate::{
    error::Error,
    request::{InputImage, SEED_MAX, Violation},
    request_id::{Once, RequestId, fingerprint},
    store::{
        Connection, events, input_images,
        jobs::{self, NewJob},
        request_ids,
    },
};

/// Jobs of one batch, all variations counted.
pub const BATCH_JOBS_MAX: usize = 1_000;
/// Bytes of all requests of one batch as they are kept, without pictures; each
/// variation has its own.
const BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The call by its name among request ids.
const METHOD: &str = "BatchSubmitJobs";

/// An item of a batch: jobs that differ by their seeds.
#[derive(Clone, Debug)]
pub struct BatchItem {
    /// What each of them is.
    pub submission: Submission,
    /// How many there are, 1 to [`BATCH_JOBS_MAX`].
    pub variations: usize,
}

/// A batch that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenBatch {
    /// Its id.
    pub id: String,
    /// The jobs of each item, in order.
    pub items: Vec<Vec<TakenJob>>,
}

/// A job of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenJob {
    /// Its id.
    pub id: String,
    /// The seed of its first image.
    pub seed: i64,
}

/// An item in the form of its rows.
struct Rows {
    pictures: Vec<InputImage>,
    jobs: Vec<NewJob>,
}

impl Jobs {
    /// Takes all jobs of these items, or none, and answers them with the place
    /// in the history behind them. With a request id that came with the same
    /// items before, answers that batch.
    pub async fn submit_batch(
        &self,
        mut items: Vec<BatchItem>,
        request_id: Option<RequestId>,
    ) -> Result<(TakenBatch, i64), Error> {
        let pictures: Vec<_> = items
            .iter_mut()
            .map(|item| item.submission.take_pictures())
            .collect();
        check_size(&items)?;
        let once = request_id.map(|request_id| Once {
            request_id,
            method: METHOD,
            fingerprint: fingerprint(&items.iter().map(BatchItem::asked).collect()),
        });
        let batch_id = new_id();
        let rows: Vec<Rows> = items
            .into_iter()
            .zip(pictures)
            .map(|(item, pictures)| Rows {
                jobs: item.into_jobs(&batch_id, &pictures, self.viewer.key_id()),
                pictures,
            })
            .collect();
        let quota = self.quota();
        let limits = self.core.limits.clone();
        let now = self.core.clock.now();
        let (taken, sequence, is_new) = self
            .core
            .database
            .write("submit_batch", move |conn| {
                if let Some(once) = &once
                    && let Some(kept) = request_ids::find(conn, once)?
                {
                    let taken = serde_json::from_str(&kept).map_err(|error| Error::BrokenRow {
                        table: "request_ids",
                        id: once.request_id.id.clone(),
                        why: error.to_string(),
                    })?;
                    return Ok((taken, events::last_sequence(conn)?, false));
                }
                let jobs = rows.iter().flat_map(|rows| &rows.jobs);
                let bytes = jobs.clone().map(|job| job.request_bytes).sum();
                admit(conn, &limits, quota.as_ref(), jobs.count(), bytes)?;
                let taken = insert(conn, &batch_id, &rows, now)?;
                if let Some(once) = &once {
                    let kept = json!(taken).to_string();
                    request_ids::insert(conn, once, &kept, now)?;
                }
                Ok::<_, Error>((taken, events::last_sequence(conn)?, true))
            })
            .await?;
        if is_new {
            self.announce(&taken);
        }
        Ok((taken, sequence))
    }

    fn announce(&self, taken: &TakenBatch) {
        for job in taken.items.iter().flatten() {
            self.core.metrics.submitted.inc();
            self.core.hints.job_changed(&job.id);
        }
        self.core.hints.wake_dispatcher();
    }
}

/// Inserts the jobs of a batch in order.
fn insert(
    conn: &mut Connection,
    batch_id: &str,
    rows: &[Rows],
    now: chrono::DateTime<chrono::Utc>,
) -> Result<TakenBatch, Error> {
    let mut items = Vec::with_capacity(rows.len());
    for Rows { pictures, jobs } in rows {
        input_images::keep(conn, pictures, now)?;
        let mut taken = Vec::with_capacity(jobs.len());
        for job in jobs {
            jobs::insert(conn, job, now)?;
            input_images::link(conn, &job.id, pictures)?;
            taken.push(TakenJob {
                id: job.id.clone(),
                seed: job.seed,
            });
        }
        items.push(taken);
    }
    Ok(TakenBatch {
        id: batch_id.to_owned(),
        items,
    })
}

/// Variations multiply what a small message asks to be kept.
fn check_size(items: &[BatchItem]) -> Result<(), Error> {
    let bytes = items.iter().fold(0_usize, |sum, item| {
        let one = item.submission.request.to_json().len();
        sum.saturating_add(one.saturating_mul(item.variations))
    });
    if bytes > BATCH_BYTES_MAX {
        let words = format!("have {bytes} bytes together; {BATCH_BYTES_MAX} is the limit");
        return Err(Error::Invalid(vec![Violation::new("jobs", words)]));
    }
    Ok(())
}

impl BatchItem {
    /// What is wrong with the variations, in words; `None` when nothing is.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let last = self.submission.request.seed()? + self.span();
        (last > SEED_MAX).then(|| format!("go to the seed {last}; {SEED_MAX} is the last"))
    }

    /// Between the seeds of two variations: their images share none.
    fn step(&self) -> i64 {
        let images = self.submission.request.expected_images().max(1);
        i64::try_from(images).unwrap_or(i64::MAX)
    }

    /// From the first seed to the last.
    fn span(&self) -> i64 {
        let further = i64::try_from(self.variations.saturating_sub(1)).unwrap_or(i64::MAX);
        self.step().saturating_mul(further)
    }

    fn asked(&self) -> Value {
        json!([self.submission.asked(), self.variations])
    }

    /// The rows of its jobs, each with its seed: counted on from the one that
    /// was given, or from one that is drawn for all.
    fn into_jobs(
        self,
        batch_id: &str,
        pictures: &[InputImage],
        key_id: Option<&str>,
    ) -> Vec<NewJob> {
        let (step, span) = (self.step(), self.span());
        let Self {
            submission,
            variations,
        } = self;
        let given = submission.request.seed();
        let first = given.unwrap_or_else(|| rand::random_range(0..=(SEED_MAX - span).max(0)));
        let subseed = given_or_drawn(submission.request.subseed());
        let seeds = std::iter::successors(Some(first), |seed| Some(seed.saturating_add(step)));
        seeds
            .take(variations)
            .map(|seed| {
                let mut one = submission.clone();
                if given.is_some() {
                    one.request.set_seed(seed);
                }
                NewJob {
                    seed,
                    subseed,
                    batch_id: Some(batch_id.to_owned()),
                    ..one.into_job(pictures, key_id)
                }
            })
            .collect()
    }
}
