//! The cursor that sections are read with: a key is *taken* by its name, with its default, and its place recorded;
//! what is left over in the end is unknown. Tables below a table are in [`tables`].
//!
//! Imports the machinery, and no section. The environment override of a key is looked up where the key is taken, so
//! that no key can be without one.

mod tables;

pub(super) use tables::Naming;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::document::{Node, Table, Value};
use super::environment::variable_name;
use super::error::{Source, nearest};
use super::include;
use super::outline::{ANY_NAME, Described, Outline, Shape};
use super::reader::{Field, Reader};
use super::value::{self, Wrong};

/// A table that is being read.
pub(super) struct Cursor<'r, 'e> {
    pub(super) reader: &'r mut Reader<'e>,
    /// The table's path; empty: the document.
    path: String,
    /// What the variables of its keys begin with; none: an entry without a name cannot be named by a variable.
    variable: Option<String>,
    table: Table,
    /// What stands in for keys that the table does not have.
    inherited: Inherited,
    /// The whole table is inherited: what is wrong with it is said where it stands.
    quiet: bool,
    taken: BTreeSet<String>,
    /// Of what was taken; only where the reader is asked for the shape of a config.
    outline: Outline,
}

/// `[defaults]`, or a part of it.
#[derive(Default)]
struct Inherited {
    table: Table,
    variable: Option<String>,
}

impl<'r, 'e> Cursor<'r, 'e> {
    /// At the document.
    pub(super) fn root(reader: &'r mut Reader<'e>, table: Table) -> Self {
        Self {
            reader,
            path: String::new(),
            variable: Some(String::new()),
            table,
            inherited: Inherited::default(),
            quiet: false,
            taken: BTreeSet::new(),
            outline: Outline::default(),
        }
    }

    /// A key that has a default.
    pub(super) fn key<T>(&mut self, key: &str, default: T, convert: impl Fn(&Value) -> Result<T, Wrong>) -> T {
        self.optional(key, convert).unwrap_or(default)
    }

    /// A key without which there is an error.
    ///
    /// INVARIANT: the placeholder never leaves the reader: an error was noted, and the config is refused.
    pub(super) fn required<T>(&mut self, key: &str, placeholder: T, convert: impl Fn(&Value) -> Result<T, Wrong>) -> T {
        if !self.given(key) {
            let message = match value::what_fits(&convert) {
                Some(wrong) => format!("is missing; {wrong}"),
                None => "is missing".to_owned(),
            };
            self.problem(key, message);
        }
        let value = self.key(key, placeholder, convert);
        self.outline.require(key);
        value
    }

    /// A key that may be left out.
    pub(super) fn optional<T>(&mut self, key: &str, convert: impl Fn(&Value) -> Result<T, Wrong>) -> Option<T> {
        if self.reader.is_outlining {
            self.outline.note(key, Shape::One(Described::by(&convert)));
        }
        let field = self.take(key)?;
        self.reader.convert(field, convert)
    }

    /// A file's path, relative to the config's folder; it is watched.
    pub(super) fn file(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.optional(key, value::path)?;
        let path = self.reader.folder.join(path);
        self.reader.files.push(path.clone());
        Some(path)
    }

    /// A file without which there is an error.
    pub(super) fn required_file(&mut self, key: &str) -> PathBuf {
        if !self.given(key) {
            self.problem(key, "is missing; expected a file's path");
        }
        let file = self.file(key).unwrap_or_default();
        self.outline.require(key);
        file
    }

