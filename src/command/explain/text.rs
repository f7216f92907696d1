//! The report for people: the verdict first, then why.

use std::fmt::Write as _;

use crate::demo::Paint;

use super::report::{
    Answered, CanarySaid, Decision, LimitSaid, Outcome, Report, Required, Revocation, Sent, ShadowSaid, Step,
};

/// The whole text.
pub(super) fn of(report: &Report, paint: Paint) -> String {
    let mut text = verdict(report, paint);
    text.push('\n');
    let mut section = |name: &str, lines: Vec<String>| {
        for (index, line) in lines.iter().enumerate() {
            let head = if index == 0 { name } else { "" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {line}", paint.strong(&format!("{head:12}")));
        }
    };
    section("logged", report.logged.iter().flat_map(logged).collect());
    section("route", route(report));
    let misses = report.near_misses.iter();
    section(
        "near misses",
        misses.map(|miss| format!("{}: {}", miss.route, miss.text)).collect(),
    );
    section("canary", report.canary.iter().map(canary).collect());
    section("chain", report.chain.iter().map(|step| chain(step, paint)).collect());
    section("shadow", report.shadow.iter().map(|said| shadow(said, paint)).collect());
    section("revocation", report.revocation.iter().map(revocation).collect());
    section(
        "requires",
        report.requirements.iter().map(|one| required(one, paint)).collect(),
    );
    section("limits", report.limits.iter().map(limit).collect());
    section(
        "upstream",
        report.upstream.iter().flat_map(|sent| head(sent, paint)).collect(),
    );
    section(
        "answer",
        report.answer.iter().flat_map(|given| answer(given, paint)).collect(),
    );
    text
}

fn verdict(report: &Report, paint: Paint) -> String {
    match (
        report.decision,
        report.status,
        report.error.as_deref(),
        report.detail.as_deref(),
    ) {
        (Decision::Allow, ..) => paint.good("ALLOW"),
        (Decision::Deny, Some(status), Some(error), Some(detail)) => {
            let limit = report.limit.iter().zip(report.retry_after);
            let limit: String = limit
                .map(|(limit, seconds)| format!(", by limit {limit}, retry after {seconds} s"))
                .collect();
            format!("{} {status} {error} ({detail}{limit})", paint.bad("DENY"))
        }
        (Decision::Deny, ..) => paint.bad("DENY"),
        (Decision::Unknown, ..) => {
            let missing = report.missing.as_deref().unwrap_or("nothing listens");
            format!("{}: missing: {missing}", paint.strong("CANNOT TELL"))
        }
    }
}

fn route(report: &Report) -> Vec<String> {
    let mut lines = match (&report.route, &report.path, &report.mode) {
        (Some(route), Some(path), Some(mode)) => vec![format!("{route} by {path}, auth {mode}")],
        _ => vec!["none".to_owned()],
    };
    if let Some(host) = &report.assumed_host {
        lines.push(format!("as for host {host}: no route takes any host"));
    }
    lines.push(format!("client {} at listener {}", report.client, report.listener));
    lines
}

fn chain(step: &Step, paint: Paint) -> String {
    let outcome = match step.outcome {
        Outcome::Absent => paint.faint("absent"),
        Outcome::Accepted => paint.good("accepted"),
        Outcome::Rejected => paint.bad("rejected"),
        Outcome::Unknown => paint.strong("presented, cannot be judged"),
        Outcome::NotReached => paint.faint("not reached"),
    };
    let mut line = format!("{}: {outcome}", step.method);
    if let Some(user) = &step.proved {
        let _ = write!(line, " as {user}");
    }
    if let Some(detail) = &step.detail {
        let _ = write!(line, " ({detail})");
    }
    line
}

/// Who it was and where it went, by the fields of its line.
fn logged(line: &serde_json::Value) -> Vec<String> {
    let groups: [&[&str]; 3] = [
        &[
            "time",
            "status",
            "duration_ms",
            "upstream_ms",
            "arm",
            "shadow",
            "shadow_reason",
            "limit",
        ],
        &[
            "user_id",
            "acting_for",
            "client_id",
            "key_id",
            "issuer",
            "tenant",
            "scope",
        ],
        &["upstream", "endpoint", "trace_id"],
    ];
    let said = |fields: &[&str]| {
        let field = |name: &&str| {
            let value = &line[*name];
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (!value.is_null()).then(|| format!("{name} {text}"))
        };
        fields.iter().filter_map(field).collect::<Vec<_>>().join(", ")
    };
    let mut lines: Vec<String> = groups.map(said).into_iter().filter(|said| !said.is_empty()).collect();
    lines.push("its credential is in no log: who it was is told as it was decided then".to_owned());
    lines
}

fn canary(canary: &CanarySaid) -> String {
    format!("{}% by {}; this caller: {}", canary.percent, canary.mode, canary.arm)
}

fn shadow(said: &ShadowSaid, paint: Paint) -> String {
    let mut line = match (said.decision, said.error) {
        (Decision::Allow, _) => format!("{}: {}", said.mode, paint.good("would allow")),
        (Decision::Deny, error) => format!(
            "{}: {} {}",
            said.mode,
            paint.bad("would deny"),
            error.unwrap_or_default()
        ),
        (Decision::Unknown, _) => {
            let missing = said.missing.as_deref().unwrap_or_default();
            return format!("{}: cannot tell: missing are {missing}", said.mode);
        }
    };
    if let Some(detail) = said.detail {
        let _ = write!(line, " ({detail})");
    }
    if let Some(user) = &said.user {
        let _ = write!(line, " as {user}");
    }
    if let Some(difference) = said.difference {
        let _ = write!(line, ", {difference}");
    }
    if let Some(hidden) = said.hidden {
        let _ = write!(line, "; hides a good credential for {hidden}");
    }
    line
}

fn revocation(said: &Revocation) -> String {
    let said = match said {
        Revocation::Asked => "nothing that is revoked in Redis names this caller",
        Revocation::NotAsked => "not asked: a gateway also refuses what is revoked in Redis; --online looks there",
    };
    said.to_owned()
}

fn required(required: &Required, paint: Paint) -> String {
    let met = match required.met {
        Some(true) => paint.good("met"),
        Some(false) => paint.bad("unmet"),
        None => paint.faint("not judged"),
    };
    format!("{} {}: {met}", required.require, required.wanted.join(" or "))
}

fn limit(limit: &LimitSaid) -> String {
    let mut line = format!("{}: {}", limit.name, limit.rate);
    if limit.tokens {
        line.push_str(" tokens");
    }
    // Writing to a String cannot fail.
    let _ = write!(line, " by {}", limit.by);
    if let Some(burst) = limit.burst {
        let _ = write!(line, ", burst {burst}");
    }
    if !limit.charge_on.is_empty() {
        let statuses: Vec<String> = limit.charge_on.iter().map(ToString::to_string).collect();
        let _ = write!(line, ", for answers of {}", statuses.join(" "));
    }
    if let Some(tier) = &limit.tier {
        let _ = write!(line, ", tier {tier}");
    }
    line
}

/// As a patch is written: `+` before what is added to the client's head, `-` before what is taken off it.
fn head(sent: &Sent, paint: Paint) -> Vec<String> {
    let mut lines = vec![
        format!("{} at {}", sent.name, sent.url),
        format!("as {}", sent.full_url),
        format!("{} {} HTTP/1.1", sent.method, sent.target),
    ];
    let mut added = sent.added.iter().collect::<Vec<_>>();
    lines.extend(sent.headers.iter().map(|header| {
        let (name, value) = header;
        let same = added.iter().position(|added| *added == header);
        let mark = match same.map(|place| added.remove(place)) {
            Some(_) => paint.good("+"),
            None => " ".to_owned(),
        };
        format!("{mark} {} {value}", paint.faint(&format!("{name}:")))
    }));
    lines.extend(sent.removed.iter().map(|name| format!("{} {name}", paint.bad("-"))));
    lines
}

fn answer(answer: &Answered, paint: Paint) -> Vec<String> {
    let mut lines = vec![answer.status.to_string()];
    let headers = answer.headers.iter();
    lines.extend(headers.map(|(name, value)| format!("{} {value}", paint.faint(&format!("{name}:")))));
    lines.extend(answer.body.iter().flat_map(|body| body.lines()).map(str::to_owned));
    lines
}
