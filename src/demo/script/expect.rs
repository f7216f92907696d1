//! What must come out of an exchange, as data, and the sentence that tells what came out instead. Pure.

use std::fmt;

use serde_json::Value;

use crate::demo::client::Response;

/// One thing that must hold of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// The status.
    Status(u16),
    /// A header of the answer.
    Header(&'static str, Is),
    /// A header that the upstream received, under any spelling that some server takes for it (`X_User_ID`, `x.user-id`).
    Upstream(&'static str, Is),
    /// These fields, in this order and spelt exactly so, are the fields of that name that the upstream received.
    Verbatim(&'static str, Vec<&'static str>),
    /// A string or number in the JSON body, by pointer (RFC 6901).
    Field(&'static str, Is),
    /// A line of the metrics has these texts and a value above zero.
    Counted(&'static [&'static str]),
    /// The upstream's `X-Request-ID` is the one of the answer.
    SameRequestId,
    /// The refusal's `request_id` is the `X-Request-ID` of the answer.
    RefusalRequestId,
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Is {
    /// There, once, and this.
    Exactly(String),
    /// There, once, and not this.
    OtherThan(&'static str),
    /// There, with this in one of its values.
    Containing(&'static str),
    /// There, once, a whole number of at least 1.
    Positive,
    /// Not there.
    Absent,
}

/// There, once, and this.
pub fn is(value: &str) -> Is {
    Is::Exactly(value.to_owned())
}

/// What did not come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// In words.
    pub expected: String,
    /// In words.
    pub got: String,
}

impl Wrong {
    /// From the two halves of the sentence.
    pub fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            got: got.into(),
        }
    }
}

impl Expect {
    /// Holds it against an answer.
    ///
    /// # Errors
    /// What was expected, and what came instead.
    pub fn check(&self, answer: &Response) -> Result<(), Wrong> {
        let json = answer.json();
        match self {
            Self::Status(status) => {
                let got = answer.head.status();
                let code = json.get("error").and_then(Value::as_str).unwrap_or_default();
                ensure(got == *status, || {
                    Wrong::new(format!("status {status}"), format!("{got} {code}").trim_end())
                })
            }
            Self::Header(name, is) => is.check(&format!("header {name}"), &answer.head.all(name).collect::<Vec<_>>()),
            Self::Upstream(name, is) => {
                let received = received(&json)?;
                let named = received.iter().filter(|(n, _)| folded(n) == folded(name));
                is.check(
                    &format!("{name} at the upstream"),
                    &named.map(|(_, v)| *v).collect::<Vec<_>>(),
                )
            }
            Self::Verbatim(name, fields) => {
                let received = received(&json)?;
                let named = received.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
                let got: Vec<_> = named.map(|(name, value)| format!("{name}: {value}")).collect();
                ensure(got == *fields, || {
                    Wrong::new(format!("{fields:?} at the upstream"), format!("{got:?}"))
                })
            }
            Self::Field(pointer, is) => {
                let found = json
                    .pointer(pointer)
                    .map(|found| found.as_str().map_or(found.to_string(), str::to_owned));
                is.check(
                    &format!("{pointer} in the body"),
                    &found.as_deref().into_iter().collect::<Vec<_>>(),
                )
            }
            Self::Counted(parts) => {
                let text = String::from_utf8_lossy(&answer.body);
                let mut lines = text.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
                let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
                let counted = lines.any(|line| value(line).is_some_and(|value| value > 0.0));
                ensure(counted, || {
                    Wrong::new(format!("a count above zero for {}", parts.join(" ")), "none")
                })
            }
            Self::SameRequestId => {
                let id = answer.head.first("x-request-id").unwrap_or_default().to_owned();
                ensure(!id.is_empty(), || Wrong::new("an X-Request-ID", "none"))?;
                Self::Upstream("X-Request-ID", Is::Exactly(id)).check(answer)
            }
            Self::RefusalRequestId => {
                let id = answer.head.first("x-request-id").unwrap_or_default().to_owned();
                ensure(!id.is_empty(), || Wrong::new("an X-Request-ID", "none"))?;
                Self::Field("/request_id", Is::Exactly(id)).check(answer)
            }
        }
    }
}

impl Is {
    fn check(&self, what: &str, values: &[&str]) -> Result<(), Wrong> {
        let holds = match (self, values) {
            (Self::Exactly(wanted), [one]) => one == wanted,
            (Self::OtherThan(unwanted), [one]) => one != unwanted && !one.is_empty(),
            (Self::Containing(part), values) => values.iter().any(|value| value.contains(part)),
            (Self::Positive, [one]) => one.parse::<u64>().is_ok_and(|number| number > 0),
            (Self::Absent, []) => true,
            (Self::Exactly(_) | Self::OtherThan(_) | Self::Positive | Self::Absent, _) => false,
        };
        ensure(holds, || {
            let got = if values.is_empty() {
                "none".to_owned()
            } else {
                values.join(" and ")
            };
            Wrong::new(format!("{what} {self}"), got)
        })
    }
}

impl fmt::Display for Is {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(value) => write!(f, "to be {value}"),
            Self::OtherThan(value) => write!(f, "other than {value}"),
            Self::Containing(part) => write!(f, "with {part}"),
            Self::Positive => f.write_str("to be a number above zero"),
            Self::Absent => f.write_str("not to be there"),
        }
    }
}

