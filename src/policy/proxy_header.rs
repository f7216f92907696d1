//! The PROXY protocol's header, versions 1 and 2: whose connection a proxy hands on. Read strictly, for it says who the client is;
//! whether its sender is to be believed is not asked here.
//!
//! As HAProxy's `doc/proxy-protocol.txt` has it (revision of 2020/03/05).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What version 2 begins with; no other protocol does.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, length.
const V2_FIXED: usize = 16;
/// Bytes of version 1, with its CRLF.
const V1_MOST: usize = 107;
/// Bytes of version 2 behind the fixed part: addresses, and TLVs, which are passed over.
const V2_MOST: usize = 4096;

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its bytes.
    pub length: usize,
    /// Who connected to the proxy; `None`: the proxy speaks for itself, or cannot tell.
    pub source: Option<IpAddr>,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It begins as neither version does.
    NoHeader,
    /// Longer than it may be.
    TooLong,
    /// Something in it is not as it must be.
    Malformed,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "no PROXY header",
            Self::TooLong => "PROXY header too long",
            Self::Malformed => "malformed PROXY header",
        })
    }
}

/// Reads the header that `bytes` begin with; `None`: there is more to come.
///
/// # Errors
/// There is none, whatever comes.
pub fn read(bytes: &[u8]) -> Result<Option<ProxyHeader>, Fault> {
    const V1: &[u8] = b"PROXY ";
    if begins_alike(bytes, SIGNATURE) {
        return v2(bytes);
    }
    if begins_alike(bytes, V1) {
        return v1(bytes);
    }
    Err(Fault::NoHeader)
}

