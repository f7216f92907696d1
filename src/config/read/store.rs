//! `[redis]` and `[revocation]`.
//!
//! Imports the machinery of `config`.

use super::{ms, strings};
use crate::config::cursor::Cursor;
use crate::config::model::{Redis, Revocation};
use crate::config::secret::Secret;
use crate::config::value as v;

pub(super) fn redis(t: &mut Cursor<'_, '_>) -> Redis {
    Redis {
        url: t.required("url", Secret::new(String::new()), v::secret(1)),
        key_prefix: t.key("key_prefix", "gateway:".to_owned(), v::text),
        timeout: t.key("timeout", ms(50), v::some_duration),
        record_key: t.optional("record_key", v::secret(32)),
    }
}

pub(super) fn revocation(t: &mut Cursor<'_, '_>) -> Revocation {
    let keys = strings([
        "gateway:revoked:jti:{jti}",
        "gateway:revoked:token:{token_sha256}",
        "gateway:revoked:key:{key_id}",
    ]);
    Revocation {
        keys: t.list("keys", keys, v::some_text),
        users: t.key("users", "gateway:revoked:user:{user}".to_owned(), v::text),
        serve_on_store_error: t.key("on_store_error", true, v::one_of(&[("serve", true), ("deny", false)])),
    }
}
