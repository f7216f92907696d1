//! Header fields: where they stand in a head, their sound form as a map, and how their names were written. Pure.
//!
//! Most of the crate reads a `HeaderMap`, whose names are lower case. HTTP/1.1 peers are to see names as the other side wrote
//! them, so the head that a map was made of is kept beside it until the map is written again.
//!
//! May depend on: byte classes.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use super::scratch;

/// Fields of a usual head.
const USUAL_FIELDS: usize = 12;

/// Where one field stands in its head, in bytes from the head's start.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: u32,
    colon: u32,
    value: u32,
    end: u32,
}

/// Where the fields of a head stand.
#[derive(Debug, Default)]
pub(super) struct Fields {
    list: Vec<Field>,
}

impl Fields {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Notes a field whose name begins at `start`, has `name_len` bytes and is followed by a colon; the line ends at `end`.
    /// Heads are bounded far below 4 GiB.
    pub(super) fn push(&mut self, head: &[u8], start: usize, name_len: usize, end: usize) {
        let colon = start + name_len;
        let blank = |at: usize| matches!(head.get(at), Some(b' ' | b'\t'));
        let (mut value, mut end) = (colon + 1, end);
        while value < end && blank(value) {
            value += 1;
        }
        while value < end && blank(end - 1) {
            end -= 1;
        }
        if self.list.is_empty() {
            self.list.reserve(USUAL_FIELDS);
        }
        self.list.push(Field {
            name: place(start),
            colon: place(colon),
            value: place(value),
            end: place(end),
        });
    }

    /// The fields as a map with room for so many more; values share the head's memory. `None`: what passed as sound is not, for the
    /// `http` crate.
    pub(super) fn map(&self, head: &Bytes, room: usize) -> Option<HeaderMap> {
        let mut map = scratch::take_map(self.list.len() + room);
        for field in &self.list {
            let name = HeaderName::from_bytes(head.get(field.name())?).ok()?;
            let value = HeaderValue::from_maybe_shared(head.slice(index(field.value)..index(field.end))).ok()?;
            map.try_append(name, value).ok()?;
        }
        Some(map)
    }

    /// How the names were written.
    pub(super) fn spelling(self, head: Bytes) -> Spelling {
        Spelling {
            head,
            fields: self.list,
        }
    }
}

impl Field {
    fn name(self) -> std::ops::Range<usize> {
        index(self.name)..index(self.colon)
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[allow(clippy::cast_possible_truncation, reason = "targets have 32 bits at least")]
const fn index(place: u32) -> usize {
    place as usize
}

/// Reads the fields of trailers, line by line; they were judged to be sound.
pub(super) fn trailers(section: Vec<u8>) -> HeaderMap {
    let section = Bytes::from(section);
    let mut fields = Fields::default();
    let mut start = 0;
    while let Some(end) = memchr(b'\n', section.get(start..).unwrap_or_default()) {
        let line = section.get(start..start + end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(name_len) = memchr(b':', line) {
            fields.push(&section, start, name_len, start + line.len());
        }
        start += end + 1;
    }
    fields.map(&section, 0).unwrap_or_default()
}

/// How the names of a head were written.
#[derive(Debug)]
pub struct Spelling {
    head: Bytes,
    fields: Vec<Field>,
}

/// Finds the spelling of one name after the other, as a map is gone through.
///
/// A value that came from the head still lies in the head's memory, so its place tells the very field that it came from: also of
/// names that were written several times, and none of a value that was put in since.
pub struct Speller<'s> {
    spelling: Option<&'s Spelling>,
    /// The field behind the last one found: the next, as long as nothing was taken out.
    next: usize,
}

impl<'s> Speller<'s> {
    /// `None`: names are written in lower case.
    #[must_use]
    pub const fn new(spelling: Option<&'s Spelling>) -> Self {
        Self { spelling, next: 0 }
    }

    /// The name of `value` as it was written.
    pub fn spell<'n>(&mut self, name: &'n HeaderName, value: &HeaderValue) -> &'n [u8]
    where
        's: 'n,
    {
        let lower = name.as_str().as_bytes();
        let Some((place, written)) = self.spelling.and_then(|spelling| {
            let place = spelling.place_of(value, self.next)?;
            let written = spelling.head.get(spelling.fields.get(place)?.name())?;
            // A value may have been copied to another name.
            written.eq_ignore_ascii_case(lower).then_some((place, written))
        }) else {
            return lower;
        };
        self.next = place + 1;
        written
    }
}

impl Spelling {
    /// The place of the field that `value` came from; probably `likely`.
    fn place_of(&self, value: &HeaderValue, likely: usize) -> Option<usize> {
        let offset = value
            .as_bytes()
            .as_ptr()
            .addr()
            .checked_sub(self.head.as_ptr().addr())?;
        let offset = u32::try_from(offset).ok()?;
        let is_it = |field: &Field| field.value == offset;
        if self.fields.get(likely).is_some_and(is_it) {
            return Some(likely);
        }
        self.fields.iter().position(is_it)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(head: &'static str) -> (HeaderMap, Spelling) {
        let mut fields = Fields::default();
        let mut start = 0;
        for line in head.split_inclusive("\r\n") {
            let text = line.trim_end_matches("\r\n");
            fields.push(head.as_bytes(), start, text.find(':').unwrap(), start + text.len());
            start += line.len();
        }
        let head = Bytes::from_static(head.as_bytes());
        (fields.map(&head, 0).unwrap(), fields.spelling(head))
    }

    fn spelt(map: &HeaderMap, spelling: &Spelling) -> Vec<String> {
        let mut speller = Speller::new(Some(spelling));
        map.iter()
            .map(|(name, value)| {
                let name = String::from_utf8_lossy(speller.spell(name, value)).into_owned();
                format!("{name}: {}", value.to_str().unwrap())
            })
            .collect()
    }

    #[test]
    fn names_are_spelt_as_they_were_written() {
        let (map, spelling) = read("X-ONE: 1\r\nx-Two:2 \r\nX-three:\t3\r\n");
        assert_eq!(spelt(&map, &spelling), ["X-ONE: 1", "x-Two: 2", "X-three: 3"]);
    }

    #[test]
    fn duplicates_keep_each_its_own_spelling_and_their_order() {
        let (map, spelling) = read("Foo: 1\r\nBar: 2\r\nfoo: 3\r\nFOO: 4\r\n");
        assert_eq!(spelt(&map, &spelling), ["Foo: 1", "foo: 3", "FOO: 4", "Bar: 2"]);
    }

    #[test]
    fn what_is_taken_out_disturbs_nobody_else() {
        let (mut map, spelling) = read("Gone: 0\r\nFoo: 1\r\nBAR: 2\r\nfOO: 3\r\nLast: 4\r\n");
        map.remove("gone");
        map.insert("new", HeaderValue::from_static("5"));
        let mut all = spelt(&map, &spelling);
        assert!(all.windows(2).any(|pair| pair == ["Foo: 1", "fOO: 3"]), "{all:?}");
        all.sort();
        assert_eq!(all, ["BAR: 2", "Foo: 1", "Last: 4", "fOO: 3", "new: 5"]);
    }

    #[test]
    fn trailers_are_read_as_fields() {
        let map = trailers(b"X-Sum: 1\r\nEmpty:\r\nX-Sum:2\r\n".to_vec());
        assert_eq!(map.get_all("x-sum").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(map.get("empty").unwrap(), "");
    }
}
