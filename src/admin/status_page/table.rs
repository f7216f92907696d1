//! What the page is made of: sections with a table each, and values as text.
//!
//! INVARIANT: every text that is not our own goes through [`escaped`].

use std::fmt::Write as _;

use serde_json::Value;

/// A row of a table; on a narrow screen each cell bears its column's name.
pub(super) struct Row<'c> {
    columns: std::slice::Iter<'c, &'c str>,
    html: String,
}

impl Row<'_> {
    pub(super) fn cell(&mut self, html: String) {
        self.put("", &html);
    }

    pub(super) fn number(&mut self, html: String) {
        self.put(" class=\"number\"", &html);
    }

    /// Nothing to say here.
    pub(super) fn empty(&mut self) {
        self.put(" class=\"empty\"", "-");
    }

    fn put(&mut self, class: &str, html: &str) {
        let column = self.columns.next().unwrap_or(&"");
        put(
            &mut self.html,
            format_args!("<td{class} data-column=\"{column}\"><span>{html}</span></td>"),
        );
    }
}

pub(super) fn section<T>(
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

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Entries of a list: texts, or objects that have a `kid` or a name.
pub(super) fn words(value: &Value) -> String {
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
pub(super) fn duration(seconds: &Value) -> String {
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
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => escaped(text),
        other => escaped(&other.to_string()),
    }
}

pub(super) fn escaped(text: &str) -> String {
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

pub(super) fn put(page: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(what);
}
