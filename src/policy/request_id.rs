//! Which of a client's request ids is kept. Depends on nothing here.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// The longest id, in bytes.
pub const MAX_BYTES: usize = 128;

/// The client's own id: a single one of 1 to [`MAX_BYTES`] bytes of `[A-Za-z0-9._:-]`. Any other is replaced.
#[must_use]
pub fn of_client<'r>(name: Option<&HeaderName>, headers: &'r HeaderMap) -> Option<&'r HeaderValue> {
    let mut own = headers.get_all(name?).iter();
    let id = own.next().filter(|_| own.next().is_none())?;
    is_sound(id.as_bytes()).then_some(id)
}

fn is_sound(id: &[u8]) -> bool {
    (1..=MAX_BYTES).contains(&id.len())
        && id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_single_sound_id_is_kept_and_any_other_replaced() {
        let name = HeaderName::from_static("x-request-id");
        let long = "a".repeat(MAX_BYTES + 1);
        for (ids, kept) in [
            (&["a.b_c:d-9"][..], true),
            (&[long.get(1..).unwrap()], true),
            (&[&long], false),
            (&[""], false),
            (&["a b"], false),
            (&["a\u{e9}"], false),
            (&["a", "a"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for id in ids {
                headers.append(&name, HeaderValue::from_bytes(id.as_bytes()).unwrap());
            }
            assert_eq!(of_client(Some(&name), &headers).is_some(), kept, "{ids:?}");
            assert!(of_client(None, &headers).is_none(), "{ids:?}");
        }
    }
}
