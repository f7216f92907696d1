//! `/status`: what `/status.json` says, for people. One page, made here, that needs nothing from elsewhere: it works without
//! JavaScript, and with it stays up to date by itself.
//!
//! INVARIANT: every text on it goes through [`text`], and the content security policy lets no inline script run.

mod table;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use table::{duration, escaped, list, put, section, text, words};

/// Keeps the page up to date: served beside it, since the page may hold no script itself.
pub(super) const SCRIPT: &str = include_str!("status_page/live.js");

const STYLE: &str = include_str!("status_page/style.css");

/// What the page may load: its own style, by digest, and the one script from this port.
pub(super) fn content_security_policy() -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    let digest = BASE64_STANDARD.encode(digest.as_ref());
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; script-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
}

/// The page, of what `/status.json` says.
pub(super) fn html(status: &Value) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>gateway</title>\n<style>{STYLE}</style>\n\
         <noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\n\
         <script src=\"/status.js\" defer></script>\n</head>\n<body>\n<main>\n"
    );
    head(&mut page, status);
    tiles(&mut page, status);
    traffic(&mut page, &status["traffic"]);
    routes(&mut page, &status["routes"]);
    issuers(&mut page, &status["issuers"]);
    validators(&mut page, &status["validators"]);
    upstreams(&mut page, &status["upstreams"]);
    limits(&mut page, &status["limits"]);
    store(&mut page, status);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn head(page: &mut String, status: &Value) {
    let (state, word) = if status["ready"] == true {
        ("good", "ready")
    } else {
        ("bad", "not ready")
    };
    let config = &status["config"];
    put(
        page,
        format_args!(
            "<header><h1>gateway <small>{}</small></h1><p><span class=\"badge {state}\">{word}</span> config generation <b>{}</b>",
            text(&status["version"]),
            text(&config["generation"]),
        ),
    );
    if let Some(at) = config["reloaded_at"]
        .as_i64()
        .and_then(|at| jiff::Timestamp::from_second(at).ok())
    {
        put(page, format_args!(", last reload <time>{at}</time>"));
    }
    page.push_str("</p></header>\n");
    if let Some(error) = config["reload_error"].as_str() {
        put(
            page,
            format_args!(
                "<section class=\"alarm\"><h2>The last change was refused</h2><p>Generation {} still runs.</p><pre>{}</pre></section>\n",
                text(&config["generation"]),
                escaped(error),
            ),
        );
    }
}

fn tiles(page: &mut String, status: &Value) {
    let traffic = &status["traffic"];
    page.push_str("<section class=\"tiles\" aria-label=\"at a glance\">\n");
    for (name, value) in [
        ("requests", text(&traffic["requests"])),
        ("in flight", text(&status["requests_in_flight"])),
        ("connections", text(&status["connections"])),
        ("median", duration(at(traffic, "/duration_seconds/p50"))),
        ("p99", duration(at(traffic, "/duration_seconds/p99"))),
        ("own share, median", duration(at(traffic, "/overhead_seconds/p50"))),
        ("own share, p99", duration(at(traffic, "/overhead_seconds/p99"))),
    ] {
        put(page, format_args!("<div><b>{value}</b><span>{name}</span></div>\n"));
    }
    page.push_str("</section>\n");
}

/// What stands at a JSON pointer (RFC 6901); null: nothing does.
fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn traffic(page: &mut String, traffic: &Value) {
    let requests = traffic["requests"].as_u64().unwrap_or_default();
    page.push_str("<div class=\"pair\">\n");
    for (title, column, counts, none) in [
        ("Answers", "status", &traffic["by_status"], "Nothing was asked yet."),
        ("Refusals", "reason", &traffic["refused"], "Nobody was refused yet."),
    ] {
        section(
            page,
            title,
            &[column, "requests", "share"],
            counts.as_object().into_iter().flatten(),
            none,
            |row, (name, count)| {
                let count = count.as_u64().unwrap_or_default();
                row.cell(escaped(name));
                row.number(count.to_string());
                row.cell(format!(
                    "<meter min=\"0\" max=\"{}\" value=\"{count}\">{count}</meter>",
                    requests.max(count).max(1)
                ));
            },
        );
    }
    page.push_str("</div>\n");
}

