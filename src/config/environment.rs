//! The process environment as the reader sees it: values by name, and a ledger of which were used.
//!
//! Imports only `error`. A `GATEWAY__…` variable that nobody asked for is an error: a misspelt rollback must not be
//! silent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::error::{Problems, Source, nearest};

/// What an override's name begins with.
const PREFIX: &str = "GATEWAY__";

/// What surrounds a config: environment variables, and modes of routes that come from elsewhere than its files. A variable whose
/// name or value is not Unicode counts as not set.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// In place of the overrides file.
    pub(super) overrides: Option<String>,
    /// What gateways share.
    pub(super) shared: Modes,
}

/// Modes by route, each a mode's name or methods joined by commas.
pub type Modes = BTreeMap<String, String>;

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// With this text in place of the overrides file.
    #[must_use]
    pub fn with_overrides(self, text: String) -> Self {
        Self {
            overrides: Some(text),
            ..self
        }
    }

    /// With modes that gateways share: above the overrides file, below the variables. One that does not fit is ignored, for the
    /// files of one gateway may have moved on; `Loaded::ignored_modes` tells.
    #[must_use]
    pub fn with_shared(self, shared: Modes) -> Self {
        Self { shared, ..self }
    }
}

/// The environment while a config is read.
pub(super) struct Variables<'e> {
    environment: &'e Environment,
    /// Names that were asked for and set.
    used: BTreeSet<String>,
    /// Names of keys that were asked for.
    known: BTreeSet<String>,
}

impl<'e> Variables<'e> {
    pub(super) fn new(environment: &'e Environment) -> Self {
        Self {
            environment,
            used: BTreeSet::new(),
            known: BTreeSet::new(),
        }
    }

    /// The override of a key by its variable's name: that name and the value.
    pub(super) fn override_of(&mut self, name: String) -> Option<(String, String)> {
        let value = self.value(&name);
        self.known.insert(name.clone());
        Some((name, value?))
    }

    /// The value of a variable that a `${env:}` names.
    pub(super) fn value(&mut self, name: &str) -> Option<String> {
        let value = self.environment.get(name)?;
        self.used.insert(name.to_owned());
        Some(value.to_owned())
    }

    /// Whether the variable is set; asks for nothing.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.environment.get(name).is_some()
    }

    /// Notes every override that fitted no key. Values are never shown.
    pub(super) fn report_unused(&self, problems: &mut Problems) {
        let overrides = self.environment.variables.keys();
        for name in overrides.filter(|name| name.starts_with(PREFIX) && !self.used.contains(*name)) {
            let meant = match nearest(name, self.known.iter().map(String::as_str)) {
                Some(known) => format!("; did you mean {known}?"),
                None => "; an override is GATEWAY__ and the path of a key that this config has, in upper case, \
                         joined by __ (GATEWAY__SERVER__DRAIN_TIMEOUT)"
                    .to_owned(),
            };
            problems.from(
                Source::Variable(name.clone()),
                "",
                format!("fits no key, and no ${{env:}} uses it{meant}"),
            );
        }
    }
}

/// The variable's name for a key below `parent` (empty: a section): upper case, `-` as `_`, joined by `__`.
pub(super) fn variable_name(parent: &str, key: &str) -> String {
    let key = key.to_ascii_uppercase().replace('-', "_");
    if parent.is_empty() {
        format!("{PREFIX}{key}")
    } else {
        format!("{parent}__{key}")
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self {
            variables: pairs.collect(),
            ..Self::default()
        }
    }
}

impl<N: Into<String>, V: Into<String>, const COUNT: usize> From<[(N, V); COUNT]> for Environment {
    fn from(pairs: [(N, V); COUNT]) -> Self {
        pairs.into_iter().collect()
    }
}

impl fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}
