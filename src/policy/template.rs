//! Text with `{words}` in it that each request fills in: taken apart at load, filled in in one pass. Depends on nothing.

use std::borrow::Cow;

/// A text with places in it, each for a `P`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template<P>(Vec<Part<P>>);

/// A part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<P> {
    /// As written.
    Text(Box<str>),
    /// What a request has there.
    Place(P),
}

impl<P> Template<P> {
    /// Takes a text apart. `{word}` of letters, digits, `_` and `.` is a place, any other brace is text, so that JSON stays itself.
    ///
    /// # Errors
    /// The first word that `place` does not know.
    pub fn parse(text: &str, place: impl Fn(&str) -> Option<P>) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            literal.push_str(before);
            let Some((word, behind)) = after.split_once('}').filter(|(word, _)| is_word(word)) else {
                literal.push('{');
                rest = after;
                continue;
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Place(place(word).ok_or_else(|| word.to_owned())?));
            rest = behind;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self(parts))
    }

    /// No text.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// Its parts in order.
    #[must_use]
    pub fn parts(&self) -> &[Part<P>] {
        &self.0
    }

    /// The whole text, if it has no place in it.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with every place filled in; `None` when one has nothing to be filled with.
    pub fn fill<'v>(&self, mut value: impl FnMut(&P) -> Option<Cow<'v, str>>) -> Option<String> {
        let mut filled = String::with_capacity(64);
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Place(place) => filled.push_str(&value(place)?),
            }
        }
        Some(filled)
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<Option<String>, String> {
        let template = Template::parse(text, |word| ["a", "b.c"].contains(&word).then(|| word.to_owned()))?;
        Ok(template.fill(|place| (place == "a").then_some(Cow::Borrowed("1"))))
    }

    #[test]
    fn words_in_braces_are_places_and_other_braces_are_text() {
        for (text, becomes) in [
            ("", ""),
            ("plain", "plain"),
            ("x{a}y{a}", "x1y1"),
            (r#"{"group":"{a}"}"#, r#"{"group":"1"}"#),
            ("{ a } {} {", "{ a } {} {"),
            ("{{a}}", "{1}"),
        ] {
            assert_eq!(filled(text).unwrap().unwrap(), becomes, "{text}");
        }
    }

    #[test]
    fn a_place_with_nothing_to_fill_it_leaves_no_text_at_all() {
        assert_eq!(filled("x{b.c}").unwrap(), None);
    }

    #[test]
    fn an_unknown_word_is_named() {
        assert_eq!(filled("{a}{user_id}").unwrap_err(), "user_id");
    }
}
