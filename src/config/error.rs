//! What is wrong with a config, and where it was written: locations, sources, errors and their collector.
//!
//! Imports nothing of the crate. The collector serves the reader and, after it, whoever checks what the sections
//! say of each other.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The file, but no place in it: what is missing was not written anywhere.
    File(Arc<Path>),
    /// Written there.
    Written(Location),
    /// Written there, in the overrides file.
    Override(Location),
    /// A mode that gateways share.
    Shared,
    /// Set by this environment variable.
    Variable(String),
}

/// Where each key of a config came from. Keys that hold their default are not in it.
#[derive(Debug, Clone)]
pub struct Sources {
    file: Arc<Path>,
    keys: BTreeMap<String, Source>,
}

/// One thing that is wrong, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key's path, with named entries by their name (`routes.chat.auth`); empty where no key was to be found.
    pub key: String,
    /// What is wrong and what would be valid. Never a secret.
    pub message: String,
    /// Where it was written.
    pub source: Source,
}

/// All that is wrong: never empty, in the order of files, lines and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

/// Collects what is wrong, and finds its place by the key's path.
#[derive(Debug)]
pub struct Problems {
    sources: Sources,
    found: Vec<ConfigError>,
}

impl Problems {
    /// A collector that finds places in `sources`.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        Self {
            sources,
            found: Vec::new(),
        }
    }

    /// Notes what is wrong with a key, at its own place or at the nearest enclosing one that was written.
    pub fn at(&mut self, key: &str, message: impl Into<String>) {
        let source = self.sources.of(key);
        self.from(source, key, message);
    }

    /// Hands the sources back if nothing was wrong.
    ///
    /// # Errors
    /// Everything that was noted.
    pub fn finish(self) -> Result<Sources, ConfigErrors> {
        if self.found.is_empty() {
            return Ok(self.sources);
        }
        Err(self.into_errors())
    }

    /// What was noted, which is something, since the reading ended early.
    #[must_use]
    pub fn into_errors(mut self) -> ConfigErrors {
        self.found.sort_by(|one, other| one.source.cmp(&other.source));
        self.found.dedup();
        ConfigErrors(self.found)
    }

    /// How many things were noted so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.found.len()
    }

    /// Notes what is wrong at a place that is not that of the key.
    pub(super) fn from(&mut self, source: Source, key: &str, message: impl Into<String>) {
        self.found.push(ConfigError {
            key: key.to_owned(),
            message: message.into(),
            source,
        });
    }

    /// Where the keys read so far came from.
    #[must_use]
    pub const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The same, to be added to.
    pub(super) fn sources_mut(&mut self) -> &mut Sources {
        &mut self.sources
    }
}

impl Sources {
    /// No key yet; what is in no file at all is reported for `file`.
    #[must_use]
    pub fn new(file: Arc<Path>) -> Self {
        Self {
            file,
            keys: BTreeMap::new(),
        }
    }

    /// Where the key was written, else the nearest one that encloses it, else the file.
    #[must_use]
    pub fn of(&self, key: &str) -> Source {
        let mut path = key;
        loop {
            if let Some(source) = self.keys.get(path) {
                return source.clone();
            }
            // `a.b[1].c` → `a.b[1]` → `a.b` → `a`
            let Some(enclosing) = path.rfind(['.', '[']).and_then(|end| path.get(..end)) else {
                return Source::File(Arc::clone(&self.file));
            };
            path = enclosing;
        }
    }

    /// Where exactly this key was written; none: it holds its default.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Source> {
        self.keys.get(key)
    }

    /// The keys right below a table that was written, with their sources.
    pub fn right_below<'s>(&'s self, table: &str) -> impl Iterator<Item = (&'s str, &'s Source)> + use<'s> {
        let prefix = format!("{table}.");
        let own = self.keys.get(table);
        let keys = self.keys.range(prefix.clone()..);
        let below = keys.map_while(move |(key, source)| Some((key.strip_prefix(&prefix)?, source)));
        // A section that was left out stands where its table does.
        below.filter(move |(key, source)| !key.contains(['.', '[']) && Some(*source) != own)
    }

    pub(super) fn record(&mut self, key: String, source: Source) {
        self.keys.insert(key, source);
    }
}

impl ConfigErrors {
    /// One by one.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Written(location) | Self::Override(location) => location.fmt(f),
            Self::Shared => f.write_str("the shared store"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for ConfigError {
    /// `FILE:LINE:COL: key.path: what is wrong, what would be valid`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for ConfigErrors {
    /// One a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
impl std::error::Error for ConfigErrors {}

/// The candidate that was probably meant, if one is near.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let tolerated = (word.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerated)
        .min()
        .map(|(_, candidate)| candidate)
}
