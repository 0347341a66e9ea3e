//! The global `state` object of Forge and the two views of it: `/sdapi/v1/progress` and `/internal/progress`.

use std::time::Instant;

use chrono::Local;
use serde_json::{Value, json};

use crate::{errors::Failure, tasks::Tracking};

/// Forge's `shared.state`, field by field.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) skipped: bool,
    pub(crate) interrupted: bool,
    pub(crate) job: String,
    /// 0 idle, -1 before the number is known (the model is loading).
    pub(crate) job_count: i64,
    /// `None` before the first job of the process, shown as "0".
    pub(crate) job_timestamp: Option<String>,
    pub(crate) job_no: i64,
    pub(crate) sampling_step: i64,
    pub(crate) sampling_steps: i64,
    pub(crate) time_start: Option<Instant>,
    /// Base64 of the latest live preview.
    pub(crate) preview: Option<String>,
    pub(crate) preview_id: i64,
}

impl Progress {
    /// A job begins; the previous `sampling_steps` stays visible, as in Forge.
    pub(crate) fn begin(&mut self, job: &str) {
        *self = Self {
            job: job.to_owned(),
            job_count: -1,
            job_timestamp: Some(Local::now().format("%Y%m%d%H%M%S").to_string()),
            sampling_steps: self.sampling_steps,
            time_start: Some(Instant::now()),
            ..Self::default()
        };
    }

    /// The job is over; flags, timestamp and counters stay until the next one begins.
    pub(crate) fn end(&mut self) {
        self.job.clear();
        self.job_count = 0;
    }

    /// One batch (or one hires pass) is done.
    pub(crate) fn next_job(&mut self) {
        self.job_no += 1;
        self.sampling_step = 0;
    }

    pub(crate) fn timestamp(&self) -> String {
        self.job_timestamp.clone().unwrap_or_else(|| "0".to_owned())
    }

    /// Answer of `GET /sdapi/v1/progress`.
    pub(crate) fn global(&self, skip_current_image: bool) -> Value {
        if self.job_count == 0 {
            return self.global_body(0.0, 0.0, Value::Null);
        }
        let mut progress = 0.01;
        if self.job_count > 0 {
            progress += ratio(self.job_no, self.job_count);
        }
        if self.sampling_steps > 0 {
            progress += ratio(1, self.job_count) * ratio(self.sampling_step, self.sampling_steps);
        }
        let elapsed = self.elapsed_s().unwrap_or(0.0);
        let eta = elapsed / progress - elapsed;
        let image = self.preview.clone().filter(|_| !skip_current_image);
        self.global_body(f64::min(progress, 1.0), eta, Value::from(image))
    }

    fn global_body(&self, progress: f64, eta_relative: f64, current_image: Value) -> Value {
        json!({
            "progress": progress,
            "eta_relative": eta_relative,
            "state": {
                "skipped": self.skipped,
                "interrupted": self.interrupted,
                "stopping_generation": false,
                "job": self.job,
                "job_count": self.job_count,
                "job_timestamp": self.timestamp(),
                "job_no": self.job_no,
                "sampling_step": self.sampling_step,
                "sampling_steps": self.sampling_steps,
            },
            "current_image": current_image,
            "textinfo": null,
        })
    }

