//! Owns the list of methods that figures and spans may name, so that made-up
//! paths from callers cannot grow them. It does not route.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message as _;
use prost_types::FileDescriptorSet;

const UNKNOWN: &str = "unknown";

/// A method as figures and spans name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Method {
    service: Arc<String>,
    name: Arc<String>,
}

impl Method {
    fn new(service: Arc<String>, name: &str) -> Self {
        let name = Arc::new(name.to_owned());
        Self { service, name }
    }

    /// The method of the path of a request that was routed to `service`.
    pub(crate) fn routed(service: &str, path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(UNKNOWN);
        Self::new(Arc::new(service.to_owned()), name)
    }

    pub(crate) fn service(&self) -> &Arc<String> {
        &self.service
    }

    pub(crate) fn name(&self) -> &Arc<String> {
        &self.name
    }

    /// `package.Service/Method`; one word for all methods that nobody described.
    pub(crate) fn full_name(&self) -> String {
        if self.service.as_str() == UNKNOWN {
            return UNKNOWN.to_owned();
        }
        format!("{}/{}", self.service, self.name)
    }
}

/// The methods of some descriptor sets, by path; all others are one: `unknown`.
#[derive(Debug)]
pub(crate) struct Methods {
    by_path: HashMap<String, Method>,
    unknown: Method,
}

impl Methods {
    pub(crate) fn read(descriptor_sets: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut by_path = HashMap::new();
        for encoded in descriptor_sets {
            for file in FileDescriptorSet::decode(*encoded)?.file {
                let package = file.package().to_owned();
                for service in &file.service {
                    let full_name = Arc::new(match package.as_str() {
                        "" => service.name().to_owned(),
                        package => format!("{package}.{}", service.name()),
                    });
                    by_path.extend(service.method.iter().map(|method| {
                        let path = format!("/{full_name}/{}", method.name());
                        (path, Method::new(Arc::clone(&full_name), method.name()))
                    }));
                }
            }
        }
        let unknown = Method::new(Arc::new(UNKNOWN.to_owned()), UNKNOWN);
        Ok(Self { by_path, unknown })
    }

    /// The service and the path of every method.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_path
            .iter()
            .map(|(path, method)| (method.service.as_str(), path.as_str()))
    }

    pub(crate) fn find(&self, path: &str) -> Method {
        self.by_path.get(path).unwrap_or(&self.unknown).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_methods_have_their_names_and_all_others_share_one() {
        let methods = Methods::read(&[tonic_health::pb::FILE_DESCRIPTOR_SET]).unwrap();
        let check = methods.find("/grpc.health.v1.Health/Check");
        assert_eq!(
            (check.service().as_str(), check.name().as_str()),
            ("grpc.health.v1.Health", "Check")
        );
        assert_eq!(check.full_name(), "grpc.health.v1.Health/Check");
        for path in ["/grpc.health.v1.Health/Nope", "/", "", "/x/y/z"] {
            assert_eq!(methods.find(path).name().as_str(), UNKNOWN);
            assert_eq!(methods.find(path).full_name(), UNKNOWN);
        }
    }

    #[test]
    fn a_broken_descriptor_set_is_an_error() {
        assert!(Methods::read(&[b"\xff\xff"]).is_err());
    }
}