/// The headers that the echo received. Without an echo nothing can be said of what the upstream saw, not even its absence.
fn received(json: &Value) -> Result<Vec<(&str, &str)>, Wrong> {
    let headers = json.get("headers").and_then(Value::as_array);
    let fields = headers.map(|fields| fields.iter().filter_map(|field| field.as_str()?.split_once(": ")));
    fields
        .map(Iterator::collect)
        .ok_or_else(|| Wrong::new("the upstream's echo", "another answer"))
}

fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

fn ensure(holds: bool, wrong: impl FnOnce() -> Wrong) -> Result<(), Wrong> {
    if holds { Ok(()) } else { Err(wrong()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::demo::wire::Head;

    fn echo(headers: &[(&str, &str)]) -> Response {
        let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let body = serde_json::json!({ "headers": headers }).to_string().into_bytes();
        let head = Head {
            line: "HTTP/1.1 200 OK".into(),
            headers: vec![("X-Request-ID".into(), "7".into())],
            bytes: bytes::Bytes::new(),
        };
        Response { head, body }
    }

    #[test]
    fn an_alias_of_a_header_counts_as_that_header() {
        let absent = Expect::Upstream("X-User-ID", Is::Absent);
        assert!(absent.check(&echo(&[("Accept", "*")])).is_ok());
        for alias in ["x-user-id", "X_User_ID", "x.user-id"] {
            let wrong = absent.check(&echo(&[(alias, "root")])).unwrap_err();
            assert_eq!(wrong.got, "root");
        }
    }

    #[test]
    fn a_second_copy_is_not_exactly_one() {
        let one = Expect::Upstream("X-User-ID", is("ada"));
        assert!(one.check(&echo(&[("X-User-ID", "ada")])).is_ok());
        assert!(one.check(&echo(&[("X-User-ID", "ada"), ("x_user_id", "ada")])).is_err());
    }

    #[test]
    fn verbatim_minds_case_and_order() {
        let fields = Expect::Verbatim("x-trace", vec!["x-TRACE: 1", "X-Trace: 2"]);
        assert!(
            fields
                .check(&echo(&[("x-TRACE", "1"), ("Other", ""), ("X-Trace", "2")]))
                .is_ok()
        );
        assert!(fields.check(&echo(&[("X-Trace", "2"), ("x-TRACE", "1")])).is_err());
        assert!(fields.check(&echo(&[("x-trace", "1"), ("X-Trace", "2")])).is_err());
    }

    #[test]
    fn absence_cannot_be_claimed_of_an_answer_that_is_no_echo() {
        let mut answer = echo(&[]);
        answer.body.clear();
        assert!(Expect::Upstream("X-User-ID", Is::Absent).check(&answer).is_err());
    }

    #[test]
    fn the_request_id_must_be_the_same_on_both_sides() {
        assert!(Expect::SameRequestId.check(&echo(&[("x-request-id", "7")])).is_ok());
        assert!(Expect::SameRequestId.check(&echo(&[("x-request-id", "8")])).is_err());
    }
}
