//! The login at a server's UI: a form that is answered with cookies, which the
//! server's process forgets when it ends (`forge/forge-api.md`, "Auth"). Kept
//! in memory only, and sent only for what needs it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::{Response, StatusCode, header};
use secrecy::ExposeSecret as _;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{
    CONTROL_TIMEOUT, CallFailure, ERROR_BODY_BYTES_MAX, ForgeClient, body_start, failure, short,
};
use crate::server::ServerLogin;

/// Cookies of one login that are kept; Gradio gives two.
const COOKIES_MAX: usize = 8;
/// Bytes that these may have in all.
const COOKIE_BYTES_MAX: usize = 4096;
/// What helps where the UI refuses us.
const REMEDY: &str =
    "set the right server.ui_login with UpdateServer, or remove it where the UI asks for none";

/// What is wrong where the UI asks and there is nothing to answer with.
const MISSING: &str = "its UI asks for a login, so images of lost answers cannot be fetched; set \
                       server.ui_login with UpdateServer";

/// The cookies of one login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket(header::HeaderValue);

impl Ticket {
    /// As the header that carries them; never shown.
    pub(super) fn cookies(&self) -> header::HeaderValue {
        self.0.clone()
    }

    /// Those that an answer sets.
    fn of(response: &Response) -> Option<Self> {
        let set = response.headers().get_all(header::SET_COOKIE);
        let pairs: Vec<&str> = set
            .iter()
            .filter_map(|cookie| cookie.to_str().ok())
            .filter_map(|cookie| cookie.split(';').next())
            .map(str::trim)
            .filter(|pair| pair.contains('='))
            .take(COOKIES_MAX)
            .collect();
        let line = pairs.join("; ");
        if pairs.is_empty() || line.len() > COOKIE_BYTES_MAX {
            return None;
        }
        let mut value = header::HeaderValue::from_str(&line).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

/// How things stand at the UI.
#[derive(Debug, Default)]
enum State {
    /// Nobody tried yet, or it could not be asked.
    #[default]
    Out,
    /// Logged in.
    In(Ticket),
    /// It refuses the login or asks for one that is not there, in these words.
    Refused(String),
}

#[derive(Debug, Default)]
struct Held {
    login: Option<ServerLogin>,
    state: State,
    /// The process that the state is about.
    process: Option<String>,
    /// Grows with every change of the login, so that the answer to an older one
    /// says nothing.
    changes: u64,
}

/// The session at the UI of one server.
#[derive(Debug, Default)]
pub(super) struct Session {
    held: Mutex<Held>,
    /// One logs in at a time.
    logging_in: tokio::sync::Mutex<()>,
}

impl Session {
    /// Uses another login from now on, if it is another one.
    pub(super) fn set_login(&self, login: Option<ServerLogin>) {
        let mut held = self.lock();
        if held.login != login {
            held.login = login;
            held.state = State::Out;
            held.changes += 1;
        }
    }

    /// The cookies of the session, if there is one.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        match &self.lock().state {
            State::In(ticket) => Some(ticket.clone()),
            State::Out | State::Refused(_) => None,
        }
    }

    /// Notes which process answers: another one knows no session.
    fn seen(&self, process: Option<&str>) {
        let mut held = self.lock();
        if held.process.as_deref() != process {
            held.process = process.map(str::to_owned);
            held.state = State::Out;
        }
    }

    fn refusal(&self) -> Option<String> {
        match &self.lock().state {
            State::Refused(why) => Some(why.clone()),
            State::Out | State::In(_) => None,
        }
    }

    fn settle(&self, changes: u64, state: State) {
        let mut held = self.lock();
        if held.changes == changes {
            held.state = state;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ForgeClient {
    /// Logs in at the UI where that was not tried yet with this login at this
    /// process; what is wrong with the login, with what would help.
    pub(super) async fn check_ui_login(&self, process: Option<&str>) -> Option<String> {
        self.session.seen(process);
        let due = matches!(
            &*self.session.lock(),
            Held {
                login: Some(_),
                state: State::Out,
                ..
            }
        );
        if due {
            // A server that cannot be asked now is asked by the next probe.
            let _ = self.log_in(None).await;
        }
        self.session.refusal()
    }

    /// Logs in at the UI, unless somebody else did since `stale` was refused.
    /// `None` where there is no login or it is refused; a refused one is not
    /// tried again at the same process.
    pub(super) async fn log_in(
        &self,
        stale: Option<&Ticket>,
    ) -> Result<Option<Ticket>, CallFailure> {
        let _alone = self.session.logging_in.lock().await;
        let (login, changes) = {
            let held = self.session.lock();
            match &held.state {
                State::Refused(_) => return Ok(None),
                State::In(ticket) if Some(ticket) != stale => return Ok(Some(ticket.clone())),
                State::In(_) | State::Out => {}
            }
            (held.login.clone(), held.changes)
        };
        let Some(login) = login else {
            self.session
                .settle(changes, State::Refused(MISSING.to_owned()));
            return Ok(None);
        };
        let response = self.send_login(&login).await?;
        let status = response.status();
        if status.is_server_error() {
            self.session.settle(changes, State::Out);
            return Ok(None);
        }
        let ticket = Ticket::of(&response).filter(|_| status == StatusCode::OK);
        let state = match &ticket {
            Some(ticket) => State::In(ticket.clone()),
            None => State::Refused(refused(response).await),
        };
        self.session.settle(changes, state);
        Ok(ticket)
    }

    async fn send_login(&self, login: &ServerLogin) -> Result<Response, CallFailure> {
        let form = Zeroizing::new(
            form_urlencoded::Serializer::new(String::new())
                .append_pair("username", login.user())
                .append_pair("password", login.password().expose_secret())
                .finish(),
        );
        let request = self
            .signed(self.control.post(self.url("/login")))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.as_bytes().to_vec())
            .timeout(CONTROL_TIMEOUT);
        request.send().await.map_err(|error| failure(&error))
    }
}

/// The refusal of a login in our words.
async fn refused(response: Response) -> String {
    let status = response.status();
    if status == StatusCode::OK {
        return format!("its UI answered a login without cookies; {REMEDY}");
    }
    let body = body_start(response, ERROR_BODY_BYTES_MAX).await;
    let message = short(&crate::outcome::message_of(&body));
    format!(
        "its UI refuses server.ui_login ({}: {message}), so images of lost answers cannot be \
         fetched; {REMEDY}",
        status.as_u16()
    )
}
