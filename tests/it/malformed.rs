//! Tokens and key sets with anything changed in them: nothing panics and nothing passes. The same judgement as the fuzz targets'
//! (`fuzz/`), over bytes that are the same on every run.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

#[path = "../../fuzz/judged.rs"]
mod judged;

const ROUNDS: usize = 4000;

/// xorshift64: enough to be everywhere, and the same on every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    /// One to four changes: a bit, a byte, a piece left out, put in twice or put elsewhere, a word that means something.
    fn changed(&mut self, bytes: &[u8], words: &[&str]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(20)).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
                4 => bytes.truncate(at),
                _ => {
                    let word = words[self.below(words.len())];
                    bytes.splice(at..end, word.bytes());
                }
            }
        }
        bytes
    }
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
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let tokens = &judged::World::get().tokens;
    assert!(tokens.len() >= 9, "{} examples", tokens.len());
    for round in 0..ROUNDS {
        let token = &tokens[round % tokens.len()];
        judged::token(token.as_bytes());
        judged::token(&dice.changed(token.as_bytes(), &WORDS));
        // And within its parts, encoded again as they must be.
        let mut parts: Vec<Vec<u8>> = token
            .split('.')
            .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
            .collect();
        let part = dice.below(parts.len());
        parts[part] = dice.changed(&parts[part], &WORDS);
        let parts: Vec<String> = parts.iter().map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
        judged::token(parts.join(".").as_bytes());
    }
}

#[test]
fn a_key_set_with_anything_changed_is_read_or_refused() {
    let mut dice = Dice(0xd1b5_4a32_d192_ed03);
    let jwks = &judged::World::get().jwks;
    judged::jwks(jwks);
    for _ in 0..ROUNDS / 4 {
        judged::jwks(&dice.changed(jwks, &WORDS));
    }
}
