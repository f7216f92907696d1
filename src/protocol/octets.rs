//! Classes of bytes (RFC 9110 §5.5, §5.6.2). Pure.
//!
//! May depend on: nothing.

/// No control character but HT; bytes from 0x80 are values too (RFC 9110 §5.5). Without early exit: it then runs on
/// vectors of bytes, and values are the bulk of a head.
pub(super) fn is_field_value(value: &[u8]) -> bool {
    value.iter().fold(true, |sound, &byte| sound & is_value_byte(byte))
}

pub(super) fn is_value_byte(byte: u8) -> bool {
    ((byte >= b' ') | (byte == b'\t')) & (byte != 0x7f)
}

/// A method or a field's name (RFC 9110 §5.6.2).
pub(super) fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|&byte| is_token_byte(byte))
}

/// A byte of a token.
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN.contains(byte)
}

/// A set of bytes.
pub(super) struct Octets([bool; 256]);

impl Octets {
    /// Those from each first to each last byte.
    #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    pub(super) const fn of(ranges: &[(u8, u8)]) -> Self {
        let mut set = [false; 256];
        let mut range = 0;
        while range < ranges.len() {
            let (first, last) = ranges[range];
            let mut byte = first as usize;
            while byte <= last as usize {
                set[byte] = true;
                byte += 1;
            }
            range += 1;
        }
        Self(set)
    }

    pub(super) fn contains(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)).copied().unwrap_or_default()
    }
}

static TOKEN: Octets = Octets::of(&[
    (b'0', b'9'),
    (b'A', b'Z'),
    (b'a', b'z'),
    (b'!', b'!'),
    (b'#', b'\''),
    (b'*', b'+'),
    (b'-', b'.'),
    (b'^', b'`'),
    (b'|', b'|'),
    (b'~', b'~'),
]);
