//! The value of a header that a route sets: fixed, or with places for what is known of the request.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderValue;

use super::identity::{HeaderText, Identity};
use super::template::Template;

/// The value of a header that a route sets.
#[derive(Debug)]
pub enum Setting {
    /// The same for all.
    Fixed(HeaderValue),
    /// Made for each request.
    Made {
        /// The text.
        text: Template<Known>,
        /// It may hold a credential, and is shown to nobody.
        sensitive: bool,
    },
}

/// What a header's value can take from a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Known {
    User,
    Tenant,
    ClientIp,
    RequestId,
}

/// A request as far as [`Known`] looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Who is calling; `None`: nobody was proven.
    pub identity: Option<&'a Identity>,
    /// The client address.
    pub client: IpAddr,
    /// The request id.
    pub request_id: &'a HeaderValue,
}

impl Known {
    /// Every word in braces.
    pub const WORDS: [&str; 4] = ["user", "tenant", "client_ip", "request_id"];

    /// What a word in braces stands for.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "user" => Some(Self::User),
            "tenant" => Some(Self::Tenant),
            "client_ip" => Some(Self::ClientIp),
            "request_id" => Some(Self::RequestId),
            _ => None,
        }
    }
}

impl Setting {
    /// The value for a request; `None` when it needs what the request has not, such as a user: then no header is set.
    #[must_use]
    pub fn value(&self, subject: &Subject<'_>) -> Option<HeaderValue> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Made { text, sensitive } => {
                // INVARIANT: identities are made of `HeaderText`, and request ids are judged: nothing here can end a header (r08).
                let mut value = HeaderValue::try_from(text.fill(|known| subject.text(*known))?).ok()?;
                value.set_sensitive(*sensitive);
                Some(value)
            }
        }
    }
}

impl<'a> Subject<'a> {
    fn text(&self, known: Known) -> Option<Cow<'a, str>> {
        match known {
            Known::User => Some(Cow::Borrowed(self.identity?.subject().as_str())),
            Known::Tenant => Some(Cow::Borrowed(self.identity?.tenant.as_ref().map(HeaderText::as_str)?)),
            Known::ClientIp => Some(Cow::Owned(self.client.to_string())),
            Known::RequestId => self.request_id.to_str().ok().map(Cow::Borrowed),
        }
    }
}
