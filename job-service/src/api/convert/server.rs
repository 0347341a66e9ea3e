//! Servers between the words of the domain and those of the wire.

use chrono::{DateTime, Utc};
use service_kit::clock::to_timestamp;
use stablequeue_proto::jobs::v1 as proto;

use crate::{
    api::parse::mask_paths,
    board::{ServerState, ServerStatus},
    breaker::BreakerState,
    cooldowns::{Cooldown, Subject},
    request::Violation,
    server::{
        Health, LoginKind, Server, ServerLogin, Usage, alias_fault, one_login, parse_server_url,
    },
    store::servers::{NewServer, ServerChange},
};

/// Bytes that a base URL may have.
const BASE_URL_BYTES_MAX: usize = 2048;

/// A server as it is shown at this time.
pub(crate) fn server(state: ServerState, now: DateTime<Utc>) -> proto::Server {
    let ServerState {
        server,
        status,
        running_job,
        last_given: _,
        breaker,
        cooldowns,
        listed: _,
        ..
    } = state;
    let Server {
        alias,
        base_url,
        usage,
        labels,
        enabled,
        interrupts_allowed,
        cordoned,
        cordon_reason,
        baseline: _,
        api_login,
        ui_login,
        created_at,
        updated_at,
        revision,
    } = server;
    let ServerStatus {
        health,
        message,
        probed_at,
        seen_at,
        failures,
        process,
        ui_mode,
        checkpoint,
        checkpoint_count,
        lora_count,
        inventory_at,
    } = status;
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    proto::Server {
        alias,
        base_url,
        usage: usage_to_proto(usage).into(),
        labels: labels.into_iter().collect(),
        enabled: Some(enabled),
        cordoned,
        cordon_reason,
        create_time: Some(to_timestamp(created_at)),
        update_time: Some(to_timestamp(updated_at)),
        etag: revision.to_string(),
        status: Some(proto::ServerStatus {
            health: health_to_proto(health).into(),
            message,
            probe_time: probed_at.map(to_timestamp),
            seen_time: seen_at.map(to_timestamp),
            failures: i32::try_from(failures).unwrap_or(i32::MAX),
            process: process.unwrap_or_default(),
            ui_mode,
            checkpoint,
            running_job_id: running_job.unwrap_or_default(),
            checkpoint_count: count(checkpoint_count),
            lora_count: count(lora_count),
            inventory_time: inventory_at.map(to_timestamp),
            breaker: breaker_to_proto(breaker.state()).into(),
            breaker_retry_time: match breaker.state() {
                BreakerState::Open { retry_at, .. } => Some(to_timestamp(retry_at)),
                BreakerState::Closed | BreakerState::HalfOpen => None,
            },
            cooldowns: cooldowns.under_way(now).map(cooldown_to_proto).collect(),
        }),
        // Input only.
        api_login: None,
        ui_login: None,
        has_api_login: api_login.is_some(),
        has_ui_login: ui_login.is_some(),
        interrupts_allowed: Some(interrupts_allowed),
    }
}

fn breaker_to_proto(state: BreakerState) -> proto::BreakerState {
    match state {
        BreakerState::Closed => proto::BreakerState::Closed,
        BreakerState::Open { .. } => proto::BreakerState::Open,
        BreakerState::HalfOpen => proto::BreakerState::HalfOpen,
    }
}

fn cooldown_to_proto(cooldown: &Cooldown) -> proto::Cooldown {
    let subject = match &cooldown.subject {
        Subject::Model(title) => proto::cooldown::Subject::Model(title.clone()),
        Subject::Pixels(pixels) => proto::cooldown::Subject::Pixels(*pixels),
    };
    proto::Cooldown {
        subject: Some(subject),
        end_time: Some(to_timestamp(cooldown.until)),
        failures: i32::try_from(cooldown.failures).unwrap_or(i32::MAX),
        message: cooldown.message.clone(),
    }
}

/// A server to register, or everything that is wrong with it.
pub(crate) fn new_server(server: Option<proto::Server>) -> Result<NewServer, Vec<Violation>> {
    let Some(server) = server else {
        return Err(vec![Violation::new("server", "is required")]);
    };
    let mut violations = Vec::new();
    if let Some(fault) = alias_fault(&server.alias) {
        violations.push(Violation::new("server.alias", fault));
    }
    let (base_url, in_url) = base_url(&server.base_url, &mut violations);
    let api_login = login(LoginKind::Api, server.api_login, &mut violations);
    let api_login = not_two(api_login, in_url, &mut violations);
    let ui_login = login(LoginKind::Ui, server.ui_login, &mut violations);
    let usage = usage(server.usage, &mut violations);
    let labels = super::super::parse::labels("server.labels", server.labels, &mut violations);
    if !violations.is_empty() {
        return Err(violations);
    }
    Ok(NewServer {
        alias: server.alias,
        base_url,
        usage: usage.unwrap_or(Usage::Dedicated),
        labels,
        enabled: server.enabled.unwrap_or(true),
        interrupts_allowed: server.interrupts_allowed.unwrap_or(false),
        api_login,
        ui_login,
    })
}