/// Whether one is what the other begins with.
fn begins_alike(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.iter().zip(wanted).all(|(byte, wanted)| byte == wanted)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 4711 443` CRLF.
fn v1(bytes: &[u8]) -> Result<Option<ProxyHeader>, Fault> {
    let Some(end) = bytes.iter().take(V1_MOST).position(|byte| *byte == b'\n') else {
        return if bytes.len() >= V1_MOST {
            Err(Fault::TooLong)
        } else {
            Ok(None)
        };
    };
    let line = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let mut words = line.ok_or(Fault::Malformed)?.split(' ').skip(1);
    let source = match words.next() {
        // What follows is to be passed over.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(endpoints::<Ipv4Addr>(words).ok_or(Fault::Malformed)?.into()),
        Some("TCP6") => Some(endpoints::<Ipv6Addr>(words).ok_or(Fault::Malformed)?.into()),
        Some(_) | None => return Err(Fault::Malformed),
    };
    Ok(Some(ProxyHeader {
        length: end + 1,
        source,
    }))
}

/// Source, destination and their ports, and nothing else: the source.
fn endpoints<'a, A: std::str::FromStr>(mut words: impl Iterator<Item = &'a str>) -> Option<A> {
    let source = words.next()?.parse().ok()?;
    words.next()?.parse::<A>().ok()?;
    for _ in 0..2 {
        let port = words.next()?;
        let plain = port == "0" || !port.starts_with(['0', '+']);
        (plain && port.parse::<u16>().is_ok()).then_some(())?;
    }
    words.next().is_none().then_some(source)
}

fn v2(bytes: &[u8]) -> Result<Option<ProxyHeader>, Fault> {
    let Some(&[command, family, high, low]) = bytes.get(SIGNATURE.len()..V2_FIXED) else {
        return Ok(None);
    };
    let behind = usize::from(u16::from_be_bytes([high, low]));
    if behind > V2_MOST {
        return Err(Fault::TooLong);
    }
    let length = V2_FIXED + behind;
    let Some(rest) = bytes.get(V2_FIXED..length) else {
        return Ok(None);
    };
    let source = match (command, family) {
        // LOCAL, and PROXY of a family that is none or no TCP/IP: the addresses are to be passed over.
        (0x20, _) | (0x21, 0x00 | 0x31) => None,
        // Source and destination, then both ports.
        (0x21, 0x11) if rest.len() >= 12 => rest.first_chunk::<4>().map(|source| IpAddr::from(*source)),
        (0x21, 0x21) if rest.len() >= 36 => rest.first_chunk::<16>().map(|source| IpAddr::from(*source)),
        _ => return Err(Fault::Malformed),
    };
    Ok(Some(ProxyHeader { length, source }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, rest].concat()
    }

    fn source(bytes: &[u8]) -> Option<String> {
        let header = read(bytes).unwrap().unwrap();
        assert_eq!(header.length, bytes.len());
        header.source.map(|source| source.to_string())
    }

    #[test]
    fn both_versions_say_who_connected() {
        assert_eq!(
            source(b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n").unwrap(),
            "192.0.2.1"
        );
        assert_eq!(
            source(b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n").unwrap(),
            "2001:db8::1"
        );
        let v4 = [&[192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 1, 0xbb][..], b"\x04\x00\x01x"].concat();
        assert_eq!(
            source(&of_v2(0x21, 0x11, &v4)).unwrap(),
            "192.0.2.1",
            "TLVs are passed over"
        );
        let mut v6 = [0; 36];
        v6[15] = 1;
        assert_eq!(source(&of_v2(0x21, 0x21, &v6)).unwrap(), "::1");
    }

    #[test]
    fn a_proxy_may_speak_for_itself() {
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(source(b"PROXY UNKNOWN ffff::1 whatever\r\n"), None);
        assert_eq!(source(&of_v2(0x20, 0x00, b"")), None);
        assert_eq!(source(&of_v2(0x20, 0x11, &[0; 12])), None);
        assert_eq!(source(&of_v2(0x21, 0x31, &[0; 216])), None);
    }

    #[test]
    fn what_is_not_as_it_must_be_is_no_header() {
        for (text, fault) in [
            ("GET / HTTP/1.1\r\n", Fault::NoHeader),
            ("PROXYTCP4 1.2.3.4 1.2.3.4 1 2\r\n", Fault::NoHeader),
            ("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", Fault::NoHeader),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", Fault::Malformed),
            ("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", Fault::Malformed),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", Fault::Malformed),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", Fault::Malformed),
            ("PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", Fault::Malformed),
            ("PROXY TCP4 ::1 ::1 1 2\r\n", Fault::Malformed),
            ("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", Fault::Malformed),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", Fault::Malformed),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", Fault::Malformed),
            ("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", Fault::Malformed),
            ("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", Fault::Malformed),
            ("PROXY \r\n", Fault::Malformed),
        ] {
            assert_eq!(read(text.as_bytes()), Err(fault), "{text:?}");
        }
        assert_eq!(
            read(format!("PROXY UNKNOWN {}", "x".repeat(100)).as_bytes()),
            Err(Fault::TooLong)
        );
        for (command, family, length) in [
            (0x11, 0x11, 12),
            (0x22, 0x11, 12),
            (0x21, 0x11, 11),
            (0x21, 0x21, 35),
            (0x21, 0x12, 12),
            (0x21, 0x41, 12),
        ] {
            assert_eq!(read(&of_v2(command, family, &vec![0; length])), Err(Fault::Malformed));
        }
        assert_eq!(read(&of_v2(0x21, 0x11, &[0; V2_MOST + 1])), Err(Fault::TooLong));
    }

    proptest! {
        #[test]
        fn a_header_that_comes_in_pieces_is_the_same(at in 0_usize..60, v2 in any::<bool>()) {
            let whole = if v2 {
                of_v2(0x21, 0x21, &[7; 44])
            } else {
                b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n".to_vec()
            };
            let cut = at.min(whole.len() - 1);
            prop_assert_eq!(read(whole.get(..cut).unwrap()), Ok(None));
            let behind = [&whole[..], b"GET /"].concat();
            prop_assert_eq!(read(&behind), read(&whole));
        }

        #[test]
        fn nothing_crashes_it(bytes in proptest::collection::vec(any::<u8>(), 0..64), signed in any::<bool>()) {
            let start = if signed { &SIGNATURE[..] } else { b"PROXY " };
            let _ = read(&[start, &bytes].concat());
        }
    }
}
