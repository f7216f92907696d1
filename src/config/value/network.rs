//! Addresses, networks, URLs and endpoints.
//!
//! Imports `document` and `model`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use http::Uri;
use ipnet::IpNet;

use super::{Wrong, parsed, str_of};
use crate::config::document::Value;
use crate::config::model::Endpoint;

/// Where a listener binds.
pub(in crate::config) fn socket_address(value: &Value) -> Result<SocketAddr, Wrong> {
    const EXPECTED: &str = "an address and port such as \"0.0.0.0:8080\" or \"[::]:8080\"";
    parsed(value, EXPECTED, |text| text.parse().ok())
}

/// A network; a bare address is a network of its own.
pub(in crate::config) fn network(value: &Value) -> Result<IpNet, Wrong> {
    let wrong = || Wrong::expected("a network such as \"10.0.0.0/8\" or \"fc00::/7\"");
    let text = str_of(value).ok_or_else(wrong)?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| wrong())?;
    // `10.1.2.3/8` may mean the host or the network: one of them is a hole.
    if network.addr() != network.network() {
        let meant = network.trunc();
        return Err(wrong().hint(format!(", which has host bits set; the network is \"{meant}\"")));
    }
    Ok(network)
}

/// An `http` or `https` URL that something is asked at. Without a user and password, which would get into logs.
pub(in crate::config) fn url(value: &Value) -> Result<String, Wrong> {
    let wrong = || Wrong::expected("a URL such as \"https://auth.example.com/jwks.json\"");
    let text = str_of(value).ok_or_else(wrong)?;
    if text.contains('@') {
        return Err(Wrong::expected("a URL without a user and password").hidden());
    }
    let uri: Option<Uri> = text.parse().ok();
    let fits = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && port_fits(&uri)
            && !text.contains('#')
    });
    if fits { Ok(text.to_owned()) } else { Err(wrong()) }
}

/// An endpoint of an upstream: scheme, host and port, nothing else, or a Unix socket.
pub(in crate::config) fn endpoint(value: &Value) -> Result<Endpoint, Wrong> {
    let wrong = || Wrong::expected("\"http://host:port\" or \"https://host:port\" without a path, or \"unix:/path\"");
    let text = str_of(value).ok_or_else(wrong)?;
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.starts_with('/') {
            Ok(Endpoint::Unix(PathBuf::from(path)))
        } else {
            Err(wrong())
        };
    }
    if text.contains('@') {
        return Err(wrong().hidden());
    }
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
    // `http` reads "http://a" as if it ended in a slash.
    if uri.path() != "/" || text.ends_with('/') || text.contains(['?', '#']) || !port_fits(&uri) {
        return Err(wrong());
    }
    let host = host.to_owned();
    match uri.scheme_str() {
        Some("http") => Ok(Endpoint::Http {
            host,
            port: uri.port_u16().unwrap_or(80),
        }),
        Some("https") => Ok(Endpoint::Https {
            host,
            port: uri.port_u16().unwrap_or(443),
        }),
        _ => Err(wrong()),
    }
}

/// A URL's path.
pub(in crate::config) fn url_path(value: &Value) -> Result<String, Wrong> {
    parsed(value, "a path such as \"/health\"", |text| {
        let fits = |b: u8| (0x21..0x7f).contains(&b) && b != b'?' && b != b'#';
        (text.starts_with('/') && text.bytes().all(fits)).then(|| text.to_owned())
    })
}

/// A URL's path, or `""` for none.
pub(in crate::config) fn url_path_or_unset(value: &Value) -> Result<String, Wrong> {
    match str_of(value) {
        Some("") => Ok(String::new()),
        _ => url_path(value),
    }
}

/// Whether there is no port, or one from 1 to 65535.
fn port_fits(uri: &Uri) -> bool {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let after_host = authority.rsplit(']').next().unwrap_or_default();
    match after_host.split_once(':') {
        None => true,
        Some((_, port)) => port.parse::<u16>().is_ok_and(|port| port > 0),
    }
}
