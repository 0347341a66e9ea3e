//! Owns how a file comes over the network: asked for at Civitai, followed to its storage, continued
//! where it broke off, and tried again within limits. It does not know which file it is, and does
//! not judge its content.

mod picture;
mod ranges;
mod writing;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Response;
use reqwest::header::{
    CONTENT_DISPOSITION, ETAG, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE,
};
use service_kit::operations::{Steps, Unfinished};
use service_kit::status::Failure;
use url::Url;

use super::refusal::{self, LATER, Refusal};
use super::target::Target;
use super::{blocking, disk_failure, unless_stopped};
use crate::civitai::{Answer, Civitai, Trouble};
use crate::library::{FILE_BYTES_MAX, Library};
pub(super) use picture::picture;
use ranges::Piece;
use writing::Writing;
pub(super) use writing::room;

/// Redirects that one request follows.
const REDIRECTS_MAX: usize = 5;
/// Tries in a row that bring nothing.
const TRIES_IN_A_ROW_MAX: u32 = 5;
/// Tries in all, however much each brings.
const TRIES_MAX: u32 = 100;
/// The wait after the second try in a row that brought nothing; it doubles.
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
/// How long the head of an answer may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long nothing may come.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Bytes of an answer that is no file.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// A file that is being fetched.
pub(super) struct Fetch {
    library: Library,
    steps: Steps,
    url: Url,
    target: Arc<Target>,
    /// What Civitai says that it has.
    size_bytes: Option<u64>,
    /// What the file was when a part of it came in this process.
    etag: Option<HeaderValue>,
    /// The name that came with it.
    pub(super) disposition: Option<String>,
    /// Bytes that came.
    pub(super) fetched_bytes: u64,
    /// Whether some of the file was there before, from an answer before the last.
    pub(super) resumed: bool,
}

/// How a try ended that did not fail for good.
enum Tried {
    /// The file is complete.
    Done,
    /// It may be tried again.
    Again {
        after: Option<Duration>,
        words: String,
        /// Whether it brought anything.
        progressed: bool,
    },
}

/// What a refusal makes of a try.
fn refused(refusal: Refusal, progressed: bool) -> Result<Tried, Unfinished> {
    match refusal {
        Refusal::Final(failure) => Err(failure.into()),
        Refusal::Again { after, words } => Ok(Tried::Again {
            after,
            words,
            progressed,
        }),
    }
}

impl Fetch {
    pub(super) fn new(
        library: Library,
        steps: Steps,
        url: Url,
        target: Arc<Target>,
        size_bytes: Option<u64>,
    ) -> Self {
        Self {
            library,
            steps,
            url,
            target,
            size_bytes,
            etag: None,
            disposition: None,
            fetched_bytes: 0,
            resumed: false,
        }
    }

    fn civitai(&self) -> &Civitai {
        self.library.civitai()
    }

    /// Fetches what is missing of the file.
    pub(super) async fn missing(&mut self) -> Result<(), Unfinished> {
        let (mut in_a_row, mut tries) = (0, 0);
        loop {
            self.steps.go_on()?;
            let (after, words, progressed) = match self.once().await? {
                Tried::Done => return Ok(()),
                Tried::Again {
                    after,
                    words,
                    progressed,
                } => (after, words, progressed),
            };
            tracing::debug!(words, progressed, "a download did not get through");
            in_a_row = if progressed { 0 } else { in_a_row + 1 };
            tries += 1;
            if in_a_row >= TRIES_IN_A_ROW_MAX || tries >= TRIES_MAX {
                let text = format!("{words}; it was tried {tries} times, start it again later");
                return Err(Failure::unavailable("CIVITAI_UNAVAILABLE", text, LATER).into());
            }
            // Connections break and signatures expire: the first time it is asked at once.
            let doubled = (in_a_row > 1).then(|| BACK_OFF_FIRST * (1 << (in_a_row - 2)));
            if let Some(wait) = after.or(doubled) {
                let sleep = self.library.clock().sleep(wait);
                unless_stopped(&self.steps, sleep).await?;
            }
        }
    }

    /// Throws away what there is of the file.
    pub(super) async fn start_over(&mut self) -> Result<(), Unfinished> {
        let target = Arc::clone(&self.target);
        let removed = blocking(move || target.remove_part()).await?;
        self.etag = None;
        self.resumed = false;
        removed.map_err(|error| disk_failure(&error).into())
    }

    async fn once(&mut self) -> Result<Tried, Unfinished> {
        let target = Arc::clone(&self.target);
        let opened = blocking(move || target.open_part()).await?;
        let (file, had) = opened.map_err(|error| disk_failure(&error))?;
        if had > 0 && self.size_bytes == Some(had) {
            self.resumed = true;
            return Ok(Tried::Done);
        }
        let steps = self.steps.clone();
        unless_stopped(&steps, self.civitai().place()).await?;
        let answered = unless_stopped(&steps, self.ask(had)).await?;
        match answered {
            Ok(response) => self.take(response, Arc::new(file), had).await,
            Err(refusal) => refused(refusal, false),
        }
    }

