//! Why an exchange failed, and whose fault it is. Depends on nothing.

/// Why an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was written.
    Unsent,
    /// The connection ended too early.
    Broken,
    /// The upstream spoke nonsense: what.
    Nonsense(&'static str),
    /// The request's body failed, or did not have the length that its head had said.
    RequestBody,
    /// The client did not go on with the request's body.
    Starved,
    /// The upstream did not take the request's body, or did not answer, in time.
    TimedOut,
}

impl Fault {
    /// Whether the other side is to blame.
    #[must_use]
    pub const fn is_the_upstreams(self) -> bool {
        match self {
            Self::Unsent | Self::Broken | Self::Nonsense(_) | Self::TimedOut => true,
            Self::RequestBody | Self::Starved => false,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unsent => "nothing could be sent",
            Self::Broken => "the connection ended too early",
            Self::Nonsense(what) => what,
            Self::RequestBody => "the request's body failed",
            Self::Starved => "the request's body did not go on",
            Self::TimedOut => "the time ran out",
        })
    }
}
