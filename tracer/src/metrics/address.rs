//! Where to listen.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// `9464`, `:9464` and `localhost:9464` are for this machine alone; others are told by their address.
///
/// # Errors
/// Says how to write one.
pub fn parse(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix("localhost:").or_else(|| text.strip_prefix(':')).unwrap_or(text);
    let local = port.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    local.or_else(|| text.parse().ok()).ok_or_else(|| {
        format!("\"{text}\" is no address; write a port, for example 9464, or an address and a port like 10.0.0.7:9464")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_for_this_machine() {
        for (text, address) in [
            ("9464", "127.0.0.1:9464"),
            (":9464", "127.0.0.1:9464"),
            ("localhost:9464", "127.0.0.1:9464"),
            ("0.0.0.0:9464", "0.0.0.0:9464"),
            ("[::1]:0", "[::1]:0"),
        ] {
            assert_eq!(parse(text).expect(text).to_string(), address);
        }
        for bad in ["", ":", "99999", "host", "10.0.0.7", "host:9464"] {
            assert!(parse(bad).expect_err(bad).contains("write"), "{bad}");
        }
    }
}
