//! A file of cases, read: keys made, tokens signed, placeholders filled.
//!
//! `{TOKEN}` in a header is a token of `[tokens]`; `{jwks_url}` in the config is where the published keys are served.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine as _;
use gateway::demo::tokens::now;
use gateway::policy::authn::jwt::KeySet;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Verdict;
use crate::harness::{Gateway, Issuer, Key, Setup, Upstream};

/// A file of cases, ready to be judged.
pub struct Corpus {
    /// The cases.
    pub cases: Vec<Case>,
    jwks: String,
    /// The upstream `up`, which answers with what it got.
    pub upstream: Upstream,
    issuer: Issuer,
    config: String,
    /// Further arguments of `explain`.
    pub explain: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    config: String,
    #[serde(default)]
    explain: Vec<String>,
    #[serde(default)]
    keys: BTreeMap<String, KeySpec>,
    #[serde(default)]
    claims: BTreeMap<String, Value>,
    #[serde(default)]
    tokens: BTreeMap<String, Token>,
    #[serde(rename = "case")]
    cases: Vec<Case>,
}

/// A key to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySpec {
    /// `rsa`, `ec`, `ed`, or the bytes of an HMAC secret; `pem:NAME`: those of that RSA key's public PEM.
    kind: String,
    /// Its id; else its name.
    kid: Option<String>,
    /// Whether it is in the set.
    #[serde(default)]
    published: bool,
}

/// A token to be signed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    key: String,
    /// Changes of the file's `[claims]`; `"-"` leaves one out.
    #[serde(default)]
    claims: BTreeMap<String, Value>,
    /// Seconds from now on, as a claim.
    #[serde(default)]
    times: BTreeMap<String, i64>,
    /// Changes of the header; `"-"` leaves one out.
    #[serde(default)]
    header: BTreeMap<String, Value>,
    /// Instead of the claims: this very JSON.
    raw: Option<String>,
    /// `"claims"`: altered after signing; `"signature"`: left out; `"part"`: a fourth part.
    broken: Option<String>,
}

/// A request, and what must come of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// `METHOD URL`; a bare path is asked at no host in particular.
    pub request: String,
    /// `Name: value`, in order.
    #[serde(default)]
    pub headers: Vec<String>,
    /// What follows the head.
    #[serde(default)]
    pub body: String,
    /// The peer, a loopback address.
    pub from: Option<IpAddr>,
    /// `allow`, or `STATUS error detail`.
    pub expect: String,
    /// Not compared if left out; `-`: none.
    pub route: Option<String>,
    /// The method that decides.
    pub method: Option<String>,
    /// Who it is.
    pub user: Option<String>,
    /// Whom it acts for.
    pub acting_for: Option<String>,
    /// Headers that the upstream gets, each once and like this.
    #[serde(default)]
    pub sends: Vec<String>,
    /// Headers that it does not get.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// What the gateway answers by itself: a status, then `Name: value` of headers, or `Name` for none of that name.
    #[serde(default)]
    pub answers: Vec<String>,
    /// The target that the upstream gets.
    pub target: Option<String>,
}

/// An answer of the gateway's own.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u64,
    /// Names in lower case, and values.
    pub headers: Head,
}

/// A head as the upstream gets it: name and value.
pub type Head = Vec<(String, String)>;

