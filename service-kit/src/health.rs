//! Owns the question whether a service takes calls, as the probes of containers
//! ask it from outside. It does not own the answer ([`crate::server`]).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::clock::Clock;

/// Time for the connection and the answer together.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a service does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub enum NotHealthy {
    /// Nobody listens there, or it is not gRPC.
    #[error("{address} cannot be reached")]
    Unreachable {
        /// Who was asked.
        address: SocketAddr,
        /// What the connection says.
        #[source]
        source: tonic::transport::Error,
    },
    /// It answered with an error, such as NOT_FOUND for a name it does not serve.
    #[error("{address} answers {code:?}: {message}")]
    Refused {
        /// Who was asked.
        address: SocketAddr,
        /// The code of the answer.
        code: tonic::Code,
        /// The text of the answer.
        message: String,
    },
    /// It answered, and takes no calls.
    #[error("{address} is {}", status.as_str_name())]
    NotServing {
        /// Who was asked.
        address: SocketAddr,
        /// What it says of itself.
        status: ServingStatus,
    },
    /// It did not answer within [`HEALTH_TIMEOUT`].
    #[error("{address} did not answer within {} ms", HEALTH_TIMEOUT.as_millis())]
    TooLate {
        /// Who was asked.
        address: SocketAddr,
    },
}

/// Where a program that listens on `listen` is reached from its own machine:
/// the unspecified address becomes loopback.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Asks `grpc.health.v1` of the program that listens on `listen` whether
/// `service` is SERVING; the empty name is the whole process.
///
/// # Errors
/// Every other answer, and none within [`HEALTH_TIMEOUT`].
pub async fn check(listen: SocketAddr, service: &str, clock: &Clock) -> Result<(), NotHealthy> {
    let address = reachable(listen);
    let asked = Box::pin(ask(address, service));
    match clock.timeout(HEALTH_TIMEOUT, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(NotHealthy::TooLate { address }),
    }
}

async fn ask(address: SocketAddr, service: &str) -> Result<(), NotHealthy> {
    let unreachable = |source| NotHealthy::Unreachable { address, source };
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .map_err(unreachable)?
        .connect()
        .await
        .map_err(unreachable)?;
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel)
        .check(request)
        .await
        .map_err(|status| NotHealthy::Refused {
            address,
            code: status.code(),
            message: status.message().to_owned(),
        })?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        status => Err(NotHealthy::NotServing { address, status }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_asked_on_loopback_and_every_other_address_as_it_is() {
        for (listen, asked) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
            ("127.0.0.1:3", "127.0.0.1:3"),
            ("10.0.0.4:4", "10.0.0.4:4"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
