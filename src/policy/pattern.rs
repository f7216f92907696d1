//! Path patterns: `/x` is exact, `/x/*` is `/x`, `/x/` and everything below, `{name}` is one segment.

use std::fmt;

use super::path::RequestPath;

/// A path pattern, in decoded characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
    below: bool,
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// These bytes.
    Literal(Box<[u8]>),
    /// Any segment that is not empty.
    Named(String),
}

impl Pattern {
    /// Reads a pattern as written.
    ///
    /// # Errors
    /// What is wrong with it, and what would be valid.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text
            .strip_prefix('/')
            .ok_or("must begin with \"/\": \"/x\" is exact, \"/x/*\" is everything below, \"{name}\" is one segment")?;
        if text.contains(['?', '#', '\\', '%']) || text.chars().any(|c| c.is_control()) {
            return Err("is matched against the decoded path: write it decoded, without \"?\", \"#\", \"\\\" or \"%\"");
        }
        let mut parts: Vec<&str> = rest.split('/').collect();
        let below = parts.last() == Some(&"*");
        if below {
            parts.pop();
        }
        let last = parts.len().saturating_sub(1);
        let mut segments = Vec::with_capacity(parts.len());
        for (index, part) in parts.into_iter().enumerate() {
            let is_end = index == last && !below;
            segments.push(segment(part, is_end)?);
        }
        let named: Vec<&String> = segments.iter().filter_map(Segment::name).collect();
        if named
            .iter()
            .enumerate()
            .any(|(index, name)| named.iter().skip(index + 1).any(|other| other == name))
        {
            return Err("names two segments alike");
        }
        Ok(Self {
            text: text.to_owned(),
            segments,
            below,
        })
    }

    /// Its segments, without the final `*`.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether everything below matches too.
    #[must_use]
    pub const fn is_below(&self) -> bool {
        self.below
    }

    /// Whether it covers `path`.
    #[must_use]
    pub fn covers(&self, path: &RequestPath<'_>) -> bool {
        let (agreeing, rest) = self.agreeing(path);
        agreeing == self.segments.len() && (self.below || rest == 0)
    }

    /// How many segments, from the first, agree with those of `path`, and how many `path` has beyond them.
    #[must_use]
    pub fn agreeing(&self, path: &RequestPath<'_>) -> (usize, usize) {
        let both = self.segments.iter().zip(path.segments());
        let agreeing = both.take_while(|(own, other)| own.takes(other)).count();
        (agreeing, path.segments().count().saturating_sub(agreeing))
    }

    /// Whether it has no named segment.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.segments.iter().all(|segment| segment.name().is_none())
    }

    /// Whether it has a segment of that name.
    #[must_use]
    pub fn names(&self, wanted: &str) -> bool {
        self.segments
            .iter()
            .filter_map(Segment::name)
            .any(|name| name == wanted)
    }

    /// What `path`, which this pattern matched, has in the segment of that name; `None` too when it is no text.
    #[must_use]
    pub fn value<'r>(&self, path: &RequestPath<'r>, wanted: &str) -> Option<String> {
        let segment = path.segments().nth(self.place_of(wanted)?)?;
        String::from_utf8(segment.into_owned()).ok()
    }

    /// The same as the client wrote it: still percent-encoded.
    #[must_use]
    pub fn raw_value<'r>(&self, path: &'r str, wanted: &str) -> Option<&'r str> {
        path.split('/').skip(1).nth(self.place_of(wanted)?)
    }

    fn place_of(&self, wanted: &str) -> Option<usize> {
        self.segments
            .iter()
            .position(|segment| segment.name().is_some_and(|name| name == wanted))
    }
}

impl Segment {
    fn takes(&self, segment: &[u8]) -> bool {
        match self {
            Self::Literal(text) => **text == *segment,
            Self::Named(_) => !segment.is_empty(),
        }
    }

    const fn name(&self) -> Option<&String> {
        match self {
            Self::Named(name) => Some(name),
            Self::Literal(_) => None,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn segment(part: &str, is_end: bool) -> Result<Segment, &'static str> {
    if let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let sound = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        return if sound {
            Ok(Segment::Named(name.to_owned()))
        } else {
            Err("names a segment badly: letters, digits and _ in {…}")
        };
    }
    if part.contains(['*', '{', '}']) {
        return Err("may hold \"*\" only as its last segment, and {name} only as a whole one");
    }
    if part.is_empty() && !is_end {
        return Err("has an empty segment");
    }
    if matches!(part, "." | "..") {
        return Err("has a dot segment, which no request can have");
    }
    Ok(Segment::Literal(part.as_bytes().into()))
}
