//! Which mode of a route is in force, and why: what `gateway routes`, `gateway mode` and the status page say of it.

use serde::{Serialize, Serializer};

use crate::config::model::{AuthMethod, Config, Route};
use crate::config::{Source, Sources};
use crate::policy::route::Route as Compiled;

/// Of one route; field names are the JSON's of commands and do not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModeInForce {
    /// As the config file has it.
    pub configured: String,
    /// What judges.
    pub effective: String,
    /// Who had the last word.
    pub by: DecidedBy,
    /// Where that is written.
    pub at: String,
    /// Also judged, never obeyed.
    pub shadow: Option<String>,
    /// `10% jwt`; why it does not run, if it does not.
    pub canary: Option<String>,
}

/// Who chose the mode in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// The config file, or a file that it includes.
    File,
    /// The overrides file, by `gateway mode`.
    Overrides,
    /// The shared store, by `gateway mode --shared`.
    Shared,
    /// An environment variable.
    Environment,
    /// `server.use_jwt_auth = false`.
    UseJwtAuth,
}

impl Serialize for DecidedBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl DecidedBy {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Overrides => "overrides",
            Self::Shared => "shared",
            Self::Environment => "environment",
            Self::UseJwtAuth => "use_jwt_auth",
        }
    }

    fn of(source: &Source) -> Self {
        match source {
            Source::File(_) | Source::Written(_) => Self::File,
            Source::Override(_) => Self::Overrides,
            Source::Shared => Self::Shared,
            Source::Variable(_) => Self::Environment,
        }
    }
}

impl ModeInForce {
    /// Of each route, in their order.
    pub(super) fn of_all(config: &Config, sources: &Sources, routes: &[Compiled]) -> Vec<Self> {
        let both = config.routes.iter().zip(routes);
        both.map(|(written, route)| Self::of(config, sources, written, route))
            .collect()
    }

    fn of(config: &Config, sources: &Sources, written: &Route, route: &Compiled) -> Self {
        let switched_off = !config.server.use_jwt_auth && written.auth.chain.contains(&AuthMethod::Jwt);
        let source = if switched_off {
            sources.of("server.use_jwt_auth")
        } else {
            // A route without a mode of its own has that of the defaults.
            let own = sources.get(&format!("routes.{}.auth", written.name));
            own.cloned().unwrap_or_else(|| sources.of("defaults.auth"))
        };
        Self {
            configured: written.auth_in_file.to_string(),
            effective: route.auth.name.to_string(),
            by: if switched_off {
                DecidedBy::UseJwtAuth
            } else {
                DecidedBy::of(&source)
            },
            at: source.to_string(),
            shadow: route.shadow.as_ref().map(|mode| mode.name.to_string()),
            canary: written.canary.as_ref().map(|canary| {
                let said = format!("{}% {}", canary.percent, canary.auth);
                match &route.canary {
                    Some(_) => said,
                    None if written.overridden => format!("{said} (stopped: the mode is overridden)"),
                    None => format!("{said} (stopped: use_jwt_auth is false)"),
                }
            }),
        }
    }
}
