//! The script: every case that `gateway demo --once` runs against a gateway that it knows only by its addresses.
//!
//! A [`case`] is data, what must come out is data ([`expect`]), and [`play`] does it over sockets. The chapters are one file each.
//! Depends on the demo's `client` and `world`, on nothing of the gateway.

pub mod case;
pub mod expect;
pub mod play;

mod accepted;
mod headers;
mod limits;
mod refused;
mod requests;
mod streams;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use case::{Addresses, Case, Chapter};
use expect::Wrong;

use super::client::{self, Request};
use super::paint::Paint;
use super::tokens::{ADA, BOB, Signature};
use super::world::World;

/// The good credentials that the cases use.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Wallet {
    pub bob: String,
    pub ada: String,
    pub bob_es256: String,
    pub api_key: String,
    pub internal_secret: String,
}

impl Wallet {
    /// Bob's token signed here; see [`Wallet::granted`].
    ///
    /// # Errors
    /// A token could not be signed.
    pub fn of(world: &World) -> io::Result<Self> {
        Ok(Self {
            bob: world.token(&BOB, Signature::Rs256)?,
            ada: world.token(&ADA, Signature::Rs256)?,
            bob_es256: world.token(&BOB, Signature::Es256)?,
            api_key: world.api_key.clone(),
            internal_secret: world.internal_secret.clone(),
        })
    }

    /// Bob's token fetched from the token endpoint for his password, as a stranger would. If none comes it is empty: the cases say so.
    ///
    /// # Errors
    /// A token could not be signed.
    pub async fn granted(world: &World) -> io::Result<Self> {
        let form = format!("grant_type=password&username={}&password={}", BOB.name, BOB.password);
        let request = Request::new("POST", "/token").body(&form);
        let answer = client::send(world.identity_provider.server.address, &request).await;
        let token = answer
            .ok()
            .and_then(|answer| Some(answer.json().get("access_token")?.as_str()?.to_owned()));
        Ok(Self {
            bob: token.unwrap_or_default(),
            ..Self::of(world)?
        })
    }
}

/// Every case, in order.
///
/// # Errors
/// A token could not be signed.
pub fn chapters(world: &World, wallet: &Wallet) -> io::Result<Vec<Chapter>> {
    Ok(vec![
        Chapter {
            title: "Who is let in",
            cases: accepted::cases(wallet),
        },
        Chapter {
            title: "Who is refused, and why",
            cases: refused::cases(world, wallet)?,
        },
        Chapter {
            title: "What is refused, whoever asks",
            cases: requests::cases(wallet),
        },
        Chapter {
            title: "What the upstream sees",
            cases: headers::cases(wallet),
        },
        Chapter {
            title: "What flows",
            cases: streams::cases(wallet),
        },
        Chapter {
            title: "What is enough",
            cases: limits::cases(wallet),
        },
    ])
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How many came out as they should.
    pub passed: usize,
    /// The names of those that did not.
    pub failed: Vec<&'static str>,
}

impl Report {
    /// Whether all came out as they should, and there were any.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty() && self.passed > 0
    }
}

/// Runs every case against a gateway that was started with [`World::config`], tells of each, and sums up.
///
/// # Errors
/// Nothing could be written, or no token signed. What goes wrong with a case is in the report.
pub async fn run_script(
    gateway: SocketAddr,
    admin: SocketAddr,
    world: &World,
    out: &mut (dyn Write + Send),
    paint: Paint,
) -> io::Result<Report> {
    let addresses = Addresses {
        gateway,
        admin,
        identity_provider: world.identity_provider.server.address,
    };
    let wallet = Wallet::granted(world).await?;
    run_chapters(&chapters(world, &wallet)?, &addresses, play::PATIENCE, out, paint).await
}

async fn run_chapters(
    chapters: &[Chapter],
    addresses: &Addresses,
    patience: Duration,
    out: &mut (dyn Write + Send),
    paint: Paint,
) -> io::Result<Report> {
    let mut report = Report::default();
    for chapter in chapters {
        writeln!(out, "\n{}\n", paint.strong(chapter.title))?;
        for case in &chapter.cases {
            let result = play::play(&case.play, addresses, patience).await;
            match &result {
                Ok(()) => report.passed += 1,
                Err(_) => report.failed.push(case.name),
            }
            tell(case, &result, addresses, out, paint)?;
        }
    }
    let all = report.passed + report.failed.len();
    let sum = format!("{} of {all} came out as they should.", report.passed);
    if report.is_good() {
        writeln!(out, "\n{}", paint.good(&sum))?;
    } else {
        writeln!(out, "\n{} Not so: {}", paint.bad(&sum), report.failed.join(", "))?;
    }
    Ok(report)
}

fn tell(
    case: &Case,
    result: &Result<(), Wrong>,
    addresses: &Addresses,
    out: &mut (dyn Write + Send),
    paint: Paint,
) -> io::Result<()> {
    match result {
        Ok(()) => {
            writeln!(out, "{} {:<29} — {}", paint.good("✓"), case.name, case.shows)?;
            writeln!(out, "    {}", paint.faint(&abridged(&case.curl(addresses))))
        }
        Err(wrong) => {
            let line = format!("✗ {}: expected {}, got {}", case.name, wrong.expected, wrong.got);
            writeln!(
                out,
                "{}\n    {}\n    {}",
                paint.bad(&line),
                case.shows,
                case.curl(addresses)
            )
        }
    }
}

/// A line that people can take in: what is long and random, as credentials are, is cut.
fn abridged(line: &str) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let mut short = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() {
        let (word, tail) = rest.split_at(rest.find(|c| !part(c)).unwrap_or(rest.len()));
        match word.char_indices().nth(40) {
            Some(_) => short.extend(word.chars().take(12).chain(['…'])),
            None => short.push_str(word),
        }
        let mut tail = tail.chars();
        short.extend(tail.next());
        rest = tail.as_str();
    }
    short
}

#[cfg(test)]
mod tests;
