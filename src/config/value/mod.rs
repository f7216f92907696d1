//! What can stand in one value: each kind a function from the TOML value to the typed one.
//!
//! Imports only `document`, `error` and `model`. A function that refuses says what it takes ([`Wrong`]), never what secret it
//! was given.

mod credential;
mod network;
mod quantity;
mod web;

use std::fmt;
use std::path::PathBuf;

use super::document::Table;
pub(super) use super::document::Value;
use super::error::nearest;
pub(super) use credential::*;
pub(super) use network::*;
pub(super) use quantity::*;
pub(super) use web::*;

/// Why a value does not fit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// What would be valid.
    expected: String,
    /// What is wrong with this one, beyond that; may quote it.
    hint: String,
    /// The value may be a secret, and is never shown.
    hidden: bool,
    /// What would be valid, for programs.
    form: Form,
}

/// What a value can be, as far as an editor can check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Of several kinds, or of a kind that only the reader knows.
    Any,
    Text,
    /// Text that fits this regular expression.
    Pattern(&'static str),
    Words(Vec<String>),
    Boolean,
    Integer(i64, i64),
    Number,
}

impl Wrong {
    pub(super) fn expected(what: impl Into<String>) -> Self {
        Self {
            expected: what.into(),
            hint: String::new(),
            hidden: false,
            form: Form::Any,
        }
    }

    /// The same, said to programs.
    pub(super) fn form(self, form: Form) -> Self {
        Self { form, ..self }
    }

    pub(super) fn into_form(self) -> Form {
        self.form
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: hint.into(),
            ..self
        }
    }

    fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }

    /// The message about a value. What came out of a reference may be a secret: only the reference is named.
    pub(super) fn about(&self, value: &Value, reference: Option<&str>) -> String {
        match (reference, self.hidden) {
            (Some(reference), _) => format!("{self}; the value of {reference} does not fit"),
            (None, true) => self.to_string(),
            (None, false) => format!("{self}, found {}{}", Shown(value), self.hint),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)
    }
}

/// A value as errors show it: one line, not too long.
struct Shown<'v>(&'v Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Text(text) | Value::Outside(text) => {
                let start: String = text.chars().take(60).collect();
                let more = if start.len() < text.len() { "…" } else { "" };
                write!(f, "{start:?}{more}")
            }
            Value::Integer(integer) => integer.fmt(f),
            Value::Float(float) => float.fmt(f),
            Value::Boolean(boolean) => boolean.fmt(f),
            Value::Datetime(datetime) => datetime.fmt(f),
            other @ (Value::List(_) | Value::Table(_)) => f.write_str(other.kind()),
        }
    }
}

/// What a conversion takes: nothing takes a table, so that is its answer to one.
pub(super) fn what_fits<T>(convert: impl Fn(&Value) -> Result<T, Wrong>) -> Option<Wrong> {
    convert(&Value::Table(Table::new())).err()
}

/// The text of a string.
fn str_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Outside(text) => Some(text),
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::List(_)
        | Value::Table(_) => None,
    }
}

/// A string that `parse` takes; else `expected`.
fn parsed<T>(value: &Value, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Wrong> {
    str_of(value)
        .and_then(parse)
        .ok_or_else(|| Wrong::expected(expected).form(Form::Text))
}

/// The entries of a list that one variable holds.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Any string.
pub(super) fn text(value: &Value) -> Result<String, Wrong> {
    parsed(value, "a string", |text| Some(text.to_owned()))
}

/// Any string but the empty one.
pub(super) fn some_text(value: &Value) -> Result<String, Wrong> {
    parsed(value, "a string that is not empty", |text| {
        (!text.is_empty()).then(|| text.to_owned())
    })
}

/// A string that can be written into a header: no control character.
pub(super) fn printable(value: &Value) -> Result<String, Wrong> {
    parsed(value, "a string of printable ASCII characters", |text| {
        is_printable(text).then(|| text.to_owned())
    })
}

/// The same, and not empty.
pub(super) fn some_printable(value: &Value) -> Result<String, Wrong> {
    parsed(
        value,
        "a string of printable ASCII characters that is not empty",
        |text| (!text.is_empty() && is_printable(text)).then(|| text.to_owned()),
    )
}

/// The name of an entry, which is also a label of metrics and part of a variable's name.
pub(super) fn name(value: &Value) -> Result<String, Wrong> {
    parsed(value, "1 to 64 of A-Z, a-z, 0-9, _ and -", |name| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        ((1..=64).contains(&name.len()) && name.bytes().all(fits)).then(|| name.to_owned())
    })
}

/// A path in the file system.
pub(super) fn path(value: &Value) -> Result<PathBuf, Wrong> {
    parsed(value, "a file's path", |path| {
        (!path.is_empty()).then(|| PathBuf::from(path))
    })
}

/// One of a closed set of words.
pub(super) fn one_of<T: Clone>(words: &[(&str, T)]) -> impl Fn(&Value) -> Result<T, Wrong> {
    move |value| {
        let found = str_of(value).and_then(|text| words.iter().find(|(word, _)| *word == text));
        let all = || words.iter().map(|(word, _)| format!("{word:?}"));
        found.map(|(_, meaning)| meaning.clone()).ok_or_else(|| {
            let meant = str_of(value).and_then(|text| nearest(text, words.iter().map(|(word, _)| *word)));
            let hint = meant.map(|meant| format!("; did you mean {meant:?}?"));
            Wrong::expected(match words.len() {
                1 => all().collect::<String>(),
                _ => format!("one of {}", all().collect::<Vec<_>>().join(", ")),
            })
            .form(Form::Words(words.iter().map(|(word, _)| (*word).to_owned()).collect()))
            .hint(hint.unwrap_or_default())
        })
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value) -> Result<bool, Wrong> {
    match value {
        Value::Boolean(boolean) => Ok(*boolean),
        Value::Outside(text) if text == "true" => Ok(true),
        Value::Outside(text) if text == "false" => Ok(false),
        _ => Err(Wrong::expected("true or false").form(Form::Boolean)),
    }
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|b| (0x20..0x7f).contains(&b))
}
