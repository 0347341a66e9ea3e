//! The error bodies of Forge (forge/forge-api.md, "Error bodies"): handler exceptions, HTTP exceptions and
//! request validation, with their exact key order.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// A request that Forge answers with an error.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// An exception in a handler: 500 with class and message.
    Exception {
        error: &'static str,
        message: String,
    },
    /// A scripted exception.
    Scripted { error: String, message: String },
    /// FastAPI's `HTTPException`.
    Http { code: u16, detail: String },
    /// pydantic found the body wrong: 422 with one entry per violation.
    Validation(Vec<Value>),
}

impl Failure {
    pub(crate) fn exception(error: &'static str, message: impl Into<String>) -> Self {
        Self::Exception {
            error,
            message: message.into(),
        }
    }

    pub(crate) fn http(code: u16, detail: impl Into<String>) -> Self {
        Self::Http {
            code,
            detail: detail.into(),
        }
    }

    /// Python's `KeyError` for a missing option.
    pub(crate) fn unknown_option(key: &str) -> Self {
        Self::exception("KeyError", python_repr(key))
    }
}

/// The text of a log entry: class and message, or status and detail.
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exception { error, message } => write!(f, "{error}: {message}"),
            Self::Scripted { error, message } => write!(f, "{error}: {message}"),
            Self::Http { code, detail } => write!(f, "{code}: {detail}"),
            Self::Validation(_) => f.write_str("422"),
        }
    }
}

/// `repr()` of a Python string, as far as option and model names need it.
pub(crate) fn python_repr(text: &str) -> String {
    if text.contains('\'') && !text.contains('"') {
        return format!("\"{text}\"");
    }
    format!(
        "'{}'",
        text.replace('\\', "\\\\")
            .replace('\'', "\\'")
            .replace('\n', "\\n")
    )
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Exception { error, message } => exception_body(error, &message),
            Self::Scripted { error, message } => exception_body(&error, &message),
            Self::Http { code, detail } => {
                let status =
                    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                json_reply(status, &json!({ "detail": detail }))
            }
            Self::Validation(entries) => json_reply(
                StatusCode::UNPROCESSABLE_ENTITY,
                &json!({ "detail": entries }),
            ),
        }
    }
}

fn exception_body(error: &str, message: &str) -> Response {
    let body = json!({ "error": error, "detail": "", "body": "", "message": message });
    json_reply(StatusCode::INTERNAL_SERVER_ERROR, &body)
}

/// A compact JSON answer.
pub(crate) fn json_reply(status: StatusCode, body: &Value) -> Response {
    raw_reply(status, body.to_string())
}

/// An answer whose body is JSON text already.
pub(crate) fn raw_reply(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// A 200 with JSON.
pub(crate) fn ok(body: &Value) -> Response {
    json_reply(StatusCode::OK, body)
}