    /// The answer of whoever has the file.
    async fn ask(&self, had: u64) -> Result<Response, Refusal> {
        let range = self.range(had);
        let request = self.civitai().get(self.url.clone()).headers(range.clone());
        let mut response = self.send(request).await?;
        let status = response.status().as_u16();
        // A part that is not there is told by its own status, whoever gives the file.
        if status >= 400 && status != 416 {
            return Err(self.refusal(response).await);
        }
        self.civitai().heard(&Answer::Found(()));
        let mut url = self.url.clone();
        for _ in 0..REDIRECTS_MAX {
            if !response.status().is_redirection() {
                return self.file_of(response);
            }
            let Some(next) = location(&url, response.headers()) else {
                return Err(refusal::of_storage(response.status().as_u16()));
            };
            let request = self.civitai().get_storage(next.clone());
            let request = request.map_err(|denied| denied_failure(&denied.to_string()))?;
            response = self.send(request.headers(range.clone())).await?;
            url = next;
        }
        match response.status().is_redirection() {
            false => self.file_of(response),
            true => {
                let text = format!("the file is behind more than {REDIRECTS_MAX} redirects");
                let failure = Failure::precondition("CIVITAI_REDIRECTS", "civitai", text);
                Err(Refusal::Final(failure))
            }
        }
    }

    /// What asks for the rest of the file.
    fn range(&self, had: u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if had == 0 {
            return headers;
        }
        if let Ok(value) = HeaderValue::from_str(&format!("bytes={had}-")) {
            headers.insert(RANGE, value);
        }
        if let Some(etag) = &self.etag {
            headers.insert(IF_RANGE, etag.clone());
        }
        headers
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Refusal> {
        let clock = self.library.clock();
        match clock.timeout(HEAD_TIMEOUT, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(refusal::of_trouble(&Civitai::broken(error))),
            Err(_) => Err(refusal::of_trouble(&silence())),
        }
    }

    /// Why Civitai itself gives no file.
    async fn refusal(&self, mut response: Response) -> Refusal {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        let clock = self.library.clock().clone();
        let read = async {
            while let Ok(Some(chunk)) = response.chunk().await {
                let room = REFUSAL_BYTES_MAX - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() >= room {
                    break;
                }
            }
        };
        // What came until then tells enough.
        let _ = clock.timeout(HEAD_TIMEOUT, read).await;
        let refusal = refusal::of_civitai(status, &headers, &body, clock.now());
        if let Refusal::Again { after, words } = &refusal {
            let (after, words) = (*after, words.clone());
            self.civitai().heard(&Answer::<()>::Trouble(match status {
                429 => Trouble::Limited { after, words },
                _ => Trouble::Later { after, words },
            }));
        }
        refusal
    }

    /// The answer, when it is a file or tells that none is left.
    fn file_of(&self, response: Response) -> Result<Response, Refusal> {
        match response.status().as_u16() {
            200 | 206 if refusal::is_page(response.headers()) => Err(refusal::page("a page")),
            200 | 206 | 416 => Ok(response),
            status => Err(refusal::of_storage(status)),
        }
    }

    /// Writes what comes to the file.
    async fn take(
        &mut self,
        mut response: Response,
        file: Arc<File>,
        had: u64,
    ) -> Result<Tried, Unfinished> {
        let headers = response.headers();
        let piece = Piece::of(response.status().as_u16(), headers, had);
        let Piece::From { place, total } = piece else {
            // It has another length than what is here, or is complete; its hash tells which.
            if matches!(piece, Piece::Nothing { total } if total == Some(had)) {
                self.resumed = true;
                return Ok(Tried::Done);
            }
            self.start_over().await?;
            return Ok(Tried::Again {
                after: None,
                words: "the storage has not the part of the file that is missing".to_owned(),
                // Without that part it is another question.
                progressed: had > 0,
            });
        };
        self.resumed = place > 0;
        self.etag = headers
            .get(ETAG)
            .filter(|etag| ranges::is_strong(etag))
            .cloned();
        let disposition = headers.get(CONTENT_DISPOSITION);
        let disposition =
            disposition.and_then(|value| super::name::of_disposition(value.as_bytes()));
        self.disposition = disposition.or(self.disposition.take());
        let total = total.or(self.size_bytes);
        if place == 0 && had > 0 {
            // It comes from its beginning: what is there makes room for it.
            let emptied = Arc::clone(&file);
            let emptied = blocking(move || emptied.set_len(0)).await?;
            emptied.map_err(|error| disk_failure(&error))?;
        }
        self.room(place, total).await?;
        let mut writing = Writing::new(&mut *self, file, place, total);
        let ended = writing.all(&mut response).await;
        // What came is kept, however it ended.
        writing.flush().await?;
        let came = writing.place > place;
        match ended? {
            Ok(()) => Ok(Tried::Done),
            Err(refusal) => refused(refusal, came),
        }
    }

    /// Whether the rest of the file fits onto the volume.
    async fn room(&self, place: u64, total: Option<u64>) -> Result<(), Unfinished> {
        let total = total.unwrap_or(place);
        if total > FILE_BYTES_MAX {
            let text =
                format!("the file has {total} bytes, and at most {FILE_BYTES_MAX} are taken");
            return Err(Failure::precondition("FILE_TOO_LARGE", "civitai", text).into());
        }
        room(&self.target, total.saturating_sub(place)).await
    }
}

fn location(from: &Url, headers: &HeaderMap) -> Option<Url> {
    let to = headers.get(LOCATION)?.to_str().ok()?;
    from.join(to).ok()
}

fn denied_failure(text: &str) -> Refusal {
    Refusal::Final(Failure::precondition("ADDRESS_DENIED", "civitai", text))
}

fn silence() -> Trouble {
    let words = format!("nothing came for {} s", SILENCE_MAX.as_secs());
    Trouble::Unreachable { words }
}
