//! Whatever is read of strangers, with anything changed in it: nothing panics, and nothing passes that must not. The same judgement
//! as the fuzz targets' (`fuzz/`), from their seeds, over bytes that are the same on every run.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::harness::Dice;

#[path = "../../fuzz/judged/mod.rs"]
mod judged;

const ROUNDS: usize = 4000;

/// One to four changes: a bit, a byte, a piece left out, put in twice or put elsewhere, a word that means something.
fn changed(dice: &mut Dice, bytes: &[u8], words: &[&str]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + dice.below(20)).min(bytes.len());
        match dice.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => bytes[at] = dice.byte(),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                let to = dice.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            4 => bytes.truncate(at),
            _ => {
                let word = dice.one_of(words);
                bytes.splice(at..end, word.bytes());
            }
        }
    }
    bytes
}

const WORDS: [&str; 24] = [
    ".",
    "..",
    "=",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "-1",
    "1e999",
    "9007199254740993",
    "\"none\"",
    "\"HS256\"",
    "\"alg\":",
    "\"kid\":",
    "\"crit\":[\"b64\"],",
    "\"exp\":\"1\",",
    "\u{0}",
    "\u{e9}",
    "\\u0000",
];

#[test]
fn a_published_token_with_anything_changed_does_not_pass() {
    let mut dice = Dice::new(0x9e37_79b9_7f4a_7c15);
    let tokens = &judged::World::get().tokens;
    assert!(tokens.len() >= 9, "{} examples", tokens.len());
    for round in 0..ROUNDS {
        let token = &tokens[round % tokens.len()];
        judged::token(token.as_bytes());
        judged::token(&changed(&mut dice, token.as_bytes(), &WORDS));
        // And within its parts, encoded again as they must be.
        let mut parts: Vec<Vec<u8>> = token
            .split('.')
            .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
            .collect();
        let part = dice.below(parts.len());
        parts[part] = changed(&mut dice, &parts[part], &WORDS);
        let parts: Vec<String> = parts.iter().map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
        judged::token(parts.join(".").as_bytes());
    }
}

#[test]
fn a_key_set_with_anything_changed_is_read_or_refused() {
    let mut dice = Dice::new(0xd1b5_4a32_d192_ed03);
    let jwks = &judged::World::get().jwks;
    judged::jwks(jwks);
    for _ in 0..ROUNDS / 4 {
        judged::jwks(&changed(&mut dice, jwks, &WORDS));
    }
}

/// The pieces that mean something in heads, paths, addresses and configs.
const PIECES: [&str; 32] = [
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "/",
    "//",
    "/../",
    "%2e",
    "%2F",
    "%25",
    "%00",
    "\\",
    "#",
    "?",
    "@",
    "Host: b\r\n",
    "Content-Length: 1\r\n",
    "Transfer-Encoding: chunked\r\n",
    "X-User-ID: eve\r\n",
    "x.user.id: eve\r\n",
    "Connection: ",
    "127.0.0.1",
    "10.0.0.1",
    "[::1]",
    "\"",
    "=",
    "\u{0}",
    "\u{e9}",
];

/// Each seed as it is, and with anything changed in it, `rounds` times in all.
fn from_seeds(target: &str, judge: fn(&[u8]), rounds: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut seeds: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    seeds.sort();
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| std::fs::read(seed).unwrap()).collect();
    assert!(seeds.len() >= 4, "{} seeds of {target}", seeds.len());
    seeds.iter().for_each(|seed| judge(seed));
    let mut dice = Dice::new(0xa076_1d64_78bd_642f);
    for round in 0..rounds {
        judge(&changed(&mut dice, &seeds[round % seeds.len()], &PIECES));
    }
}

#[test]
fn a_head_with_anything_changed_is_refused_or_has_one_meaning() {
    from_seeds("head", judged::head, 20_000);
}

#[test]
fn r14_a_path_with_anything_changed_is_refused_or_has_one_meaning() {
    from_seeds("path", judged::path, 20_000);
}

#[test]
fn a_credential_is_found_only_where_one_was_sent() {
    from_seeds("credential", judged::credential, 20_000);
}

#[test]
fn a_stranger_with_any_forwarding_header_is_not_believed() {
    from_seeds("forwarded", judged::forwarded, 20_000);
}

#[test]
fn a_proxys_introduction_is_taken_whole_or_not_at_all() {
    from_seeds("proxy", judged::proxy, 10_000);
}

#[test]
fn a_config_with_anything_changed_is_compiled_or_refused_with_reasons() {
    from_seeds("config", judged::config, 1_000);
}

#[test]
fn nobody_is_let_in_without_a_credential_whatever_is_changed_in_a_request() {
    from_seeds("judge", judged::judge, 20_000);
}
