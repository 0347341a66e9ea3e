//! Owns how an answer is written to the file, piece by piece, within the room that there is. It does
//! not judge whether to try again.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use service_kit::operations::Unfinished;
use service_kit::status::Failure;

use super::{Fetch, SILENCE_MAX, silence};
use crate::civitai::Civitai;
use crate::library::FILE_BYTES_MAX;
use crate::library::download::refusal::{self, BEGIN_BYTES, Refusal};
use crate::library::download::target::{SPACE_MARGIN_BYTES, Target};
use crate::library::download::{BYTES, blocking, disk_failure, unless_stopped};

/// Bytes that are written at once.
const WRITE_BYTES: usize = 1024 * 1024;
/// In which time [`LEAST_BYTES`] have to come: who gives less holds up those that wait.
const LEAST_TIME: Duration = Duration::from_secs(300);
/// Bytes that have to come in [`LEAST_TIME`].
const LEAST_BYTES: u64 = 1024 * 1024;

/// Whether a volume has room for so many bytes more.
pub(in crate::library::download) async fn room(
    target: &Arc<Target>,
    bytes: u64,
) -> Result<(), Unfinished> {
    let target = Arc::clone(target);
    let room = blocking(move || target.room_bytes()).await?;
    let room = room.map_err(|error| disk_failure(&error))?;
    if bytes <= room {
        return Ok(());
    }
    let text = format!(
        "{bytes} bytes are to be written and there is room for {room} beside a margin of \
         {SPACE_MARGIN_BYTES}; make room, or choose another root"
    );
    Err(Failure::exhausted("DISK_FULL", "library root", text, None).into())
}

/// An answer that is written to the file.
pub(super) struct Writing<'a> {
    fetch: &'a mut Fetch,
    file: Arc<File>,
    /// Up to where the file is written.
    pub(super) place: u64,
    total: Option<u64>,
    buffer: Vec<u8>,
}

impl<'a> Writing<'a> {
    /// Begins at a place of the file, which is to have so many bytes in all.
    pub(super) fn new(
        fetch: &'a mut Fetch,
        file: Arc<File>,
        place: u64,
        total: Option<u64>,
    ) -> Self {
        Self {
            fetch,
            file,
            place,
            total,
            buffer: Vec::with_capacity(WRITE_BYTES),
        }
    }

    /// Takes all of an answer; what is left in the buffer is still to be written.
    pub(super) async fn all(
        &mut self,
        response: &mut Response,
    ) -> Result<Result<(), Refusal>, Unfinished> {
        let steps = self.fetch.steps.clone();
        let clock = self.fetch.library.clock().clone();
        let (mut since, mut came_before) = (clock.monotonic(), self.fetch.fetched_bytes);
        loop {
            let came = clock.timeout(SILENCE_MAX, response.chunk());
            let chunk = match unless_stopped(&steps, came).await? {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Ok(Err(refusal::of_trouble(&Civitai::broken(error)))),
                Err(_) => return Ok(Err(refusal::of_trouble(&silence()))),
            };
            for piece in chunk.chunks(WRITE_BYTES) {
                self.buffer.extend_from_slice(piece);
                self.fetch.fetched_bytes += piece.len() as u64;
                let reached = self.place + self.buffer.len() as u64;
                if reached > self.total.unwrap_or(FILE_BYTES_MAX) {
                    self.buffer.clear();
                    let words = "more came than the file has".to_owned();
                    return Ok(Err(Refusal::Again { after: None, words }));
                }
                if self.buffer.len() >= WRITE_BYTES {
                    if let Some(page) = self.page() {
                        return Ok(Err(page));
                    }
                    self.flush().await?;
                }
                let total = self.total.unwrap_or_default();
                // Whether to go on is asked with the next piece.
                let _ = steps.reach(reached, total, BYTES);
            }
            if clock.monotonic().saturating_sub(since) >= LEAST_TIME {
                let came = self.fetch.fetched_bytes;
                if came - came_before < LEAST_BYTES {
                    let words = format!(
                        "fewer than {LEAST_BYTES} bytes came in {} s",
                        LEAST_TIME.as_secs()
                    );
                    return Ok(Err(Refusal::Again { after: None, words }));
                }
                (since, came_before) = (clock.monotonic(), came);
            }
        }
        if let Some(page) = self.page() {
            return Ok(Err(page));
        }
        let reached = self.place + self.buffer.len() as u64;
        match self.total {
            Some(total) if reached < total => {
                let words = "the file broke off".to_owned();
                Ok(Err(Refusal::Again { after: None, words }))
            }
            _ => Ok(Ok(())),
        }
    }

    /// The refusal when the file begins as none does; nothing of it is kept.
    fn page(&mut self) -> Option<Refusal> {
        let beginning = &self.buffer[..self.buffer.len().min(BEGIN_BYTES)];
        if self.place > 0 || !refusal::begins_as_page(beginning) {
            return None;
        }
        self.buffer.clear();
        Some(refusal::page("a page"))
    }

    /// Writes what is in the buffer.
    pub(super) async fn flush(&mut self) -> Result<(), Unfinished> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (target, file) = (Arc::clone(&self.fetch.target), Arc::clone(&self.file));
        let (place, bytes) = (self.place, std::mem::take(&mut self.buffer));
        let (written, mut bytes) = blocking(move || {
            let begins = if place == 0 { file.set_len(0) } else { Ok(()) };
            let written = begins.and_then(|()| target.write(&file, place, &bytes));
            (written, bytes)
        })
        .await?;
        written.map_err(|error| disk_failure(&error))?;
        self.place += bytes.len() as u64;
        bytes.clear();
        self.buffer = bytes;
        Ok(())
    }
}
