//! Owns the connections to where Civitai's answers lead: the storage of files and pictures. The key
//! never goes there, and no address within this network is reached because an answer says so.
//!
//! An address is looked at twice: in the URL, where it may stand itself, and when its name is
//! looked up for the connection, so that a name cannot mean another address later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, RequestBuilder};
use url::{Host, Url};

use super::client::{self, ClientFault};
use crate::config::CivitaiConfig;

#[cfg(test)]
mod tests;

/// Addresses at which clouds tell secrets to whoever asks from within, and that are not link-local.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];
/// Endings of names within a network.
const LOCAL_ENDINGS: [&str; 6] = [
    ".localhost",
    ".local",
    ".lan",
    ".internal",
    ".intranet",
    ".home.arpa",
];

/// Why an address that an answer names is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It is not of the web.
    #[error("Civitai's answer leads to {0:?}, which is no https:// address")]
    Scheme(String),
    /// It is an address that answers must not name.
    #[error(
        "Civitai's answer leads to {0}, an address within this network; it is not asked because an \
         answer says so"
    )]
    Address(String),
}

/// Which addresses answers may name.
#[derive(Debug, Clone)]
struct Rule {
    /// The configured hosts, which the operator has chosen.
    configured: Vec<String>,
    /// Whether the configured host is within this network itself, so that what it leads to may be.
    private: bool,
    /// Whether connections may be without TLS, as the configured one is.
    plain: bool,
}

/// The client for storage.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    client: Client,
    rule: Rule,
}

impl Storage {
    /// Opens no connection.
    pub(super) fn new(config: &CivitaiConfig) -> Result<Self, ClientFault> {
        let rule = Rule::of(config);
        let resolver = Arc::new(Resolver(rule.clone()));
        let builder = client::builder(config).dns_resolver(resolver);
        let client = client::built(builder)?;
        Ok(Self { client, rule })
    }

    /// A GET without the key.
    pub(super) fn get(&self, url: Url) -> Result<RequestBuilder, Denied> {
        self.rule.check(&url)?;
        Ok(self.client.get(url))
    }
}

impl Rule {
    fn of(config: &CivitaiConfig) -> Self {
        let bases = [&config.url, &config.download_url];
        let hosts = bases.iter().filter_map(|url| url.host_str());
        Self {
            configured: hosts.map(str::to_ascii_lowercase).collect(),
            private: is_within(&config.download_url),
            plain: config.download_url.scheme() == "http",
        }
    }

    fn check(&self, url: &Url) -> Result<(), Denied> {
        let scheme = url.scheme();
        if scheme != "https" && !(scheme == "http" && self.plain) {
            return Err(Denied::Scheme(scheme.to_owned()));
        }
        let denied = |host: &dyn ToString| Err(Denied::Address(host.to_string()));
        match url.host() {
            None => denied(&"nowhere"),
            Some(host) if self.is_configured(&host.to_string()) => Ok(()),
            Some(Host::Domain(_)) => Ok(()),
            Some(Host::Ipv4(address)) if self.allows(address.into()) => Ok(()),
            Some(Host::Ipv6(address)) if self.allows(address.into()) => Ok(()),
            Some(host) => denied(&host),
        }
    }

    fn is_configured(&self, host: &str) -> bool {
        self.configured
            .iter()
            .any(|known| known.eq_ignore_ascii_case(host))
    }

    fn allows(&self, address: IpAddr) -> bool {
        let address = unwrapped(address);
        !is_never_allowed(address) && (self.private || !is_private(address))
    }
}

/// Looks names up, and leaves out what is not allowed.
struct Resolver(Rule);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rule = self.0.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found = tokio::net::lookup_host((host, 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            if rule.is_configured(host) {
                return Ok(Box::new(found.into_iter()) as Addrs);
            }
            let found = found.into_iter();
            let allowed: Vec<SocketAddr> =
                found.filter(|address| rule.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(Denied::Address(host.to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether a configured address is within this network by its looks.
fn is_within(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => is_private(unwrapped(address.into())),
        Some(Host::Ipv6(address)) => is_private(unwrapped(address.into())),
        Some(Host::Domain(name)) => {
            let name = name.to_ascii_lowercase();
            !name.contains('.') || LOCAL_ENDINGS.iter().any(|ending| name.ends_with(ending))
        }
        None => false,
    }
}

/// The IPv4 address that an IPv6 address stands for, where it does.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(address) = address else {
        return address;
    };
    let [a, b, c, .., g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match (address.to_ipv4_mapped(), a) {
        (Some(mapped), _) => IpAddr::V4(mapped),
        // NAT64, and 6to4.
        (None, 0x64) if b == 0xff9b => v4(g, h),
        (None, 0x2002) => v4(b, c),
        (None, _) => IpAddr::V6(address),
    }
}

fn is_never_allowed(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    link_local || address.is_unspecified() || address.is_multicast() || METADATA.contains(&address)
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            // 100.64/10 is shared by providers, 198.18/15 is for measurements, 0/8 is this host.
            let shared = a == 100 && (64..128).contains(&b);
            let measured = a == 198 && (18..20).contains(&b);
            address.is_private() || address.is_loopback() || shared || measured || a == 0
        }
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    }
}
