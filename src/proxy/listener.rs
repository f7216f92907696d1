//! Listening sockets: one a worker and listener, sharing the port, so that the kernel spreads connections over workers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A connection that is silent for this long is asked whether its other end is still there (RFC 9293 §3.8.4).
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// Binds `count` sockets to `address`; port 0 is chosen once for all of them.
///
/// # Errors
/// The address is taken, or not ours. `SO_REUSEPORT` would let two gateways share a port unnoticed, so the port is first bound
/// without it.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let probe = socket(address)?;
    probe.bind(&address.into())?;
    let bound = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    let share = |_| {
        let socket = socket(bound)?;
        socket.set_reuse_port(true)?;
        socket.bind(&bound.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    (0..count).map(share).collect()
}

/// For connections of either side.
pub(super) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(KEEPALIVE_AFTER)
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it: whoever vanished while a stream or tunnel was silent must not hold it for ever.
    socket.set_tcp_keepalive(&keepalive())?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 too, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_port_and_another_gateway_is_refused_it() {
        let sockets = bind(([127, 0, 0, 1], 0).into(), 2).unwrap();
        let address = sockets.first().unwrap().local_addr().unwrap();
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        assert_eq!(bind(address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn r38_a_client_that_vanished_is_noticed() {
        let sockets = bind(([127, 0, 0, 1], 0).into(), 1).unwrap();
        let listener: Socket = sockets.into_iter().next().unwrap().into();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(address.as_socket().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.keepalive().unwrap());
    }
}