/// The text of a file in `tests/cases`.
pub fn text_of(file: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/cases/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

impl Corpus {
    /// Reads a file, and makes what it describes.
    pub async fn read(name: &str) -> Self {
        let file: File = toml::from_str(&text_of(&format!("{name}.toml"))).unwrap();
        let mut keys: BTreeMap<&str, Key> = BTreeMap::new();
        // PEMs are of keys that are made already.
        let (of_pem, plain): (Vec<_>, Vec<_>) = file.keys.iter().partition(|(_, spec)| spec.kind.starts_with("pem:"));
        for (name, spec) in plain.into_iter().chain(of_pem) {
            let kid = spec.kid.as_deref().unwrap_or(name);
            let key = match spec.kind.as_str() {
                "rsa" => Key::rsa(kid),
                "ec" => Key::ec(kid),
                "ed" => Key::ed(kid),
                secret => match secret.strip_prefix("pem:") {
                    Some(rsa) => Key::hmac(kid, keys[rsa].public_pem()),
                    None => Key::hmac(kid, secret),
                },
            };
            keys.insert(name, key);
        }
        let published: Vec<Value> = file
            .keys
            .iter()
            .filter(|(_, spec)| spec.published)
            .map(|(name, _)| keys[name.as_str()].jwk())
            .collect();
        let jwks = json!({ "keys": published });
        let issuer = Issuer::start().await;
        issuer.publish_document(&jwks);
        let tokens: BTreeMap<&str, String> = file
            .tokens
            .iter()
            .map(|(name, token)| (name.as_str(), token.sign(&keys[token.key.as_str()], &file.claims)))
            .collect();
        let mut cases = file.cases;
        for case in &mut cases {
            for text in case
                .headers
                .iter_mut()
                .chain(&mut case.sends)
                .chain([&mut case.request])
            {
                for (name, token) in &tokens {
                    *text = text.replace(&format!("{{{name}}}"), token);
                }
            }
        }
        Self {
            cases,
            jwks: jwks.to_string(),
            upstream: Upstream::echo().await,
            issuer,
            config: file.config,
            explain: file.explain,
        }
    }

    /// Where the published keys are served.
    pub fn jwks_url(&self) -> String {
        self.issuer.jwks_url()
    }

    /// The published keys.
    pub fn keys(&self) -> KeySet {
        KeySet::from_jwks(self.jwks.as_bytes()).unwrap().0
    }

    /// A gateway with the file's config.
    pub fn setup(&self) -> Setup {
        let config = self.config.replace("{jwks_url}", &self.jwks_url());
        Gateway::with(&config)
            .upstream("up", &self.upstream)
            .file("keys.json", &self.jwks)
    }
}

impl Token {
    fn sign(&self, key: &Key, claims: &BTreeMap<String, Value>) -> String {
        let mut all = claims.clone();
        let times = BTreeMap::from([("iat".to_owned(), 0), ("exp".to_owned(), 600)]);
        let dated = |times: &BTreeMap<String, i64>| -> Vec<(String, Value)> {
            let dated = times.iter().map(|(name, offset)| (name.clone(), json!(now() + offset)));
            dated.collect()
        };
        all.extend(dated(&times));
        all.extend(self.claims.clone());
        all.extend(dated(&self.times));
        all.retain(|_, value| value != "-");
        let mut header = key.header();
        for (name, value) in &self.header {
            header[name] = value.clone();
        }
        if let Value::Object(header) = &mut header {
            header.retain(|_, value| value != "-");
        }
        let claims = self.raw.clone().unwrap_or_else(|| json!(all).to_string());
        let token = key.sign_with(&header, &claims);
        let (input, signature) = token.rsplit_once('.').unwrap();
        match self.broken.as_deref() {
            None => token,
            Some("signature") => format!("{input}."),
            Some("part") => format!("{token}.{signature}"),
            Some("claims") => {
                let (header, _) = input.split_once('.').unwrap();
                all.insert("sub".to_owned(), json!("root"));
                let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(json!(all).to_string());
                format!("{header}.{claims}.{signature}")
            }
            Some(other) => panic!("broken how? {other}"),
        }
    }
}

impl Case {
    /// Method and URL.
    pub fn method_and_url(&self) -> (&str, &str) {
        self.request.split_once(' ').unwrap()
    }

    /// The host that its URL names, and its target.
    pub fn host_and_target(&self) -> (Option<&str>, &str) {
        let (_, url) = self.method_and_url();
        let Some(rest) = url.strip_prefix("http://") else {
            return (None, url);
        };
        let end = rest.find('/').unwrap_or(rest.len());
        (Some(&rest[..end]), &rest[end..])
    }

    /// The head as it stands on the wire; `host` is where a bare path is asked.
    pub fn head(&self, host: &str) -> Vec<u8> {
        let (method, _) = self.method_and_url();
        let (own, target) = self.host_and_target();
        let named = self
            .headers
            .iter()
            .any(|line| line.to_ascii_lowercase().starts_with("host:"));
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !named {
            head.push_str(&format!("Host: {}\r\n", own.unwrap_or(host)));
        }
        for line in &self.headers {
            head.push_str(&format!("{line}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The peer.
    pub fn peer(&self) -> IpAddr {
        self.from.unwrap_or(IpAddr::from([127, 0, 0, 1]))
    }

    /// Where a verdict is not as the case says.
    pub fn differences(&self, verdict: &Verdict) -> impl Iterator<Item = String> + use<> {
        let mut words = self.expect.split(' ');
        let first = words.next().unwrap();
        let status = if first == "allow" { 0 } else { first.parse().unwrap() };
        let error = words.next().map(str::to_owned);
        let detail = Some(words.collect::<Vec<_>>().join(" ")).filter(|detail| !detail.is_empty());
        let mut wrong = Vec::new();
        if (verdict.status, &verdict.error, &verdict.detail) != (status, &error, &detail) {
            wrong.push(format!("{verdict:?} instead of {}", self.expect));
        }
        for (wanted, is) in [
            (&self.route, &verdict.route),
            (&self.method, &verdict.method),
            (&self.user, &verdict.user),
            (&self.acting_for, &verdict.acting_for),
        ] {
            if wanted
                .as_deref()
                .is_some_and(|wanted| wanted != is.as_deref().unwrap_or("-"))
            {
                wrong.push(format!("{verdict:?} has not {wanted:?}"));
            }
        }
        wrong.into_iter()
    }

    /// What the case says of the gateway's own answer, and is not so.
    pub fn unlike(&self, answer: Option<&Answer>) -> Vec<String> {
        let Some((status, lines)) = self.answers.split_first() else {
            return Vec::new();
        };
        let Some(answer) = answer else {
            return vec!["the gateway does not answer by itself".to_owned()];
        };
        let named = |name: &str| -> Vec<&str> {
            let headers = answer.headers.iter();
            let named = headers.filter(|(own, _)| own.eq_ignore_ascii_case(name));
            named.map(|(_, value)| value.as_str()).collect()
        };
        let holds = |line: &&String| match line.split_once(": ") {
            Some((name, value)) => named(name) == [value],
            None => named(line).is_empty(),
        };
        let mut wrong: Vec<String> = lines.iter().filter(|line| !holds(line)).cloned().collect();
        if *status != answer.status.to_string() {
            wrong.push(status.clone());
        }
        wrong
            .iter()
            .map(|line| format!("{line:?} is not so: {answer:?}"))
            .collect()
    }

    /// Headers that the upstream got and should not have got, or the other way round.
    pub fn missing_in(&self, head: &Option<Head>) -> impl Iterator<Item = String> + use<> {
        let head = head.clone().unwrap_or_default();
        let mut wrong = Vec::new();
        for line in &self.sends {
            let (name, value) = line.split_once(": ").unwrap_or((line.as_str(), ""));
            let named: Vec<_> = head.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).collect();
            let hidden = |value: &str| value.starts_with('(') && value.ends_with(')');
            if named.len() != 1 || (named[0].1 != value && !hidden(&named[0].1)) {
                wrong.push(format!("{line:?} is not sent: {named:?}"));
            }
        }
        for name in &self.lacks {
            if head.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)) {
                wrong.push(format!("{name} is sent"));
            }
        }
        wrong.into_iter()
    }
}
