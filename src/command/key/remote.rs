//! `gateway key create`, `list` and `revoke`: API keys that an auth service holds, through `api_keys.remote.manage_url`.
//!
//! POST makes one (JSON: `name`, `scopes`, the owner under the name of `fields.user`, `expires_at`), GET lists them, DELETE of
//! `manage_url/ID` revokes. What is asked and shown is plain; our own token is shown nowhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode, Url};
use serde_json::{Map, Value, json};

use crate::command::waiting_for;
use crate::config::model::RemoteKeys;
use crate::config::secret::Secret;
use crate::config::{Environment, load};
use crate::runtime::http_client::{body_within, client_of, is_plain, reason};

/// Of the whole request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer.
const MAX_ANSWER: usize = 4 << 20;

/// Names that auth services give to what they show once.
const KEY_NAMES: [&str; 4] = ["api_key", "key", "secret", "token"];

/// Names that they give to an id.
const ID_NAMES: [&str; 3] = ["key_id", "id", "prefix"];

/// The key that is wanted.
#[derive(Debug, Args)]
pub(in crate::command) struct Wanted {
    /// What it is for.
    #[arg(long)]
    name: String,
    /// What it may do, comma-separated.
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<String>,
    /// Whose it is; else whose the auth service says.
    #[arg(long)]
    user: Option<String>,
    /// How long it lives: 12h, 90d. Else as the auth service says.
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    expires_in: Option<Duration>,
}

/// Makes one, and shows it once.
pub(super) fn create(config: &Path, wanted: &Wanted) -> Result<(), String> {
    let service = Service::of(config)?;
    let mut body = json!({ "name": wanted.name, "scopes": wanted.scopes });
    if let Value::Object(members) = &mut body {
        if let Some(user) = &wanted.user {
            members.insert(service.user_field.clone(), json!(user));
        }
        if let Some(lifetime) = wanted.expires_in {
            members.insert("expires_at".to_owned(), json!(moment_in(lifetime)?));
        }
    }
    let answer = service.ask(Method::POST, None, Some(&body))?;
    let Value::Object(made) = &answer else {
        return Err("the auth service made a key and did not say which".to_owned());
    };
    let key = named(made, &KEY_NAMES).ok_or("the auth service made a key and did not show it")?;
    println!("{key}");
    println!();
    println!("# It is shown this once.");
    let shown_already = |name: &str| KEY_NAMES.contains(&name);
    for (name, value) in made.iter().filter(|(name, _)| !shown_already(name)) {
        println!("# {name}: {}", plain(value));
    }
    Ok(())
}

