//! A request by its line in the access log: what was decided then, beside what the config says of its route now.
//!
//! A line has no credential, so who it was is told as it was logged and not judged again.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;

use super::report::{Decision, Outcome, Report};

/// A line of the access log.
pub(super) struct Logged(Value);

impl Logged {
    /// The last line of the request that went by this id.
    ///
    /// # Errors
    /// No such file, or no such line in it.
    pub(super) fn find(log: &Path, id: &str) -> Result<Self, String> {
        let named = |why: &dyn std::fmt::Display| format!("{}: {why}", log.display());
        let file = File::open(log).map_err(|error| named(&error))?;
        let mut found = None;
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(|error| named(&error))?;
            // Parsing every line of a long log takes minutes; looking for the id does not.
            if memchr::memmem::find(&line, id.as_bytes()).is_none() {
                continue;
            }
            let read: Option<Value> = serde_json::from_slice(&line).ok();
            found = read
                .filter(|line| line["request_id"] == id && line["message"] == "request")
                .or(found);
        }
        found.map(Self).ok_or_else(|| {
            named(&format!(
                "no access line of request \"{id}\" (log.format must be \"json\")"
            ))
        })
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    /// Method and URL, as far as a line has them: without the query.
    pub(super) fn request(&self) -> Result<(String, String), String> {
        let (Some(method), Some(path)) = (self.text("method"), self.text("path")) else {
            return Err("its head could not be read, so that there is nothing to explain".to_owned());
        };
        let url = match self.text("host") {
            Some(host) => format!("http://{host}{path}"),
            None => path.to_owned(),
        };
        Ok((method.to_owned(), url))
    }

    pub(super) fn client(&self) -> Option<IpAddr> {
        self.text("client_ip")?.parse().ok()
    }

    pub(super) fn listener(&self) -> Option<&str> {
        self.text("listener")
    }

    /// Puts what was decided then in the place of what would be decided of a request without its credential.
    pub(super) fn tell(self, mut report: Report) -> Report {
        report.decision = if self.text("decision") == Some("allow") {
            Decision::Allow
        } else {
            Decision::Deny
        };
        let own = |field: &str| self.text(field).map(str::to_owned);
        (report.error, report.detail) = (own("reason"), own("detail"));
        report.status = self
            .0
            .get("status")
            .and_then(Value::as_u64)
            .and_then(|status| u16::try_from(status).ok());
        if report.route != own("route") {
            report.chain.clear();
            report.near_misses.clear();
        }
        (report.route, report.mode) = (own("route"), own("auth_mode").or(report.mode));
        let judged = self.text("auth_method");
        let proved = own("acting_for").or_else(|| own("user_id"));
        let mut reached = judged.is_some();
        for step in &mut report.chain {
            step.detail = None;
            step.outcome = match (judged == Some(step.method), reached) {
                (true, _) => {
                    reached = false;
                    step.proved.clone_from(&proved);
                    let let_in = report.decision == Decision::Allow || proved.is_some();
                    if let_in { Outcome::Accepted } else { Outcome::Rejected }
                }
                (false, true) => Outcome::Absent,
                (false, false) => Outcome::NotReached,
            };
        }
        for required in &mut report.requirements {
            required.met = None;
        }
        (report.missing, report.identity, report.upstream, report.shadow) = (None, None, None, None);
        report.logged = Some(self.0);
        report
    }
}