    /// A list, each entry with its own place.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        default: Vec<T>,
        convert: impl Fn(&Value) -> Result<T, Wrong>,
    ) -> Vec<T> {
        if self.reader.is_outlining {
            self.outline.note(key, Shape::List(Described::by(&convert)));
        }
        let Some(mut field) = self.take(key) else {
            return default;
        };
        let entries = match &mut field.value {
            Value::List(entries) => std::mem::take(entries),
            Value::Outside(text) => value::split(text)
                .map(|entry| Node::at(field.source.clone(), Value::Outside(entry.to_owned())))
                .collect(),
            // The content stays unsaid: it may be a secret that lacks its brackets.
            other => {
                let message = format!("expected a list, found {}", other.kind());
                self.reader.report(&field, message);
                return default;
            }
        };
        let mut list = Vec::with_capacity(entries.len());
        for (i, entry) in entries.into_iter().enumerate() {
            let path = format!("{}[{i}]", field.path);
            self.record(&path, &entry.source);
            let entry = Field {
                path,
                source: entry.source,
                value: entry.value,
                quiet: field.quiet,
            };
            list.extend(self.reader.convert(entry, &convert));
        }
        list
    }

    /// A list with at least one entry.
    pub(super) fn some<T>(&mut self, key: &str, convert: impl Fn(&Value) -> Result<T, Wrong>) -> Vec<T> {
        let noted = self.reader.problems.count();
        let list = self.list(key, Vec::new(), convert);
        self.outline.require(key);
        if list.is_empty() && self.reader.problems.count() == noted {
            self.problem(key, "is empty; at least one entry is needed");
        }
        list
    }

    /// A list that has a default, and at least one entry otherwise.
    pub(super) fn some_or<T>(
        &mut self,
        key: &str,
        default: Vec<T>,
        convert: impl Fn(&Value) -> Result<T, Wrong>,
    ) -> Vec<T> {
        if self.given(key) {
            self.some(key, convert)
        } else {
            self.list(key, default, convert)
        }
    }

    // ── what the sections' own checks need ──

    /// Whether the key was written, inherited or set by the environment. To be asked before it is taken.
    pub(super) fn given(&self, key: &str) -> bool {
        self.own(key) || self.inherited.table.contains_key(key) || self.is_set(self.inherited.variable_of(key))
    }

    /// Whether the key is the table's own, not inherited.
    pub(super) fn own(&self, key: &str) -> bool {
        self.table.contains_key(key) || self.is_set(self.variable_of(key))
    }

    /// Whether a variable of its own sets the key.
    pub(super) fn is_set_by_variable(&self, key: &str) -> bool {
        self.is_set(self.variable_of(key))
    }

    /// What the files alone say, with references left alone and nothing reported. To be asked before it is taken.
    pub(super) fn in_files<T>(&self, key: &str, convert: impl Fn(&Value) -> Result<T, Wrong>) -> Option<T> {
        let node = self.table.get(key).or(self.inherited.table.get(key))?;
        convert(&node.value).ok()
    }

    /// The table's keys.
    pub(super) fn keys(&self) -> Vec<String> {
        if self.reader.is_outlining {
            return vec![ANY_NAME.to_owned()];
        }
        let keys = self.table.keys().chain(self.inherited.table.keys());
        keys.cloned().collect()
    }

    /// Lets `[defaults]` stand in for what the table lacks.
    pub(super) fn inherit(&mut self, defaults: &Table, section: &str) {
        self.inherited.table.clone_from(defaults);
        self.inherited.variable = Some(variable_name("", section));
    }

    /// Forgets an inherited key.
    pub(super) fn disinherit(&mut self, key: &str) {
        self.inherited.table.remove(key);
    }

    /// Puts another value in a key's place.
    pub(super) fn replace(&mut self, key: &str, node: Node) {
        self.table.insert(key.to_owned(), node);
    }

    /// Lets a second variable set the key too.
    pub(super) fn second_variable(&mut self, key: &str, name: &str) {
        let Some((name, text)) = self.reader.variables.override_of(name.to_owned()) else {
            return;
        };
        let first = self.variable_of(key);
        let first = first.and_then(|first| self.reader.variables.override_of(first));
        let path = self.path_of(key);
        let source = Source::Variable(name);
        if let Some((first, _)) = first.filter(|(_, other)| *other != text) {
            let message = format!("contradicts {first}; unset one of them");
            self.reader.problems.from(source.clone(), &path, message);
        }
        self.replace(key, Node::at(source, Value::Outside(text)));
    }

    /// Merges another file into the document; whether it could be read.
    pub(super) fn merge_file(&mut self, file: &Path, key: &str) -> bool {
        include::merge_file(&mut self.table, file, key, &mut self.reader.problems)
    }

    /// Notes a key that cannot be one.
    pub(super) fn valid_name(&mut self, key: &str, valid: impl Fn(&Value) -> Result<String, Wrong>) {
        if let Err(wrong) = valid(&Value::Text(key.to_owned())) {
            self.problem(key, format!("as a name, {wrong}"));
        }
    }

    /// A table that is still to be read.
    pub(super) fn peek_table(&self, key: &str) -> Option<&Table> {
        match self.table.get(key) {
            Some(Node {
                value: Value::Table(table),
                ..
            }) => Some(table),
            _ => None,
        }
    }

    /// Notes what is wrong with a key, or with how keys go together.
    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        if !self.quiet {
            let path = self.path_of(key);
            self.reader.problems.at(&path, message);
        }
    }

    /// The path of a key; of the table itself for an empty one.
    pub(super) fn path_of(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }

    /// Reads the table, then reports what nobody took.
    pub(super) fn read<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let value = read(&mut self);
        if self.reader.is_outlining {
            self.reader.outlined = std::mem::take(&mut self.outline);
        }
        if self.quiet {
            return value;
        }
        for (key, node) in std::mem::take(&mut self.table) {
            let valid = match nearest(&key, self.taken.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => {
                    let taken: Vec<&str> = self.taken.iter().map(String::as_str).collect();
                    format!("valid here: {}", taken.join(", "))
                }
            };
            let path = self.path_of(&key);
            self.reader
                .problems
                .from(node.key, &path, format!("unknown key; {valid}"));
        }
        value
    }

    // ── taking ──

    /// A value: by the environment, else as written, else as inherited.
    fn take(&mut self, key: &str) -> Option<Field> {
        self.taken.insert(key.to_owned());
        let own = self.table.remove(key);
        let inherited = self.inherited.table.remove(key);
        let outside = |(name, text)| (Source::Variable(name), Value::Outside(text));
        let written = |node: Node| (node.source, node.value);
        // Both are asked for, so that neither counts as unknown when the other one wins.
        let variable = self.variable_of(key);
        let variable = variable.and_then(|name| self.reader.variables.override_of(name));
        let of_inherited = self.inherited.variable_of(key);
        let of_inherited = of_inherited.and_then(|name| self.reader.variables.override_of(name));
        let ((source, value), quiet) = match (variable, own, of_inherited, inherited) {
            (Some(variable), ..) => (outside(variable), false),
            (None, Some(own), ..) => (written(own), self.quiet),
            (None, None, Some(variable), _) => (outside(variable), true),
            (None, None, None, Some(inherited)) => (written(inherited), true),
            (None, None, None, None) => return None,
        };
        let path = self.path_of(key);
        self.record(&path, &source);
        Some(Field {
            path,
            source,
            value,
            quiet,
        })
    }

    fn record(&mut self, path: &str, source: &Source) {
        let sources = self.reader.problems.sources_mut();
        sources.record(path.to_owned(), source.clone());
    }

    fn variable_of(&self, key: &str) -> Option<String> {
        self.variable.as_deref().map(|v| variable_name(v, key))
    }

    fn is_set(&self, variable: Option<String>) -> bool {
        variable.is_some_and(|name| self.reader.variables.is_set(&name))
    }
}

impl Inherited {
    fn variable_of(&self, key: &str) -> Option<String> {
        self.variable.as_deref().map(|v| variable_name(v, key))
    }
}
