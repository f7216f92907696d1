//! Protocol Buffers' wire format, as much of it as a span needs, appended to a buffer. Depends on nothing else here.
//!
//! Fields are known by numbers that a published message never changes, so what is written here needs no generated code.

/// How a field is written: its wire type.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

/// An integer, or the number of an enum's value.
pub(super) fn integer(out: &mut Vec<u8>, field: u32, value: u64) {
    key(out, field, Wire::Varint);
    varint(out, value);
}

/// Eight bytes.
pub(super) fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    key(out, field, Wire::Fixed64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Four bytes.
pub(super) fn fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    key(out, field, Wire::Fixed32);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Bytes, or text in UTF-8.
pub(super) fn bytes(out: &mut Vec<u8>, field: u32, value: impl AsRef<[u8]>) {
    let value = value.as_ref();
    key(out, field, Wire::Bytes);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A message within the message.
pub(super) fn message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    key(out, field, Wire::Bytes);
    let start = out.len();
    write(out);
    let end = out.len();
    // The length stands before what it is the length of, and is known only now.
    varint(out, (end - start) as u64);
    let width = out.len() - end;
    if let Some(message) = out.get_mut(start..) {
        message.rotate_right(width);
    }
}

fn key(out: &mut Vec<u8>, field: u32, wire: Wire) {
    varint(out, u64::from(field << 3 | wire as u32));
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_seven(value) | 0x80);
        value >>= 7;
    }
    out.push(low_seven(value));
}

const fn low_seven(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}
