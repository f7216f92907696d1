//! `/status`: what `/status.json` says, for people. One page, made here, that needs nothing from elsewhere: it works without
//! JavaScript, and with it stays up to date by itself.
//!
//! INVARIANT: every text on it goes through [`text`], and the content security policy lets no inline script run.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

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
    upstreams(&mut page, &status["upstreams"]);
    limits(&mut page, &status["limits"]);
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
        row.cell(shadow(&auth["shadow"]));
        row.cell(canary(&auth["canary"]));
    });
}

fn shadow(shadow: &Value) -> String {
    if shadow.is_null() {
        return "-".to_owned();
    }
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
    if canary.is_null() {
        return "-".to_owned();
    }
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
                None => "<span class=\"badge good\">fine</span>".to_owned(),
                Some(error) => format!("<span class=\"badge bad\">failing</span> {}", escaped(error)),
            });
        },
    );
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
                let name = if endpoint.is_object() {
                    text(&endpoint["name"])
                } else {
                    text(endpoint)
                };
                let is_down = endpoint["up"] == false || endpoint["healthy"] == false;
                if is_down {
                    format!("<span class=\"badge bad\">down</span> {name}")
                } else {
                    name
                }
            });
            row.cell(endpoints.collect::<Vec<_>>().join("<br>"));
            row.number(text(&upstream["in_flight"]));
        },
    );
}

fn limits(page: &mut String, limits: &Value) {
    section(
        page,
        "Limits",
        &["limit", "callers counted", "refused"],
        list(limits),
        "No limit.",
        |row, limit| {
            row.cell(format!("<b>{}</b>", text(&limit["name"])));
            row.number(text(&limit["keys"]));
            row.number(text(&limit["refused"]));
        },
    );
}

/// A row of a table; on a narrow screen each cell bears its column's name.
struct Row<'c> {
    columns: std::slice::Iter<'c, &'c str>,
    html: String,
}

impl Row<'_> {
    fn cell(&mut self, html: String) {
        self.put("", &html);
    }

    fn number(&mut self, html: String) {
        self.put(" class=\"number\"", &html);
    }

    fn put(&mut self, class: &str, html: &str) {
        let column = self.columns.next().unwrap_or(&"");
        put(
            &mut self.html,
            format_args!("<td{class} data-column=\"{column}\"><span>{html}</span></td>"),
        );
    }
}

fn section<T>(
    page: &mut String,
    title: &str,
    columns: &[&str],
    items: impl Iterator<Item = T>,
    none: &str,
    row: impl Fn(&mut Row<'_>, T),
) {
    put(page, format_args!("<section><h2>{title}</h2>\n"));
    let mut rows = String::new();
    for item in items {
        let mut line = Row {
            columns: columns.iter(),
            html: String::new(),
        };
        row(&mut line, item);
        put(&mut rows, format_args!("<tr>{}</tr>\n", line.html));
    }
    if rows.is_empty() {
        put(page, format_args!("<p class=\"none\">{none}</p></section>\n"));
        return;
    }
    let heads: String = columns
        .iter()
        .map(|column| format!("<th scope=\"col\">{column}</th>"))
        .collect();
    put(
        page,
        format_args!("<table><thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table></section>\n"),
    );
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Entries of a list: texts, or objects that have a `kid` or a name.
fn words(value: &Value) -> String {
    let word = |entry: &Value| match entry {
        Value::Object(own) => own.get("kid").or(own.get("name")).map_or_else(|| "-".to_owned(), text),
        other => text(other),
    };
    let words: Vec<String> = list(value).map(word).collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

/// Seconds, as people say them.
fn duration(seconds: &Value) -> String {
    match seconds.as_f64() {
        None => "-".to_owned(),
        Some(seconds) if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        Some(seconds) if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.0} s"),
        Some(seconds) if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        Some(seconds) => format!("{:.0} h", seconds / 3600.0),
    }
}

/// A value as text that is safe on the page.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => escaped(text),
        other => escaped(&other.to_string()),
    }
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

fn put(page: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(what);
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
            "upstreams": [{ "name": evil, "endpoints": [evil, { "name": evil, "up": false }] }],
            "limits": [{ "name": evil }],
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