    /// Answer of `POST /internal/progress`. The current task before any job is a TypeError (exchange 01/internal-progress-notask).
    pub(crate) fn of_task(
        &self,
        tracking: Tracking,
        live_preview: bool,
        id_live_preview: i64,
    ) -> Result<Value, Failure> {
        if !tracking.active {
            let textinfo = match tracking.place {
                Some((place, of)) => format!("In queue: {place}/{of}"),
                None => "Waiting...".to_owned(),
            };
            return Ok(task_body(
                tracking,
                [Value::Null, Value::Null, Value::Null],
                -1,
                Value::from(textinfo),
            ));
        }
        let mut progress = 0.0;
        if self.job_count > 0 {
            progress += ratio(self.job_no, self.job_count);
            if self.sampling_steps > 0 {
                progress +=
                    ratio(1, self.job_count) * ratio(self.sampling_step, self.sampling_steps);
            }
        }
        let progress = f64::min(progress, 1.0);
        let Some(elapsed) = self.elapsed_s() else {
            let message = "unsupported operand type(s) for -: 'float' and 'NoneType'";
            return Err(Failure::exception("TypeError", message));
        };
        let eta = if progress > 0.0 {
            Value::from(elapsed / progress - elapsed)
        } else {
            Value::Null
        };
        let (mut image, mut id) = (Value::Null, id_live_preview);
        if live_preview
            && self.preview_id != id_live_preview
            && let Some(preview) = &self.preview
        {
            image = Value::from(format!("data:image/png;base64,{preview}"));
            id = self.preview_id;
        }
        Ok(task_body(
            tracking,
            [Value::from(progress), eta, image],
            id,
            Value::Null,
        ))
    }

    fn elapsed_s(&self) -> Option<f64> {
        self.time_start.map(|start| start.elapsed().as_secs_f64())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "steps and batches are small numbers"
)]
fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
}

fn task_body(
    tracking: Tracking,
    [progress, eta, live_preview]: [Value; 3],
    id: i64,
    textinfo: Value,
) -> Value {
    json!({
        "active": tracking.active,
        "queued": tracking.queued,
        "completed": tracking.completed,
        "progress": progress,
        "eta": eta,
        "live_preview": live_preview,
        "id_live_preview": id,
        "textinfo": textinfo,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::Value;

    use super::Progress;
    use crate::tasks::TaskMemory;

    /// Polls of the global and of the task view during exchanges 04/01 (two batches) and 04/03 (hires).
    const SERIES: [&str; 2] = [
        include_str!("../../fixtures/forge/04-progress/01-both-endpoints-during-n_iter-2.jsonl"),
        include_str!("../../fixtures/forge/04-progress/03-hires-two-passes.jsonl"),
    ];

    fn close(left: f64, right: &Value) -> bool {
        (left - right.as_f64().unwrap()).abs() < 1e-9
    }

    #[test]
    fn progress_is_computed_from_the_state_as_recorded() {
        let (mut compared, mut exact) = (0, 0);
        for line in SERIES.iter().flat_map(|series| series.lines()) {
            let json = serde_json::from_str::<Value>(line).unwrap()["json"].clone();
            let Value::Object(state) = &json["state"] else {
                continue;
            };
            let number = |key: &str| state[key].as_i64().unwrap();
            let at = |sampling_step: i64| Progress {
                job: state["job"].as_str().unwrap().to_owned(),
                job_count: number("job_count"),
                job_no: number("job_no"),
                sampling_step,
                sampling_steps: number("sampling_steps"),
                job_timestamp: state["job_timestamp"].as_str().map(str::to_owned),
                time_start: Some(Instant::now()),
                ..Progress::default()
            };
            let step = number("sampling_step");
            let body = at(step).global(true);
            assert_eq!(body["state"], json["state"]);
            // The server counts on while it answers, so the number may be one step older than the state.
            let before = at(step - 1).global(true);
            let matches = [&body, &before]
                .map(|body| close(body["progress"].as_f64().unwrap(), &json["progress"]));
            assert!(matches.contains(&true), "{line}");
            exact += usize::from(matches[0]);
            compared += 1;
        }
        assert!(
            compared > 40 && exact + 5 > compared,
            "{exact} of {compared} are exact"
        );
    }

    #[test]
    fn the_task_view_has_no_first_percent() {
        let mut tasks = TaskMemory::default();
        tasks.start("id");
        let progress = Progress {
            job_count: 2,
            sampling_step: 42,
            sampling_steps: 60,
            time_start: Some(Instant::now()),
            ..Progress::default()
        };
        let body = progress
            .of_task(tasks.track(Some("id")), false, -1)
            .unwrap();
        assert!(close(0.35, &body["progress"]));
        assert_eq!(body["textinfo"], Value::Null);
    }
}