/// Lists them, one a line.
pub(super) fn list(config: &Path, as_json: bool) -> Result<(), String> {
    let service = Service::of(config)?;
    let answer = service.ask(Method::GET, None, None)?;
    if as_json {
        println!("{answer:#}");
        return Ok(());
    }
    let keys = match &answer {
        Value::Array(keys) => Some(keys),
        Value::Object(members) => members.values().find_map(Value::as_array),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    for key in keys.ok_or("the auth service's answer has no list of keys")? {
        let Value::Object(members) = key else { continue };
        let id = named(members, &ID_NAMES).unwrap_or_else(|| "-".to_owned());
        let is_id = |name: &str, value: &Value| ID_NAMES.contains(&name) && plain(value) == id;
        let rest = members.iter().filter(|(name, value)| {
            // A list has no business with keys; should one have, it is not shown.
            !KEY_NAMES.contains(&name.as_str()) && !value.is_null() && !is_id(name, value)
        });
        let rest: Vec<String> = rest.map(|(name, value)| format!("{name}={}", plain(value))).collect();
        println!("{id}  {}", rest.join("  "));
    }
    Ok(())
}

/// Revokes one.
pub(super) fn revoke(config: &Path, id: &str) -> Result<(), String> {
    let service = Service::of(config)?;
    service.ask(Method::DELETE, Some(id), None)?;
    println!("{id} is revoked; a gateway that knows it lets go of it within api_keys.remote.cache_ttl");
    Ok(())
}

/// The auth service's management.
struct Service {
    url: Url,
    token: Secret,
    user_field: String,
    ca: Option<PathBuf>,
}

impl Service {
    fn of(config: &Path) -> Result<Self, String> {
        let loaded = load(config, &Environment::of_process()).map_err(|errors| errors.to_string())?;
        let remote = loaded.config.api_keys.and_then(|keys| keys.remote);
        let RemoteKeys {
            manage_url,
            manage_token,
            fields,
            ca,
            ..
        } = remote.ok_or("the config has no [api_keys.remote]: there is no auth service to ask")?;
        let url = manage_url.ok_or("api_keys.remote.manage_url is not set: it says where keys are managed")?;
        let token = manage_token.ok_or(
            "api_keys.remote.manage_token is not set; put \"${env:NAME}\" there and the administrator's token in that variable",
        )?;
        Ok(Self {
            url: url.parse().map_err(|_| "api_keys.remote.manage_url is no URL")?,
            token,
            user_field: fields.user,
            ca,
        })
    }

    /// Asks, and gives the answer's JSON; null where there is none.
    fn ask(&self, method: Method, id: Option<&str>, body: Option<&Value>) -> Result<Value, String> {
        let mut url = self.url.clone();
        if let Some(id) = id {
            // As one segment, whatever it holds.
            let mut segments = url
                .path_segments_mut()
                .map_err(|()| "api_keys.remote.manage_url has no path")?;
            segments.pop_if_empty().push(id);
        }
        waiting_for(self.answer(method, url, body))?
    }

    async fn answer(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Value, String> {
        let place = format!("{}{}", url.origin().ascii_serialization(), url.path());
        let failed = |error: reqwest::Error| format!("{place}: {}", reason(error));
        let client = client_of(is_plain(self.url.as_str()), self.ca.as_deref(), TIMEOUT)?;
        let client = client.build().map_err(failed)?;
        let mut request = client.request(method, url).bearer_auth(self.token.expose());
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let bytes = body_within(MAX_ANSWER, response).await.map_err(failed)?;
        let bytes = bytes.ok_or_else(|| format!("{place}: its answer is larger than 4 MiB"))?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match status {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(format!(
                "{place}: the auth service refused api_keys.remote.manage_token ({status})"
            )),
            StatusCode::NOT_FOUND => Err(format!("{place}: there is no such thing ({status})")),
            status => {
                let reason = answer
                    .as_object()
                    .and_then(|answer| named(answer, &["error_description", "detail", "error"]));
                Err(format!(
                    "{place}: {status}{}",
                    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
                ))
            }
        }
    }
}

/// The first of these members that is there.
fn named(members: &Map<String, Value>, names: &[&str]) -> Option<String> {
    let found = names
        .iter()
        .find_map(|name| members.get(*name).filter(|value| !value.is_null()));
    found.map(plain)
}

/// A value as people read it, in one line.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    };
    // What a stranger wrote must not steer a terminal.
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Not the duration of the config, which ends at 365 days: a key may live for years.
fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a number and s, m, h or d, such as 90d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = number
        .checked_mul(seconds)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

/// RFC 3339, in UTC.
fn moment_in(lifetime: Duration) -> Result<String, String> {
    let seconds = i64::try_from(lifetime.as_secs()).map_err(|_| "--expires-in is too long")?;
    let moment = jiff::Timestamp::now().as_second().checked_add(seconds);
    let moment = moment.and_then(|moment| jiff::Timestamp::from_second(moment).ok());
    Ok(moment.ok_or("--expires-in is too long")?.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_and_a_unit() {
        assert_eq!(lifetime("90d").unwrap(), Duration::from_secs(90 * 86_400));
        assert_eq!(lifetime("12h").unwrap(), Duration::from_secs(43_200));
        for text in ["", "d", "0d", "90", "-1d", "1w", "18446744073709551615d", "1é"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_stranger_wrote_cannot_steer_a_terminal() {
        assert_eq!(plain(&json!(["a", "b\u{1b}[2J"])), "a,b?[2J");
    }
}