fn routes(page: &mut String, routes: &Value) {
    let columns = ["route", "to", "auth", "why", "shadow", "canary"];
    section(page, "Routes", &columns, list(routes), "No route.", |row, route| {
        let auth = &route["auth"];
        row.cell(format!("<b>{}</b>", text(&route["name"])));
        row.cell(text(&route["upstream"]));
        let (configured, effective) = (&auth["configured"], &auth["effective"]);
        let changed = if configured == effective {
            String::new()
        } else {
            format!(" <s>{}</s>", text(configured))
        };
        row.cell(format!("<code>{}</code>{changed}", text(effective)));
        let by = auth["by"].as_str().unwrap_or_default();
        row.cell(if by == "file" {
            "file".to_owned()
        } else {
            format!(
                "<span class=\"badge warn\">{}</span> {}",
                escaped(by),
                text(&auth["at"])
            )
        });
        for (trial, said) in [
            (&auth["shadow"], shadow as fn(&Value) -> String),
            (&auth["canary"], canary),
        ] {
            if trial.is_null() {
                row.empty();
            } else {
                row.cell(said(trial));
            }
        }
    });
}

fn shadow(shadow: &Value) -> String {
    let count = |name: &str| shadow[name].as_u64().unwrap_or_default();
    let all = count("same") + count("would_deny") + count("would_allow") + count("other_identity");
    let mut said = format!("<code>{}</code> ", text(&shadow["mode"]));
    if all == 0 {
        said.push_str("not asked yet");
        return said;
    }
    // In hundredths of a percent, rounded down: a single disagreement never shows as full agreement.
    let share = count("same").saturating_mul(10_000) / all;
    let state = if share == 10_000 { "good" } else { "warn" };
    put(
        &mut said,
        format_args!(
            "<span class=\"badge {state}\">{}.{:02}% agree</span>",
            share / 100,
            share % 100
        ),
    );
    for (name, words) in [
        ("would_deny", "would deny"),
        ("would_allow", "would allow"),
        ("other_identity", "other identity"),
        ("hidden_credentials", "hide a good credential"),
    ] {
        if count(name) > 0 {
            put(&mut said, format_args!(", {} {words}", count(name)));
        }
    }
    said
}

fn canary(canary: &Value) -> String {
    let mut said = format!("<code>{}</code>", text(&canary["mode"]));
    for arm in ["stable", "canary"] {
        let counts = at(canary, &format!("/arms/{arm}"));
        if !counts.is_null() {
            put(
                &mut said,
                format_args!(
                    "<br>{arm}: {} requests, {} refused",
                    text(&counts["requests"]),
                    text(&counts["refused"])
                ),
            );
        }
    }
    said
}

fn issuers(page: &mut String, issuers: &Value) {
    section(
        page,
        "Issuers",
        &["issuer", "keys", "age", "state"],
        list(issuers),
        "No issuer: no route takes tokens.",
        |row, issuer| {
            row.cell(format!("<b>{}</b>", text(&issuer["name"])));
            row.cell(words(&issuer["keys"]));
            row.number(duration(&issuer["age_seconds"]));
            row.cell(match issuer["last_error"].as_str() {
                None => badge("good", "fine"),
                Some(error) => format!("{} {}", badge("bad", "failing"), escaped(error)),
            });
        },
    );
}

/// Auth services that are asked about keys and tokens; most gateways have none.
fn validators(page: &mut String, validators: &Value) {
    if list(validators).next().is_none() {
        return;
    }
    let columns = ["service", "answers kept", "being asked", "state"];
    section(page, "Auth services", &columns, list(validators), "", |row, service| {
        row.cell(format!("<b>{}</b>", text(&service["name"])));
        row.number(text(&service["entries"]));
        row.number(text(&service["in_flight"]));
        let state = match (service["up"] == true, service["breaker"] == "open") {
            (true, false) => badge("good", "fine"),
            (_, true) => badge("bad", "not asked for a while"),
            (false, false) => badge("bad", "failing"),
        };
        let error = service["last_error"].as_str().map(escaped).unwrap_or_default();
        row.cell(format!("{state} {error}"));
    });
}

