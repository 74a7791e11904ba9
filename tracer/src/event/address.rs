//! A `sockaddr` as a process passes it to the kernel. Untrusted: any bytes, any length.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::aggregate::Endpoint;

const AF_UNIX: u16 = libc::AF_UNIX as u16;
const AF_INET: u16 = libc::AF_INET as u16;
const AF_INET6: u16 = libc::AF_INET6 as u16;

/// The endpoint in a `sockaddr`; `None` for other families and for what is cut short.
pub(super) fn endpoint(bytes: &[u8]) -> Option<Endpoint> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let rest = &bytes[2..];
    match family {
        AF_INET => {
            let port = u16::from_be_bytes(rest.get(..2)?.try_into().ok()?);
            let address: [u8; 4] = rest.get(2..6)?.try_into().ok()?;
            Some(Endpoint::Inet(SocketAddr::new(Ipv4Addr::from(address).into(), port)))
        }
        AF_INET6 => {
            let port = u16::from_be_bytes(rest.get(..2)?.try_into().ok()?);
            // After the flow label.
            let address: [u8; 16] = rest.get(6..22)?.try_into().ok()?;
            Some(Endpoint::Inet(SocketAddr::new(Ipv6Addr::from(address).to_canonical(), port)))
        }
        AF_UNIX => {
            let path = match rest {
                [] => return None,
                // An abstract name is all the bytes there are.
                [0, name @ ..] => format!("@{}", String::from_utf8_lossy(name)),
                path => {
                    let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
                    String::from_utf8_lossy(&path[..end]).into_owned()
                }
            };
            Some(Endpoint::Unix(path.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(family: i32, rest: &[u8]) -> Vec<u8> {
        [&(family as u16).to_ne_bytes()[..], rest].concat()
    }

    #[test]
    fn families_are_told_apart() {
        let inet = endpoint(&address(libc::AF_INET, &[0x1f, 0x90, 10, 0, 0, 7]));
        assert_eq!(inet, Some(Endpoint::Inet("10.0.0.7:8080".parse().expect("an address"))));
        let mut six = vec![0, 80, 0, 0, 0, 0];
        six.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 7]);
        let mapped = endpoint(&address(libc::AF_INET6, &six));
        assert_eq!(mapped, Some(Endpoint::Inet("10.0.0.7:80".parse().expect("an address"))));
        assert_eq!(endpoint(&address(libc::AF_UNIX, b"/run/x.sock\0junk")), Some(Endpoint::Unix("/run/x.sock".into())));
        assert_eq!(endpoint(&address(libc::AF_UNIX, b"\0name")), Some(Endpoint::Unix("@name".into())));
        assert_eq!(endpoint(&address(libc::AF_UNIX, b"")), None);
        assert_eq!(endpoint(&address(libc::AF_UNSPEC, &[0; 14])), None);
        assert_eq!(endpoint(&address(libc::AF_INET, &[0, 80])), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..130), family in 0i32..12) {
            let _ = endpoint(&bytes);
            let _ = endpoint(&address(family, &bytes));
        }
    }
}
