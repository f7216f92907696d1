//! A case of the script: what is sent, and what must come out. Data; [`play`](super::play) does it.

use std::net::SocketAddr;

use super::expect::{Expect, Is, is};
use crate::demo::client::Request;

/// A heading and what stands under it.
#[derive(Debug)]
pub struct Chapter {
    /// The heading.
    pub title: &'static str,
    /// In order; a few depend on what came before (rate limits).
    pub cases: Vec<Case>,
}

/// One thing that the gateway does, and how to see it.
#[derive(Debug)]
pub struct Case {
    /// Unique in the script.
    pub name: &'static str,
    /// What it shows, for people.
    pub shows: &'static str,
    /// Whether a newcomer should see it among the first lines to paste.
    pub tour: bool,
    /// How it goes.
    pub play: Play,
}

/// How a case goes.
#[derive(Debug)]
pub enum Play {
    /// One exchange after another, on one connection.
    Exchanges {
        /// With whom.
        with: Party,
        /// At least one.
        exchanges: Vec<Exchange>,
        /// The peer must have closed the connection at the end.
        closed: bool,
    },
    /// A stream in lock-step with its reader.
    Stream {
        /// Starts it.
        request: Request,
        /// Says that a piece was received.
        acknowledge: Request,
        /// The pieces that are acknowledged, by a text in each.
        pieces: Vec<&'static str>,
        /// What ends it.
        last: &'static str,
    },
    /// A WebSocket handshake, messages both ways, a close.
    Socket(Request),
    /// A body of 8 MiB, whose first piece must arrive before the last is sent.
    Upload {
        /// Its head.
        request: Request,
        /// Asks whether the first piece has arrived.
        arrived: Request,
    },
    /// Guesses at a secret until they are refused unheard; who knows one still passes.
    Guesses {
        /// A wrong one.
        guess: Request,
        /// A right one.
        known: Request,
    },
}

/// Whom a case talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The gateway.
    Gateway,
    /// The gateway's address for operators.
    Admin,
    /// The identity provider.
    IdentityProvider,
}

/// The addresses of the parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Addresses {
    pub gateway: SocketAddr,
    pub admin: SocketAddr,
    pub identity_provider: SocketAddr,
}

impl Addresses {
    /// Where a party is.
    pub fn of(&self, party: Party) -> SocketAddr {
        match party {
            Party::Gateway => self.gateway,
            Party::Admin => self.admin,
            Party::IdentityProvider => self.identity_provider,
        }
    }
}

/// A request and what must come back.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What is sent.
    pub request: Request,
    /// What must hold of the answer.
    pub expect: Vec<Expect>,
}

impl Case {
    /// One exchange with the gateway.
    pub fn exchange(name: &'static str, shows: &'static str, request: Request, expect: Vec<Expect>) -> Self {
        Self::playing(
            name,
            shows,
            Play::Exchanges {
                with: Party::Gateway,
                exchanges: vec![Exchange { request, expect }],
                closed: false,
            },
        )
    }

    /// Any play.
    pub fn playing(name: &'static str, shows: &'static str, play: Play) -> Self {
        Self {
            name,
            shows,
            tour: false,
            play,
        }
    }

    /// The same, on the tour.
    pub fn on_tour(self) -> Self {
        Self { tour: true, ..self }
    }

    /// The line to paste into a shell.
    pub fn curl(&self, addresses: &Addresses) -> String {
        match &self.play {
            Play::Exchanges { with, exchanges, .. } => {
                let to = addresses.of(*with);
                let Some((first, rest)) = exchanges.split_first() else {
                    return String::new();
                };
                // More URLs on one line share a connection, as they do here.
                let more = rest.iter().map(|exchange| format!(" {}", exchange.request.url(to)));
                first.request.curl(to) + &more.collect::<String>()
            }
            Play::Stream { request, .. } => request.curl(addresses.gateway),
            Play::Socket(request) => {
                // curl knows no frames: it shows the 101, then waits.
                let line = request
                    .clone()
                    .header("Connection", "Upgrade")
                    .header("Upgrade", "websocket");
                let line = line
                    .header("Sec-WebSocket-Version", "13")
                    .header("Sec-WebSocket-Key", "ZGVtbyBkZW1vIGRlbW8hIQ==");
                line.curl(addresses.gateway)
                    .replacen("curl -si", "curl -si -N --http1.1 --max-time 1", 1)
            }
            Play::Upload { request, .. } => {
                let curl = request.curl(addresses.gateway).replacen("curl -si", "curl -si -T -", 1);
                format!("head -c 8388608 /dev/zero | {curl}")
            }
            Play::Guesses { guess, .. } => {
                format!("for i in $(seq 40); do {}; done", guess.curl(addresses.gateway))
            }
        }
    }
}

/// What every refusal has: its status and code, the request's id, and nobody may cache it.
pub fn refusal(status: u16, code: &str) -> Vec<Expect> {
    vec![
        Expect::Status(status),
        Expect::Field("/error", is(code)),
        Expect::RefusalRequestId,
        Expect::Header("Cache-Control", Is::Containing("no-store")),
    ]
}

/// Allowed, and the upstream was told that this user calls.
pub fn as_user(user: &str, method: &str) -> Vec<Expect> {
    vec![
        Expect::Status(200),
        Expect::Upstream("X-User-ID", is(user)),
        Expect::Upstream("X-Auth-Method", is(method)),
        Expect::SameRequestId,
    ]
}

/// One exchange with the gateway that it must refuse with this status and code.
pub fn refused(
    name: &'static str,
    shows: &'static str,
    request: Request,
    (status, code): (u16, &str),
    more: Vec<Expect>,
) -> Case {
    let mut expect = refusal(status, code);
    expect.extend(more);
    Case::exchange(name, shows, request, expect)
}
