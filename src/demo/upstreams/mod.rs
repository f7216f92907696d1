//! The services that the demo's gateway stands in front of: [`echo`] says what it received, [`events`] streams server-sent
//! events, [`chat`] speaks like OpenAI, [`socket`] echoes WebSocket messages, and one that is down.

pub mod chat;
pub mod echo;
pub mod events;
pub mod pace;
pub mod socket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::serve::{Server, serve};

/// Between the pieces of a stream that nobody paces: slow enough to watch.
const BEAT: Duration = Duration::from_millis(100);

/// How long a stream in lock-step waits for its reader; well under the script's own patience.
const PATIENCE: Duration = Duration::from_secs(5);

/// The running services.
#[derive(Debug)]
pub struct Upstreams {
    /// Answers with the request.
    pub echo: Server,
    /// Five server-sent events.
    pub events: Server,
    /// `/v1/models`, `/v1/chat/completions`.
    pub chat: Server,
    /// WebSocket echo.
    pub socket: Server,
    down: Socket,
}

impl Upstreams {
    /// Starts them all.
    ///
    /// # Errors
    /// A port could not be had.
    pub async fn start() -> io::Result<Self> {
        // Bound but not listening: connections are refused, and nobody else can take the port meanwhile.
        let down = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        down.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        Ok(Self {
            echo: serve(|_| echo::Echo::new(PATIENCE)).await?,
            events: serve(|_| events::Events::new(PATIENCE)).await?,
            chat: serve(|_| chat::Chat::new(PATIENCE)).await?,
            socket: serve(|_| socket::EchoSocket).await?,
            down,
        })
    }

    /// Where nobody answers.
    ///
    /// # Errors
    /// The system does not say.
    pub fn down(&self) -> io::Result<SocketAddr> {
        self.down
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("the socket has no address"))
    }
}
