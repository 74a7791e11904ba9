//! Ends of connections.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use prost::Message;

use crate::aggregate::Endpoint;

/// An IPv4 address, or an IPv6 one of two halves, or a path.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EndpointRow {
    #[prost(fixed32, optional, tag = "1")]
    v4: Option<u32>,
    #[prost(fixed64, optional, tag = "2")]
    v6_high: Option<u64>,
    #[prost(fixed64, optional, tag = "3")]
    v6_low: Option<u64>,
    #[prost(uint32, tag = "4")]
    port: u32,
    #[prost(uint32, tag = "5")]
    flow: u32,
    #[prost(uint32, tag = "6")]
    scope: u32,
    #[prost(string, optional, tag = "7")]
    path: Option<String>,
}

impl From<&Endpoint> for EndpointRow {
    fn from(endpoint: &Endpoint) -> Self {
        let nothing = Self::default();
        match endpoint {
            Endpoint::Inet(SocketAddr::V4(address)) => {
                Self { v4: Some(address.ip().to_bits()), port: address.port().into(), ..nothing }
            }
            Endpoint::Inet(SocketAddr::V6(address)) => {
                let bits = address.ip().to_bits();
                Self {
                    v6_high: Some((bits >> 64) as u64),
                    v6_low: Some(bits as u64),
                    port: address.port().into(),
                    flow: address.flowinfo(),
                    scope: address.scope_id(),
                    ..nothing
                }
            }
            Endpoint::Unix(path) => Self { path: Some(path.as_ref().to_owned()), ..nothing },
        }
    }
}

impl EndpointRow {
    /// `None` if it is of no sort that is known.
    pub(super) fn endpoint(self) -> Option<Endpoint> {
        let Self { v4, v6_high, v6_low, port, flow, scope, path } = self;
        let port = u16::try_from(port).ok()?;
        let ip = match (v4, v6_high, v6_low, path) {
            (Some(bits), ..) => IpAddr::V4(Ipv4Addr::from_bits(bits)),
            (None, Some(high), Some(low), _) => {
                IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)))
            }
            (.., Some(path)) => return Some(Endpoint::Unix(path.into())),
            _ => return None,
        };
        Some(Endpoint::Inet(match ip {
            IpAddr::V4(ip) => SocketAddr::V4(SocketAddrV4::new(ip, port)),
            IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, flow, scope)),
        }))
    }
}