fn upstreams(page: &mut String, upstreams: &Value) {
    section(
        page,
        "Upstreams",
        &["upstream", "endpoints", "in flight"],
        list(upstreams),
        "No upstream.",
        |row, upstream| {
            row.cell(format!("<b>{}</b>", text(&upstream["name"])));
            let endpoints = list(&upstream["endpoints"]).map(|endpoint| {
                let state = if endpoint["up"] == true {
                    badge("good", "up")
                } else {
                    badge("bad", "down")
                };
                format!("{state} {}", text(&endpoint["name"]))
            });
            row.cell(endpoints.collect::<Vec<_>>().join("<br>"));
            row.number(text(&upstream["in_flight"]));
        },
    );
}

fn limits(page: &mut String, limits: &Value) {
    let columns = ["limit", "rate", "by", "callers counted", "allowed", "refused"];
    section(page, "Limits", &columns, list(limits), "No limit.", |row, limit| {
        row.cell(format!("<b>{}</b>", text(&limit["name"])));
        row.cell(text(&limit["rate"]));
        row.cell(text(&limit["by"]));
        row.number(text(&limit["keys"]));
        row.number(text(&limit["allowed"]));
        row.number(text(&limit["refused"]));
    });
}

/// What is shared with other gateways; nothing without a `[redis]`.
fn store(page: &mut String, status: &Value) {
    let (redis, revocation) = (&status["redis"], &status["revocation"]);
    let mut rows = Vec::new();
    if !redis.is_null() {
        let state = if redis["up"] == true {
            badge("good", "connected")
        } else {
            let error = redis["error"].as_str().map(escaped).unwrap_or_default();
            format!("{} {error}", badge("bad", "away"))
        };
        rows.push(("Redis", state));
    }
    if !revocation.is_null() {
        let state = if revocation["current"] == true {
            badge("good", "current")
        } else {
            let meanwhile = text(&revocation["on_store_error"]);
            format!(
                "{} for {}; meanwhile: {meanwhile}",
                badge("bad", "not followed"),
                duration(&revocation["age_seconds"])
            )
        };
        rows.push(("Revocations", format!("{state} {} known", text(&revocation["entries"]))));
    }
    if rows.is_empty() {
        return;
    }
    section(
        page,
        "Shared",
        &["what", "state"],
        rows.into_iter(),
        "",
        |row, (name, state)| {
            row.cell(format!("<b>{name}</b>"));
            row.cell(state);
        },
    );
}

/// A word that is seen from afar.
fn badge(state: &str, word: &str) -> String {
    format!("<span class=\"badge {state}\">{word}</span>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_wrote_cannot_become_markup() {
        let evil = "<script>alert(1)</script>\"'&";
        let page = html(&json!({
            "version": evil,
            "config": { "generation": 3, "reload_error": evil },
            "routes": [{ "name": evil, "upstream": evil, "auth": { "configured": evil, "effective": "jwt", "by": evil, "at": evil } }],
            "issuers": [{ "name": evil, "keys": [evil], "last_error": evil }],
            "upstreams": [{ "name": evil, "endpoints": [{ "name": evil, "up": false }] }],
            "validators": [{ "name": evil, "up": false, "breaker": evil, "last_error": evil }],
            "redis": { "up": false, "error": evil },
            "revocation": { "current": false, "entries": evil, "on_store_error": evil },
            "limits": [{ "name": evil, "rate": evil, "by": evil }],
            "traffic": { "refused": { evil: 1 } },
        }));
        assert!(!page.contains("<script>") && !page.contains("\"'&"), "{page}");
        assert_eq!(page.matches("<script").count(), 1, "only our own, from this port");
    }

    #[test]
    fn a_single_disagreement_is_not_rounded_away() {
        let said = shadow(&json!({ "mode": "jwt", "same": 99_999, "would_deny": 1 }));
        assert!(said.contains("99.99% agree") && said.contains("1 would deny"), "{said}");
        assert!(shadow(&json!({ "mode": "jwt", "same": 5 })).contains("100.00% agree"));
        assert!(shadow(&json!({ "mode": "jwt", "same": 0 })).contains("not asked yet"));
    }
}
