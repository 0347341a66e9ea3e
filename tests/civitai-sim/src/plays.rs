//! What can happen to a request instead of its answer. Which requests it happens to is `rules`.

use std::future::pending;
use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::stream;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::sync::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::samples;

/// What happens.
#[derive(Clone, Debug)]
pub enum Play {
    /// The answer of a file in `tests/fixtures/civitai/http`, named without its ending.
    Sample(&'static str),
    /// This answer.
    Answer {
        /// Its status.
        status: u16,
        /// Its `Content-Type`.
        content_type: &'static str,
        /// Its `Retry-After`, if it has one.
        retry_after: Option<&'static str>,
        /// Its body.
        body: Bytes,
    },
    /// A 307 to this address.
    Redirect(String),
    /// The right answer up to so many bytes of its body; then the connection breaks.
    Cut(usize),
    /// The connection breaks without an answer.
    HangUp,
    /// No answer, for as long as the client stays.
    Silence,
    /// A 200 whose body is what the test gives, piece by piece.
    Fed(Fed),
}

/// Pieces of a fed body that wait to be taken.
pub const PIECES_MAX: usize = 64;

/// The body of a [`Play::Fed`]; its first answer has it.
#[derive(Clone, Debug)]
pub struct Fed(Arc<Mutex<Receiver<Bytes>>>);

/// Gives the pieces of a body; the body ends when this is dropped.
#[derive(Debug)]
pub struct Feed(Sender<Bytes>);

impl Feed {
    /// Gives a piece; whoever asked may be gone.
    ///
    /// # Panics
    /// When [`PIECES_MAX`] pieces wait to be taken.
    pub fn give(&self, piece: impl Into<Bytes>) {
        let given = self.0.try_send(piece.into());
        assert!(
            !matches!(given, Err(TrySendError::Full(_))),
            "too many pieces wait to be taken"
        );
    }
}

impl Play {
    /// An answer with a JSON body.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::Answer {
            status,
            content_type: "application/json; charset=utf-8",
            retry_after: None,
            body: Bytes::from(body.to_string()),
        }
    }

    /// An answer with an HTML page.
    pub fn html(status: u16) -> Self {
        let page = "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>";
        Self::Answer {
            status,
            content_type: "text/html; charset=UTF-8",
            retry_after: None,
            body: Bytes::from(page),
        }
    }

    /// An answer whose body the test gives piece by piece, as slowly as it likes.
    pub fn fed() -> (Feed, Self) {
        let (sender, receiver) = channel(PIECES_MAX);
        (Feed(sender), Self::Fed(Fed(Arc::new(Mutex::new(receiver)))))
    }

    /// A rate limit that says when to come back, in the words of `Retry-After`.
    pub fn limited(retry_after: Option<&'static str>) -> Self {
        Self::Answer {
            status: 429,
            content_type: "text/plain; charset=UTF-8",
            retry_after,
            body: Bytes::from("error code: 1015\n"),
        }
    }

    /// Plays it; `right` is the answer that the request would have got.
    pub(crate) async fn perform<F: Future<Output = Response>>(self, right: F) -> Response {
        match self {
            Self::Sample(name) => samples::http(name),
            Self::Answer {
                status,
                content_type,
                retry_after,
                body,
            } => answer(status, content_type, retry_after, body),
            Self::Redirect(to) => redirect(&to),
            Self::Cut(bytes) => cut(right.await, bytes).await,
            Self::HangUp => broken(Response::new(Body::empty()), Bytes::new(), 1),
            Self::Silence => pending().await,
            Self::Fed(Fed(pieces)) => {
                let pieces = stream::unfold(pieces, async |pieces| {
                    let piece = pieces.lock().await.recv().await?;
                    Some((Ok::<_, io::Error>(piece), pieces))
                });
                Response::new(Body::from_stream(pieces))
            }
        }
    }
}

fn answer(
    status: u16,
    content_type: &'static str,
    retry_after: Option<&'static str>,
    body: Bytes,
) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(text) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
    }
    response
}

fn redirect(to: &str) -> Response {
    let mut response = Response::new(Body::from(to.to_owned()));
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

async fn cut(right: Response, bytes: usize) -> Response {
    let (parts, body) = right.into_parts();
    // Bodies of the stand-in are in memory and cannot fail.
    let whole = body.collect().await.map(|body| body.to_bytes());
    let whole = whole.unwrap_or_default();
    let kept = whole.slice(..bytes.min(whole.len()));
    broken(
        Response::from_parts(parts, Body::empty()),
        kept,
        whole.len() + 1,
    )
}

/// An answer that promises `length` bytes and breaks after `kept`.
pub(crate) fn broken(mut response: Response, kept: Bytes, length: usize) -> Response {
    let fault = io::Error::new(io::ErrorKind::ConnectionReset, "scripted");
    let pieces = [Ok(kept), Err(fault)];
    *response.body_mut() = Body::from_stream(stream::iter(pieces));
    response.headers_mut().insert(
        HeaderName::from_static("content-length"),
        HeaderValue::from(length),
    );
    response
}
