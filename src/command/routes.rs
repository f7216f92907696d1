//! `gateway routes`: the table of routes, in the order of the file.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::compile::ModeInForce;
use crate::config::model::{Action, Route as Written};
use crate::config::{Source, Sources};
use crate::demo::Paint;
use crate::policy::authz::Requirement;
use crate::policy::limit::Limit;
use crate::policy::route::{Methods, Route};

use super::{compiled, print_json};

/// How it is shown.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// 0, or 3 with what is wrong with the config.
pub(super) fn run(config: &Path, options: &Options) -> ExitCode {
    let (loaded, compiled) = match compiled(config) {
        Ok(compiled) => compiled,
        Err(code) => return code,
    };
    let both = loaded.config.routes.iter().zip(&compiled.policy.routes);
    let rows: Vec<Row> = both
        .zip(&compiled.modes)
        .map(|((written, route), mode)| Row::of(written, route, mode, &loaded.sources))
        .collect();
    if options.json {
        return print_json(&rows, ExitCode::SUCCESS);
    }
    print!("{}", table(&rows, Paint::for_stdout()));
    ExitCode::SUCCESS
}

/// One route; field names are the JSON's and do not change.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// Empty: all.
    listeners: Vec<String>,
    /// Empty: any.
    hosts: Vec<String>,
    paths: Vec<String>,
    /// Empty: any.
    methods: Vec<String>,
    /// Where requests go, or what is answered at once.
    upstream: String,
    auth: ModeInForce,
    require: Vec<Required>,
    limits: Vec<LimitRow>,
    /// Where each key was written; those not named hold their default.
    sources: BTreeMap<String, String>,
    /// The route's own place, and what came from elsewhere.
    #[serde(skip)]
    from: String,
}

#[derive(Debug, Serialize)]
struct Required {
    /// Empty: any.
    methods: Vec<String>,
    /// `scopes_all model:read`; of several, any one does.
    what: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LimitRow {
    name: String,
    rate: String,
    by: String,
}

impl Row {
    fn of(written: &Written, route: &Route, mode: &ModeInForce, sources: &Sources) -> Self {
        let own = Origins::of(&written.name, sources);
        Self {
            name: written.name.clone(),
            listeners: written.listeners.clone(),
            hosts: written.hosts.clone(),
            paths: written.paths.clone(),
            methods: written.methods.clone(),
            upstream: match &written.action {
                Action::Upstream(name) => name.clone(),
                Action::Respond { status, .. } => format!("respond {status}"),
                Action::Redirect { to, status } => format!("redirect {status} {to}"),
            },
            auth: mode.clone(),
            require: route.requirements.iter().map(required).collect(),
            limits: route.limits().map(limit_row).collect(),
            from: own.from(),
            sources: own.keys.into_iter().map(|(key, from)| (key.to_owned(), from)).collect(),
        }
    }

    /// As many cells as [`TITLES`].
    fn cells(&self) -> [String; 9] {
        let any = |list: &[String]| {
            if list.is_empty() {
                "*".to_owned()
            } else {
                list.join(" ")
            }
        };
        let none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        let mut auth = self.auth.configured.clone();
        let now = format!("{} (by {})", self.auth.effective, self.auth.at);
        for (what, mode) in [
            ("now", Some(&now).filter(|_| self.auth.effective != auth)),
            ("shadow", self.auth.shadow.as_ref()),
            ("canary", self.auth.canary.as_ref()),
        ] {
            if let Some(mode) = mode {
                auth = format!("{auth}; {what} {mode}");
            }
        }
        let require = self.require.iter().map(|required| {
            let methods = required.methods.join(" ");
            let space = if methods.is_empty() { "" } else { ": " };
            format!("{methods}{space}{}", required.what.join(", "))
        });
        let limits = self
            .limits
            .iter()
            .map(|limit| format!("{} {} by {}", limit.name, limit.rate, limit.by));
        [
            self.name.clone(),
            any(&self.hosts),
            self.paths.join(" "),
            any(&self.methods),
            self.upstream.clone(),
            auth,
            none(require.collect::<Vec<_>>().join("; ")),
            none(limits.collect::<Vec<_>>().join(", ")),
            self.from.clone(),
        ]
    }
}

/// Where a route's values came from.
struct Origins<'s> {
    /// The route itself.
    route: Source,
    /// Each key that was written, and where.
    keys: Vec<(&'s str, String)>,
    /// Those that were written somewhere else than in the route.
    elsewhere: Vec<String>,
}

impl<'s> Origins<'s> {
    fn of(route: &str, sources: &'s Sources) -> Self {
        let table = format!("routes.{route}");
        let mut origins = Self {
            route: sources.of(&table),
            keys: Vec::new(),
            elsewhere: Vec::new(),
        };
        for (key, source) in sources.right_below(&table) {
            let inherited = sources.get(&format!("defaults.{key}")) == Some(source);
            let from = if inherited {
                format!("{source} [defaults]")
            } else {
                source.to_string()
            };
            let is_outside = match source {
                Source::Variable(_) | Source::Override(_) | Source::Shared => true,
                Source::File(_) | Source::Written(_) => false,
            };
            if inherited || is_outside {
                origins.elsewhere.push(format!("{key}: {from}"));
            }
            origins.keys.push((key, from));
        }
        origins
    }

    fn from(&self) -> String {
        let own = std::iter::once(self.route.to_string());
        own.chain(self.elsewhere.iter().cloned()).collect::<Vec<_>>().join("; ")
    }
}

fn required((methods, requirement): &(Methods, Requirement)) -> Required {
    let parts = requirement.parts().into_iter();
    Required {
        methods: methods.iter().map(ToString::to_string).collect(),
        what: parts
            .map(|part| format!("{} {}", part.key, part.wanted.join("|")))
            .collect(),
    }
}

fn limit_row(limit: &Limit) -> LimitRow {
    LimitRow {
        name: limit.name.to_string(),
        rate: limit.plan.measure.to_string(),
        by: limit.by.to_string(),
    }
}

const TITLES: [&str; 9] = [
    "ROUTE", "HOST", "PATH", "METHODS", "UPSTREAM", "AUTH", "REQUIRE", "LIMITS", "FROM",
];

/// Columns as wide as their widest cell; the last is not padded.
fn table(rows: &[Row], paint: Paint) -> String {
    let mut lines = vec![TITLES.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let mut out = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = lines
                .iter()
                .filter_map(|other| other.get(column))
                .map(|cell| cell.chars().count())
                .max();
            out.push_str(&format!("{cell:width$}  ", width = width.unwrap_or(0)));
        }
        let line = out.trim_end();
        text.push_str(&if index == 0 {
            paint.strong(line)
        } else {
            line.to_owned()
        });
        text.push('\n');
    }
    text
}
