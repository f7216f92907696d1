//! What operators are told: metrics, one access line a request or a span made of it, events, and the way to standard output.
//!
//! It reads what was decided and decides nothing. Depends on `policy`, for the names of codes and methods.

pub mod access_log;
pub mod events;
mod line;
pub mod metrics;
pub mod output;
mod protobuf;
pub mod sampler;
pub mod span;

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people: `TIME LEVEL MESSAGE key=value …`, values quoted where needed.
    Text,
}

/// What a judgement came to: the `decision` of log lines and labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Decision {
    Allow,
    Deny,
}

impl Decision {
    /// The name in labels and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}
