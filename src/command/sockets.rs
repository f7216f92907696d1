//! Listening sockets that somebody else bound, so that nobody is refused while one process follows another: the service
//! manager (`LISTEN_FDS`), or the gateway that this one takes over from.
//!
//! INVARIANT: an inherited socket is closed only when nobody listens on its port any more; a connection that waits in its queue
//! would be reset.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// The name under which the admin port travels. No listener's name begins with a dot.
pub(super) const ADMIN: &str = ".admin";

/// Sockets that are bound already, each with the name that it was given.
#[derive(Debug, Default)]
pub(super) struct Inherited(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    name: String,
    from: From,
    socket: TcpListener,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Its word on names is final: it is where the operator wrote the address.
    ServiceManager,
    /// Its addresses may be those of an older config.
    Gateway,
}

impl Inherited {
    /// What the service manager passed (sd_listen_fds(3)): `LISTEN_FDNAMES` may name listeners, and `admin`.
    ///
    /// # Errors
    /// A descriptor that is no TCP socket that listens.
    pub(super) fn from_service_manager() -> io::Result<Self> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(passed.len());
        for place in 0..passed.len() {
            let name = match names.next().unwrap_or_default() {
                "admin" => ADMIN,
                name => name,
            };
            let socket = passed.take_tcp_listener(place).map_err(|error| {
                io::Error::new(error.kind(), format!("LISTEN_FDS: descriptor {}: {error}", place + 3))
            })?;
            sockets.extend(socket.map(|socket| Socket {
                name: name.to_owned(),
                from: From::ServiceManager,
                socket,
            }));
        }
        Ok(Self(sockets))
    }

    /// One more socket of the gateway before this one.
    pub(super) fn push(&mut self, name: String, socket: TcpListener) {
        self.0.push(Socket {
            name,
            from: From::Gateway,
            socket,
        });
    }

    /// Whether another gateway serves on them still.
    pub(super) fn are_served(&self) -> bool {
        self.0.iter().any(|socket| socket.from == From::Gateway)
    }

    /// Takes the sockets of a listener out; none: it must bind its own.
    pub(super) fn take(&mut self, name: &str, address: SocketAddr) -> Vec<TcpListener> {
        let fits = |socket: &mut Socket| {
            let Ok(bound) = socket.socket.local_addr() else {
                return false;
            };
            let any_port = SocketAddr::new(bound.ip(), 0);
            match socket.from {
                From::ServiceManager => socket.name == name || bound == address,
                From::Gateway => socket.name == name && (address == bound || address == any_port),
            }
        };
        self.0.extract_if(.., fits).map(|socket| socket.socket).collect()
    }

    /// Says which sockets no listener wanted; they are closed.
    pub(super) fn close_the_rest(self) {
        for Socket { name, socket, .. } in self.0 {
            let address = socket
                .local_addr()
                .map(|address| address.to_string())
                .unwrap_or_default();
            tracing::warn!(name = %name, address = %address, "inherited a socket that no listener has");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bound(from: From, name: &str) -> (Inherited, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let name = name.to_owned();
        (Inherited(vec![Socket { name, from, socket }]), address)
    }

    #[test]
    fn a_service_managers_socket_goes_to_its_name_or_its_address() {
        let elsewhere = "127.0.0.1:1".parse().unwrap();
        let (mut sockets, address) = bound(From::ServiceManager, "gateway.socket");
        assert!(sockets.take("public", elsewhere).is_empty());
        assert_eq!(sockets.take("public", address).len(), 1);
        let (mut sockets, _) = bound(From::ServiceManager, "public");
        assert_eq!(sockets.take("public", elsewhere).len(), 1);
        assert!(sockets.take("public", elsewhere).is_empty(), "each goes once");
    }

    #[test]
    fn an_older_gateways_socket_goes_to_the_listener_that_still_has_its_address() {
        let elsewhere = "127.0.0.1:1".parse().unwrap();
        let (mut sockets, address) = bound(From::Gateway, "public");
        assert!(sockets.take("public", elsewhere).is_empty());
        assert!(sockets.take("other", address).is_empty());
        assert_eq!(sockets.take("public", "127.0.0.1:0".parse().unwrap()).len(), 1);
        let (mut sockets, address) = bound(From::Gateway, "public");
        assert_eq!(sockets.take("public", address).len(), 1);
    }
}
