//! Owns the figures of RPCs and connections. It does not serve them; see
//! [`crate::metrics_http`].

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;
use tracing::Span;

use super::methods::Method;
use crate::clock::Clock;
use crate::status::code_name;

/// Upper bounds in seconds: from an answer out of memory to a long poll.
const DURATION_BUCKETS_S: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    service: Arc<String>,
    method: Arc<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    service: Arc<String>,
    method: Arc<String>,
    code: &'static str,
}

/// The figures of all calls of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RpcMetrics {
    ended: Family<OutcomeLabels, Counter>,
    duration: Family<MethodLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
}

impl RpcMetrics {
    /// Registers `rpc_requests_total`, `rpc_duration_seconds`, `rpc_in_flight`,
    /// `rpc_connections` and `rpc_connections_refused_total`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            ended: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS_S)),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
        };
        registry.register(
            "rpc_requests",
            "Calls that ended, by code",
            metrics.ended.clone(),
        );
        registry.register_with_unit(
            "rpc_duration",
            "Time from the headers of a call to its last message",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "rpc_in_flight",
            "Calls that have not ended",
            metrics.in_flight.clone(),
        );
        registry.register(
            "rpc_connections",
            "Open connections",
            metrics.connections.clone(),
        );
        registry.register(
            "rpc_connections_refused",
            "Connections closed at once because there were too many",
            metrics.connections_refused.clone(),
        );
        metrics
    }

    pub(crate) fn begin(&self, method: Method, clock: Clock, span: Span) -> RpcCall {
        self.in_flight.inc();
        RpcCall {
            metrics: self.clone(),
            method,
            begun: clock.monotonic(),
            clock,
            span,
            ended: false,
        }
    }
}

/// One call; a call that is dropped before its end was given up by the caller.
#[derive(Debug)]
pub(crate) struct RpcCall {
    metrics: RpcMetrics,
    method: Method,
    begun: Duration,
    clock: Clock,
    span: Span,
    ended: bool,
}

impl RpcCall {
    /// The span in which everything about the call is logged.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Counts the call; only the first time counts.
    pub(crate) fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let service = Arc::clone(self.method.service());
        let method = Arc::clone(self.method.name());
        let duration = self.clock.monotonic().saturating_sub(self.begun);
        let code = code_name(code);
        self.span.in_scope(|| {
            let duration_ms = duration.as_millis();
            tracing::debug!(rpc.code = code, duration_ms, "call ended");
        });
        self.metrics.in_flight.dec();
        self.metrics
            .duration
            .get_or_create(&MethodLabels {
                service: Arc::clone(&service),
                method: Arc::clone(&method),
            })
            .observe(duration.as_secs_f64());
        self.metrics
            .ended
            .get_or_create(&OutcomeLabels {
                service,
                method,
                code,
            })
            .inc();
    }
}

impl Drop for RpcCall {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}