/// What an update asks for: the fields of the mask, or those that are set.
pub(crate) fn change(
    server: proto::Server,
    mask: Option<prost_types::FieldMask>,
) -> Result<(ServerChange, Option<i32>), Vec<Violation>> {
    let mut violations = Vec::new();
    let paths: Vec<String> = match mask {
        Some(mask) => mask_paths(mask, &mut violations),
        None => set_fields(&server),
    };
    let mut change = ServerChange::default();
    let mut in_url = None;
    for path in paths {
        match path.as_str() {
            "base_url" => {
                let (url, login) = base_url(&server.base_url, &mut violations);
                change.base_url = Some(url);
                in_url = login;
            }
            "api_login" => {
                let given = server.api_login.clone();
                change.api_login = Some(login(LoginKind::Api, given, &mut violations));
            }
            "ui_login" => {
                let given = server.ui_login.clone();
                change.ui_login = Some(login(LoginKind::Ui, given, &mut violations));
            }
            "usage" => {
                change.usage =
                    Some(usage(server.usage, &mut violations).unwrap_or(Usage::Dedicated));
            }
            "labels" => {
                change.labels = Some(super::super::parse::labels(
                    "server.labels",
                    server.labels.clone(),
                    &mut violations,
                ));
            }
            "enabled" => change.enabled = Some(server.enabled.unwrap_or(true)),
            "interrupts_allowed" => {
                change.interrupts_allowed = Some(server.interrupts_allowed.unwrap_or(false));
            }
            other => violations.push(Violation::new(
                "update_mask.paths",
                format!(
                    "{other:?} cannot be changed; base_url, usage, labels, enabled, \
                     interrupts_allowed, api_login and ui_login can"
                ),
            )),
        }
    }
    change.api_login = changed_login(change.api_login, in_url, &mut violations);
    let revision = match server.etag.as_str() {
        "" => None,
        etag => match etag.parse() {
            Ok(revision) => Some(revision),
            Err(_) => {
                violations.push(Violation::new(
                    "server.etag",
                    "is not an etag of this service",
                ));
                None
            }
        },
    };
    if violations.is_empty() {
        Ok((change, revision))
    } else {
        Err(violations)
    }
}

fn set_fields(server: &proto::Server) -> Vec<String> {
    let set = [
        ("base_url", !server.base_url.is_empty()),
        ("usage", server.usage != 0),
        ("labels", !server.labels.is_empty()),
        ("enabled", server.enabled.is_some()),
        ("interrupts_allowed", server.interrupts_allowed.is_some()),
        ("api_login", server.api_login.is_some()),
        ("ui_login", server.ui_login.is_some()),
    ];
    set.into_iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn login(
    kind: LoginKind,
    login: Option<proto::ServerLogin>,
    violations: &mut Vec<Violation>,
) -> Option<ServerLogin> {
    let proto::ServerLogin { user, password } = login?;
    let parsed = ServerLogin::parse(user, password).map_err(|faults| {
        let violation =
            |part, words| Violation::new(format!("server.{}.{part}", kind.field()), words);
        let faults = faults.into_iter();
        violations.extend(faults.map(|fault| violation(fault.part, fault.words)));
    });
    parsed.ok()
}

/// The login of the API, which may be in the URL as well.
fn not_two(
    given: Option<ServerLogin>,
    in_url: Option<ServerLogin>,
    violations: &mut Vec<Violation>,
) -> Option<ServerLogin> {
    one_login(given, in_url).unwrap_or_else(|fault| {
        violations.push(Violation::new("server.api_login", fault));
        None
    })
}

/// The same for a change: a URL with a login sets it.
fn changed_login(
    given: Option<Option<ServerLogin>>,
    in_url: Option<ServerLogin>,
    violations: &mut Vec<Violation>,
) -> Option<Option<ServerLogin>> {
    match (given, in_url) {
        (given, None) => given,
        (None, in_url) => Some(in_url),
        (Some(None), Some(_)) => {
            let words = "is to be removed, and server.base_url has a user and password";
            violations.push(Violation::new("server.api_login", words));
            None
        }
        (Some(given), in_url) => Some(not_two(given, in_url, violations)),
    }
}

/// The URL, and the login that was written into it.
fn base_url(text: &str, violations: &mut Vec<Violation>) -> (String, Option<ServerLogin>) {
    if text.len() > BASE_URL_BYTES_MAX {
        let words = format!("must have at most {BASE_URL_BYTES_MAX} bytes");
        violations.push(Violation::new("server.base_url", words));
        return (String::new(), None);
    }
    parse_server_url(text).unwrap_or_else(|fault| {
        violations.push(Violation::new("server.base_url", fault));
        (String::new(), None)
    })
}

/// `None` when it is not said.
fn usage(value: i32, violations: &mut Vec<Violation>) -> Option<Usage> {
    match proto::ServerUsage::try_from(value) {
        Ok(proto::ServerUsage::Unspecified) => None,
        Ok(proto::ServerUsage::Dedicated) => Some(Usage::Dedicated),
        Ok(proto::ServerUsage::Shared) => Some(Usage::Shared),
        Err(_) => {
            violations.push(Violation::new(
                "server.usage",
                format!("{value} is not a usage"),
            ));
            None
        }
    }
}

fn usage_to_proto(usage: Usage) -> proto::ServerUsage {
    match usage {
        Usage::Dedicated => proto::ServerUsage::Dedicated,
        Usage::Shared => proto::ServerUsage::Shared,
    }
}

fn health_to_proto(health: Health) -> proto::ServerHealth {
    match health {
        Health::Unknown => proto::ServerHealth::Unspecified,
        Health::Healthy => proto::ServerHealth::Healthy,
        Health::Unreachable => proto::ServerHealth::Unreachable,
        Health::Unauthenticated => proto::ServerHealth::Unauthenticated,
        Health::ApiMissing => proto::ServerHealth::ApiMissing,
        Health::NotForge => proto::ServerHealth::NotForge,
    }
}
