//! Listening sockets: one a worker and listener, sharing the port, so that the kernel spreads connections over workers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

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
    (0..count).map(|_| share(bound)).collect()
}

/// Makes `count` sockets of those that somebody else bound: one that waits on its own queue each, as far as they go; the others
/// share the port, or, where the first owner did not mean it to be shared, a queue.
///
/// # Errors
/// They are no sockets that listen, or there are no descriptors left.
pub fn adopt(inherited: &[TcpListener], count: usize) -> io::Result<Vec<TcpListener>> {
    let mut sockets = Vec::with_capacity(count);
    for socket in inherited {
        socket.set_nonblocking(true)?;
        SockRef::from(socket).set_tcp_keepalive(&keepalive())?;
        sockets.push(socket.try_clone()?);
    }
    for socket in inherited.iter().cycle().take(count.saturating_sub(inherited.len())) {
        let more = share(socket.local_addr()?).or_else(|_| socket.try_clone())?;
        sockets.push(more);
    }
    Ok(sockets)
}

fn share(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
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
    fn inherited_sockets_are_shared_out_to_any_number_of_workers() {
        let sockets = bind(([127, 0, 0, 1], 0).into(), 2).unwrap();
        let address = sockets.first().unwrap().local_addr().unwrap();
        for workers in 1..4 {
            let adopted = adopt(&sockets, workers).unwrap();
            // INVARIANT: none is left out, for connections may wait in its queue.
            assert_eq!(adopted.len(), workers.max(2));
            assert!(adopted.iter().all(|socket| socket.local_addr().unwrap() == address));
        }
        let unshared = [TcpListener::bind("127.0.0.1:0").unwrap()];
        assert_eq!(adopt(&unshared, 3).unwrap().len(), 3);
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
