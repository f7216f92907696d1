//! Keeps issuers' keys fresh, on the control runtime: one task an issuer, which ends with the last snapshot that knows it.

use std::error::Error as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::compile::KeySource;

use super::keys::Keys;

/// A JWKS is refused beyond this many bytes.
const MAX_DOCUMENT: usize = 1 << 20;

/// `Cache-Control: max-age` may shorten the interval to this at most.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(30);

/// Between looks at a JWKS file.
const FILE_INTERVAL: Duration = Duration::from_secs(1);

/// The first pause after a failed fetch; it doubles up to the refresh interval.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Refreshes until nobody needs the keys.
pub async fn refresh(keys: Weak<Keys>) {
    let client = keys.upgrade().and_then(|keys| client(keys.spec().request_timeout).ok());
    let mut failures: u32 = 0;
    let mut file = None;
    while let Some(live) = in_force(&keys) {
        let pause = match &live.spec().source {
            KeySource::None => return,
            KeySource::File(path) => {
                let read = read_file(path).await;
                if file.as_ref() != Some(&read) {
                    live.begin();
                    report(&live, live.publish(read.as_deref().map_err(Clone::clone)));
                    file = Some(read);
                }
                FILE_INTERVAL
            }
            KeySource::Url(url) => {
                live.begin();
                let fetched = live.timed(fetch(client.as_ref(), url)).await;
                let max_age = fetched.as_ref().ok().and_then(|document| document.max_age);
                let outcome = live.publish(fetched.as_ref().map(|document| &*document.body).map_err(Clone::clone));
                failures = if outcome.is_ok() { 0 } else { failures.saturating_add(1) };
                report(&live, outcome);
                next_pause(live.spec().refresh_interval, max_age, failures)
            }
        };
        // Only the wait is held on to, not the keys: a snapshot that drops them ends this task at the next turn.
        let weak = Arc::downgrade(&live);
        drop(live);
        wait(&weak, pause).await;
    }
}

/// Fetches a JWKS once, within `timeout`.
///
/// # Errors
/// Why it could not be had.
pub async fn fetch_once(url: &str, timeout: Duration) -> Result<Vec<u8>, String> {
    let client = client(timeout).map_err(reason)?;
    fetch(Some(&client), url).await.map(|document| document.body)
}

/// A WebSocket keeps the snapshot that let it in, and so its keys, for days; that alone is no reason to fetch.
fn in_force(keys: &Weak<Keys>) -> Option<Arc<Keys>> {
    keys.upgrade().filter(|keys| keys.is_in_force())
}

/// Sleeps in short steps, so that a dropped issuer does not linger, or until an unknown key id asks for a fetch.
async fn wait(keys: &Weak<Keys>, pause: Duration) {
    let deadline = tokio::time::Instant::now() + pause;
    while tokio::time::Instant::now() < deadline {
        let Some(live) = in_force(keys) else { return };
        live.measure();
        let step = deadline.min(tokio::time::Instant::now() + Duration::from_secs(1));
        tokio::select! {
            () = tokio::time::sleep_until(step) => {}
            () = live.wanted() => return,
        }
    }
}

fn report(keys: &Keys, outcome: Result<(), String>) {
    let issuer = &keys.spec().rules.name;
    match outcome {
        Ok(()) => tracing::debug!(issuer = %issuer, "JWKS refreshed"),
        Err(error) => tracing::warn!(issuer = %issuer, error = %error, "JWKS refresh failed"),
    }
}

/// With jitter of a tenth, so that gateways started together do not ask together.
fn next_pause(interval: Duration, max_age: Option<Duration>, failures: u32) -> Duration {
    let regular = max_age.map_or(interval, |max_age| max_age.max(SHORTEST_INTERVAL).min(interval));
    let pause = match failures {
        0 => regular,
        failures => FIRST_PAUSE
            .saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(16)))
            .min(regular),
    };
    let jitter = uuid::Uuid::now_v7().as_u128() % 1000;
    let tenth = pause.mul_f64(0.1 * f64::from(u32::try_from(jitter).unwrap_or(0)) / 1000.0);
    pause.saturating_sub(tenth)
}

struct Document {
    body: Vec<u8>,
    max_age: Option<Duration>,
}

async fn read_file(path: &std::path::Path) -> Result<Vec<u8>, String> {
    let name = path.display();
    let read = tokio::fs::read(path)
        .await
        .map_err(|error| format!("{name}: {error}"))?;
    if read.len() > MAX_DOCUMENT {
        Err(format!("{name}: larger than 1 MiB"))
    } else {
        Ok(read)
    }
}

/// Fetches without following redirects, each within `timeout`.
fn client(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("gateway/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Fetches a JWKS, bounded in time and size.
async fn fetch(client: Option<&reqwest::Client>, url: &str) -> Result<Document, String> {
    let client = client.ok_or("no HTTP client could be made")?;
    let mut response = client.get(url).send().await.map_err(reason)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("the issuer answered {}", response.status()));
    }
    let max_age = response
        .headers()
        .get(http::header::CACHE_CONTROL)
        .and_then(|value| max_age(value.to_str().ok()?));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reason)? {
        if body.len() + chunk.len() > MAX_DOCUMENT {
            return Err("the JWKS is larger than 1 MiB".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Document { body, max_age })
}

/// RFC 9111 §5.2.2.1.
fn max_age(value: &str) -> Option<Duration> {
    let seconds = value
        .split(',')
        .find_map(|directive| directive.trim().strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}

/// Why a fetch failed: the error with its causes, which is where the reason is, and without the URL, whose query may hold a key
/// of ours (hardening r12). The issuer's name tells which it was.
pub(super) fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_follows_max_age_and_grows_with_failures() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let about = |pause: Duration, wanted: Duration| pause <= wanted && pause >= wanted.mul_f64(0.9);
        assert!(about(next_pause(minutes(30), None, 0), minutes(30)));
        assert!(about(next_pause(minutes(30), Some(minutes(5)), 0), minutes(5)));
        assert!(about(
            next_pause(minutes(30), Some(Duration::ZERO), 0),
            SHORTEST_INTERVAL
        ));
        assert!(about(next_pause(minutes(30), Some(minutes(60)), 0), minutes(30)));
        assert!(about(next_pause(minutes(30), None, 1), FIRST_PAUSE));
        assert!(about(next_pause(minutes(30), None, 4), FIRST_PAUSE * 8));
        assert!(about(next_pause(minutes(30), None, u32::MAX), minutes(30)));
    }

    #[test]
    fn max_age_is_found_among_other_directives() {
        assert_eq!(max_age("public, max-age=300"), Some(Duration::from_secs(300)));
        assert_eq!(max_age("no-cache"), None);
        assert_eq!(max_age("max-age=x"), None);
    }
}
