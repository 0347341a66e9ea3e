//! What a server started with `--api-auth` or `--gradio-auth` asks of its callers (forge/forge-api.md, "Auth";
//! exchanges 10/01 to 10/05 and 10/18). Which routes are asked is `server`'s and `listings`'s to say.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    errors::{Failure, json_reply},
    fields::{entry, json_body},
    state::{Engine, hold},
};

/// Routes whose body FastAPI parses, and so before it asks who sends it.
const WITH_JSON: [&str; 4] = [
    "/sdapi/v1/txt2img",
    "/sdapi/v1/img2img",
    "/sdapi/v1/options",
    "/sdapi/v1/png-info",
];

/// Users and their passwords, as the command line has them: `u:p[,u2:p2]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(HashMap<String, String>);

impl Users {
    /// Reads `u:p[,u2:p2]`.
    ///
    /// # Errors
    /// In words, when an entry has no colon.
    pub fn parse(text: &str) -> Result<Self, String> {
        let users = text.split(',').map(|login| {
            let (user, password) = login
                .trim()
                .split_once(':')
                .ok_or("every login is written user:password")?;
            Ok((user.to_owned(), password.to_owned()))
        });
        Ok(Self(users.collect::<Result<_, &str>>()?))
    }

    /// True if nobody is asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, user: &str, password: &str) -> bool {
        self.0.get(user).is_some_and(|known| known == password)
    }
}

/// Who is logged in at the UI of one process; a restart forgets it.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// Part of the cookies' names, another one for each process.
    cookie_id: String,
    tokens: Mutex<HashSet<String>>,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self {
            cookie_id: random_word(),
            tokens: Mutex::default(),
        }
    }

    /// Gradio gives the token twice: for secure connections and for others.
    fn cookie_names(&self) -> [String; 2] {
        [
            format!("access-token-{}", self.cookie_id),
            format!("access-token-unsecure-{}", self.cookie_id),
        ]
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let names = self.cookie_names();
        let tokens = hold(&self.tokens);
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .any(|(name, token)| names.iter().any(|known| known == name) && tokens.contains(token))
    }
}

fn random_word() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// Lets a request to a route of the API through, or answers as Forge does: broken JSON is told first.
pub(crate) async fn guard(
    State(engine): State<Arc<Engine>>,
    request: Request,
    next: Next,
) -> Response {
    let users = &engine.world.config.api_auth;
    if users.is_empty() {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let body = match to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return Failure::http(400, error.to_string()).into_response(),
    };
    let parsed = head.method == Method::POST && WITH_JSON.contains(&head.uri.path());
    if parsed
        && !body.is_empty()
        && let Err(failure) = json_body(&body)
    {
        return failure.into_response();
    }
    match check_basic(users, &head.headers) {
        Ok(()) => next.run(Request::from_parts(head, Body::from(body))).await,
        Err(detail) => {
            let mut response = Failure::http(401, detail).into_response();
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            response
        }
    }
}

/// What is wrong with the credentials of a request.
fn check_basic(users: &Users, headers: &HeaderMap) -> Result<(), &'static str> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let encoded = given
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .map(|(_, encoded)| encoded)
        .ok_or("Not authenticated")?;
    let decoded = STANDARD
        .decode(encoded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        // FastAPI reads the pair as ASCII.
        .filter(|pair| pair.is_ascii());
    let (user, password) = decoded
        .as_deref()
        .and_then(|pair| pair.split_once(':'))
        .ok_or("Invalid authentication credentials")?;
    if users.has(user, password) {
        Ok(())
    } else {
        Err("Incorrect username or password")
    }
}

/// Whether the UI asks for a login on this path: its own routes and files, not the API, `/internal` or `/app_id`.
pub(crate) fn is_of_the_ui(path: &str) -> bool {
    path == "/config" || path.starts_with("/queue/") || path.starts_with("/file=")
}

/// The refusal of a request to a route of the UI, if it is refused.
pub(crate) fn refused_by_the_ui(engine: &Engine, headers: &HeaderMap) -> Option<Failure> {
    let asked = !engine.world.config.gradio_auth.is_empty();
    (asked && !engine.sessions.knows(headers)).then(|| Failure::http(401, "Not authenticated"))
}

/// `POST /login` of the UI: a form with `username` and `password`.
pub(crate) async fn login(State(engine): State<Arc<Engine>>, body: Bytes) -> Response {
    let users = &engine.world.config.gradio_auth;
    if users.is_empty() {
        // Not recorded; nobody logs in where nobody is asked.
        return Failure::http(404, "Not Found").into_response();
    }
    let fields: HashMap<String, String> = form(&body);
    let missing: Vec<Value> = ["username", "password"]
        .into_iter()
        .filter(|name| !fields.contains_key(*name))
        .map(|name| entry("missing", &[name.into()], "Field required", &Value::Null))
        .collect();
    if !missing.is_empty() {
        return Failure::Validation(missing).into_response();
    }
    if !users.has(&fields["username"], &fields["password"]) {
        return Failure::http(400, "Incorrect credentials.").into_response();
    }
    let token = random_word();
    let [secure, unsecure] = engine.sessions.cookie_names();
    let cookies = [
        format!("{secure}={token}; HttpOnly; Path=/; SameSite=none; Secure"),
        format!("{unsecure}={token}; HttpOnly; Path=/; SameSite=lax"),
    ];
    hold(&engine.sessions.tokens).insert(token);
    let mut response = json_reply(StatusCode::OK, &json!({ "success": true }));
    for cookie in cookies {
        // Hexadecimal and names of our own are always a header.
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    response
}

/// The fields of a form, percent-decoded.
fn form(body: &[u8]) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let decoded = |part: &str| crate::listings::percent_decoded(&part.replace('+', " "));
    text.split('&')
        .filter_map(|field| field.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}
