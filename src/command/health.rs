//! `gateway health`: whether the running gateway is ready, for container health checks.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Environment, load};

use super::{failed, invalid_config};

/// Of the whole question.
const TIMEOUT: Duration = Duration::from_secs(3);

/// 0 when `/readyz` says so, else 1.
pub(super) fn run(config: &Path) -> ExitCode {
    let loaded = match load(config, &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(errors) => return invalid_config(&errors),
    };
    let address = reachable(loaded.config.admin.address);
    match ask(address) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => failed(format!("not ready (http://{address}/readyz)")),
        Err(error) => failed(format!("no answer from http://{address}/readyz: {error}")),
    }
}

/// An address that is bound everywhere is asked at the loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn ask(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
