//! What is shared while a config is read, and how one value is taken: references replaced, converted, or reported.
//!
//! Imports the machinery (`document`, `environment`, `error`, `reference`, `value`), and no section.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::document::{Node, Value};
use super::environment::{Modes, Variables};
use super::error::{Problems, Source};
use super::outline::Outline;
use super::reference;
use super::value::Wrong;

/// What all cursors of a config share.
pub(super) struct Reader<'e> {
    pub(super) problems: Problems,
    pub(super) variables: Variables<'e>,
    /// The config's folder: relative paths begin there.
    pub(super) folder: PathBuf,
    /// Files whose change changes the config.
    pub(super) files: Vec<PathBuf>,
    /// Folders in which a new file may be an include.
    pub(super) folders: Vec<PathBuf>,
    /// Whether the config is a file, and may have an overrides file beside it.
    pub(super) is_file: bool,
    /// The text of the overrides file, where it is not to be read.
    pub(super) overrides_text: Option<String>,
    /// Modes of the overrides file, by route.
    pub(super) overrides: BTreeMap<String, Node>,
    /// Only the shape of a config is asked for: every table is there, and what was taken is noted.
    pub(super) is_outlining: bool,
    /// Of the table that was read last.
    pub(super) outlined: Outline,
    /// Modes that gateways share, by route.
    pub(super) shared: Modes,
    /// Those of them that do not fit, and why.
    pub(super) ignored: Vec<(String, String)>,
}

/// A value on its way from a table to the config.
pub(super) struct Field {
    pub(super) path: String,
    pub(super) source: Source,
    pub(super) value: Value,
    /// What is wrong with it was said elsewhere.
    pub(super) quiet: bool,
}

impl Reader<'_> {
    /// What the value means; none once it was reported.
    pub(super) fn convert<T>(&mut self, field: Field, convert: impl Fn(&Value) -> Result<T, Wrong>) -> Option<T> {
        let mut reference = None;
        let value = match self.resolve(field.value.clone(), &mut reference) {
            Ok(value) => value,
            Err(message) => {
                self.report(&field, message);
                return None;
            }
        };
        match convert(&value) {
            Ok(converted) => Some(converted),
            Err(wrong) => {
                self.report(&field, wrong.about(&value, reference.as_deref()));
                None
            }
        }
    }

    /// Notes what is wrong with a value, at its place.
    pub(super) fn report(&mut self, field: &Field, message: String) {
        if !field.quiet {
            self.problems.from(field.source.clone(), &field.path, message);
        }
    }

    /// Replaces references, also in the entries of a list; keeps the first one's name.
    fn resolve(&mut self, value: Value, reference: &mut Option<String>) -> Result<Value, String> {
        Ok(match value {
            Value::Text(text) => {
                let expanded = reference::expand(&text, &mut self.variables, &self.folder, &mut self.files)?;
                match expanded {
                    None => Value::Text(text),
                    Some(expanded) => {
                        reference.get_or_insert(expanded.reference);
                        Value::Outside(expanded.text)
                    }
                }
            }
            Value::List(entries) => {
                let resolved: Result<Vec<Node>, String> = entries
                    .into_iter()
                    .map(|entry| {
                        let value = self.resolve(entry.value, reference)?;
                        Ok(Node { value, ..entry })
                    })
                    .collect();
                Value::List(resolved?)
            }
            other => other,
        })
    }
}
