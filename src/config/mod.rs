//! What the operator wrote: `gateway.toml` → [`model::Config`], with all errors at once, each with its place.
//!
//! Imports nothing of the crate. The way of a config: text → spanned tree (`document`), includes merged (`include`),
//! each section read with a `cursor` (`read`), which replaces references (`reference`), looks up overrides
//! (`environment`, `overrides`), converts values (`value`) and collects what is wrong (`error`).

mod cursor;
mod document;
mod environment;
mod error;
mod include;
pub mod model;
mod outline;
mod overrides;
mod read;
mod reader;
mod reference;
pub mod secret;
mod value;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use environment::{Environment, Modes};
pub use error::{ConfigError, ConfigErrors, Location, Problems, Source, Sources, nearest};
pub use overrides::modes_in;

use cursor::Cursor;
use environment::Variables;
use model::Config;
use reader::Reader;

/// A config that holds, and what it was made of.
#[derive(Debug)]
pub struct Loaded {
    /// Its values. Paths in it are joined to the config's folder.
    pub config: Config,
    /// Where each was written.
    pub sources: Sources,
    /// Files whose change changes the config: itself, includes, the overrides file (which may not exist yet),
    /// `${file:}`s, JWKS files, certificates.
    pub files: Vec<PathBuf>,
    /// Folders in which a new file may be an include.
    pub folders: Vec<PathBuf>,
    /// Shared modes that do not fit this config, by route, and why.
    pub ignored_modes: Vec<(String, String)>,
}

/// Reads a config from its file, with its includes, its overrides file and the environment.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, ConfigErrors> {
    load_and(path, environment, |_, _| Some(())).map(|(loaded, ())| loaded)
}

/// The same, and makes something of it. `make` sees also a config in which something is wrong already, so that what it finds is
/// told with all the rest; what it makes of that is dropped.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn load_and<T>(
    path: &Path,
    environment: &Environment,
    make: impl FnOnce(&Config, &mut Problems) -> Option<T>,
) -> Result<(Loaded, T), ConfigErrors> {
    let mut reader = reader_of(path, environment);
    reader.is_file = true;
    reader.files.push(path.to_owned());
    let text = match std::fs::read(path) {
        Ok(bytes) => document::text_of(&Arc::from(path), bytes, &mut reader.problems),
        Err(error) => {
            let hint = match error.kind() {
                ErrorKind::NotFound => "; name another with --config PATH or the variable GATEWAY_CONFIG",
                _ => "",
            };
            let message = format!("the file cannot be read: {error}{hint}");
            reader.problems.at("", message);
            None
        }
    };
    match text {
        Some(text) => read_all(path, &text, reader, make),
        None => Err(reader.problems.into_errors()),
    }
}

/// Reads a config from memory; `name` stands for its file in errors, and its folder is where relative paths begin.
/// There is no overrides file.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn load_text(name: &Path, text: &str, environment: &Environment) -> Result<Loaded, ConfigErrors> {
    read_all(name, text, reader_of(name, environment), |_, _| Some(())).map(|(loaded, ())| loaded)
}

/// The JSON Schema of a config, for editors that complete and check.
#[must_use]
pub fn schema() -> serde_json::Value {
    let nothing = Environment::default();
    let mut reader = reader_of(Path::new("gateway.toml"), &nothing);
    reader.is_outlining = true;
    Cursor::root(&mut reader, document::Table::new()).read(|t| {
        include::merge_all(t);
        read::config(t)
    });
    reader.outlined.document()
}

fn reader_of<'e>(path: &Path, environment: &'e Environment) -> Reader<'e> {
    Reader {
        problems: Problems::new(Sources::new(Arc::from(path))),
        variables: Variables::new(environment),
        folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        files: Vec::new(),
        folders: Vec::new(),
        is_file: false,
        overrides_text: environment.overrides.clone(),
        overrides: BTreeMap::new(),
        is_outlining: false,
        outlined: outline::Outline::default(),
        shared: environment.shared.clone(),
        ignored: Vec::new(),
    }
}

/// A duration as the config writes them, longer than zero: for arguments of commands.
///
/// # Errors
/// What would be one.
pub fn duration(text: &str) -> Result<Duration, String> {
    value::some_duration(&value::Value::Text(text.to_owned())).map_err(|wrong| wrong.to_string())
}

fn read_all<T>(
    path: &Path,
    text: &str,
    mut reader: Reader<'_>,
    make: impl FnOnce(&Config, &mut Problems) -> Option<T>,
) -> Result<(Loaded, T), ConfigErrors> {
    let Some(config) = read_values(path, text, &mut reader) else {
        return Err(reader.problems.into_errors());
    };
    reader.variables.report_unused(&mut reader.problems);
    let Some(made) = make(&config, &mut reader.problems) else {
        return Err(reader.problems.into_errors());
    };
    let loaded = Loaded {
        sources: reader.problems.finish()?,
        config,
        files: reader.files,
        folders: reader.folders,
        ignored_modes: reader.ignored,
    };
    Ok((loaded, made))
}

/// The values of a config, which hold only if nothing was noted; none if a file of it could not be read at all.
fn read_values(path: &Path, text: &str, reader: &mut Reader<'_>) -> Option<Config> {
    let table = document::parse(&Arc::from(path), text, &mut reader.problems)?;
    let mut t = Cursor::root(reader, table);
    // What a file that cannot be read would have defined must not be called missing.
    include::merge_all(&mut t).then(|| t.read(read::config))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
