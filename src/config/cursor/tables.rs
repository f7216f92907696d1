//! Tables below a table: sections, tables of named entries, lists of tables.
//!
//! Imports the machinery, and no section.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cursor, Inherited};
use crate::config::document::{Node, Table, Value};
use crate::config::environment::variable_name;
use crate::config::error::Source;
use crate::config::include::twice;
use crate::config::outline::{Outline, Shape};
use crate::config::value::{self, Wrong};

/// How the entries of a list of tables are known.
#[derive(Clone, Copy)]
pub(in crate::config) struct Naming {
    /// The key with an entry's name.
    pub(in crate::config) key: &'static str,
    /// Whether no two entries may have one name.
    pub(in crate::config) unique: bool,
}

impl<'e> Cursor<'_, 'e> {
    /// A table that does not exist unless it was written.
    pub(in crate::config) fn table<T>(&mut self, key: &str, read: impl FnOnce(&mut Cursor<'_, 'e>) -> T) -> Option<T> {
        let table = self.enter(key).map(|t| t.read(read));
        self.note_table(key, Shape::Table);
        table
    }

    /// A table that always exists: left out, it has its defaults.
    pub(in crate::config) fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Cursor<'_, 'e>) -> T) -> T {
        if !self.table.contains_key(key) && !self.inherited.table.contains_key(key) {
            let source = self.reader.problems.sources_mut().of(&self.path);
            self.replace(key, Node::at(source, Value::Table(Table::new())));
        }
        let section = match self.enter(key) {
            Some(t) => t.read(read),
            // It was no table, which was reported.
            None => {
                let (path, variable) = (self.path_of(key), self.variable_of(key));
                self.inside(path, variable, Table::new()).read(read)
            }
        };
        self.note_table(key, Shape::Table);
        section
    }

    /// A table whose keys are the operator's own words.
    pub(in crate::config) fn open<T>(
        &mut self,
        key: &str,
        valid: impl Fn(&Value) -> Result<String, Wrong>,
        read: impl Fn(&mut Cursor<'_, 'e>, &str) -> T,
    ) -> BTreeMap<String, T> {
        let entries = self.table(key, |t| {
            t.keys()
                .into_iter()
                .map(|name| {
                    t.valid_name(&name, &valid);
                    let value = read(t, &name);
                    (name, value)
                })
                .collect()
        });
        entries.unwrap_or_default()
    }

    /// A table of tables, each with a name.
    pub(in crate::config) fn tables<T>(
        &mut self,
        key: &str,
        read: impl Fn(&mut Cursor<'_, 'e>) -> T,
    ) -> BTreeMap<String, T> {
        let entries = self.open(key, value::name, |t, name| t.table(name, &read));
        let mut folded = BTreeMap::new();
        for name in entries.keys() {
            self.distinct(key, name, &mut folded);
        }
        entries
            .into_iter()
            .filter_map(|(name, entry)| Some((name, entry?)))
            .collect()
    }

    /// A list of tables that are known by a name that they hold.
    pub(in crate::config) fn named_list<T>(
        &mut self,
        key: &str,
        naming: Naming,
        read: impl Fn(&mut Cursor<'_, 'e>, String) -> T,
    ) -> Vec<T> {
        let (path, variable) = (self.path_of(key), self.variable_of(key));
        let mut seen: BTreeMap<String, Source> = BTreeMap::new();
        let mut folded = BTreeMap::new();
        let mut list = Vec::new();
        let (tables, _) = self.take_tables(key);
        for (i, (by_index, table)) in tables.into_iter().enumerate() {
            let mut entry = self.inside(by_index, None, table);
            let name = entry.required(naming.key, String::new(), value::name);
            if !name.is_empty() {
                match seen.get(&name) {
                    None => {
                        let source = entry.rename(format!("{path}.{name}"), naming.key);
                        entry.variable = variable.as_deref().map(|v| variable_name(v, &name));
                        seen.insert(name.clone(), source);
                    }
                    Some(first) if naming.unique => entry.problem(naming.key, twice(first)),
                    Some(_) => {
                        entry.rename(format!("{path}.{name}[{i}]"), naming.key);
                    }
                }
            }
            list.push(entry.read(|t| read(t, name.clone())));
            if naming.unique && !name.is_empty() {
                self.distinct(key, &name, &mut folded);
            }
        }
        self.note_table(key, Shape::Tables);
        list
    }

    /// A list of tables without names.
    pub(in crate::config) fn unnamed_list<T>(&mut self, key: &str, read: impl Fn(&mut Cursor<'_, 'e>) -> T) -> Vec<T> {
        let (tables, quiet) = self.take_tables(key);
        let read_one = |(path, table)| {
            let mut entry = self.inside(path, None, table);
            entry.quiet = quiet;
            entry.read(&read)
        };
        let list = tables.into_iter().map(read_one).collect();
        self.note_table(key, Shape::Tables);
        list
    }

    /// The table that was just read, as what a key holds.
    fn note_table(&mut self, key: &str, shape: impl FnOnce(Outline) -> Shape) {
        if self.reader.is_outlining {
            let outlined = std::mem::take(&mut self.reader.outlined);
            self.outline.note(key, shape(outlined));
        }
    }

    /// A cursor at a table below.
    fn enter(&mut self, key: &str) -> Option<Cursor<'_, 'e>> {
        self.taken.insert(key.to_owned());
        let own = self.table.remove(key);
        let inherited = self.inherited.table.remove(key);
        let inherits = own.is_none();
        let quiet = self.quiet || inherits;
        // Where only the shape is asked for, every table is there.
        let imagined = self
            .reader
            .is_outlining
            .then(|| self.imagined(Value::Table(Table::new())));
        let node = own.or(inherited).or(imagined)?;
        let path = self.path_of(key);
        let Value::Table(table) = node.value else {
            if !quiet {
                let message = format!("expected a table, found {}", node.value.kind());
                self.reader.problems.from(node.source, &path, message);
            }
            return None;
        };
        let variable = self.variable_of(key);
        let below = self.inherited.variable_of(key);
        self.record(&path, &node.key);
        let mut cursor = self.inside(path, variable, Table::new());
        cursor.quiet = quiet;
        if inherits {
            cursor.inherited = Inherited { table, variable: below };
        } else {
            cursor.table = table;
        }
        Some(cursor)
    }

    /// Cursors' paths and tables for the entries of a list, and whether they are inherited.
    fn take_tables(&mut self, key: &str) -> (Vec<(String, Table)>, bool) {
        self.taken.insert(key.to_owned());
        let own = self.table.remove(key);
        let inherited = self.inherited.table.remove(key);
        let quiet = self.quiet || own.is_none();
        let imagined = self.reader.is_outlining.then(|| {
            let entry = self.imagined(Value::Table(Table::new()));
            self.imagined(Value::List(vec![entry]))
        });
        let Some(node) = own.or(inherited).or(imagined) else {
            return (Vec::new(), quiet);
        };
        let path = self.path_of(key);
        self.record(&path, &node.key);
        let mut wrong = Vec::new();
        let mut tables = Vec::new();
        if let Value::List(entries) = node.value {
            for (i, entry) in entries.into_iter().enumerate() {
                let path = format!("{path}[{i}]");
                self.record(&path, &entry.source);
                match entry.value {
                    Value::Table(table) => tables.push((path, table)),
                    other => wrong.push((path, entry.source, "a table", other.kind())),
                }
            }
        } else {
            wrong.push((path, node.source, "a list of tables", node.value.kind()));
        }
        for (path, source, expected, found) in wrong {
            let message = format!("expected {expected}, found {found}");
            if !quiet {
                self.reader.problems.from(source, &path, message);
            }
        }
        (tables, quiet)
    }

    fn imagined(&self, value: Value) -> Node {
        let source = self.reader.problems.sources().of("");
        Node::at(source, value)
    }

    fn inside(&mut self, path: String, variable: Option<String>, table: Table) -> Cursor<'_, 'e> {
        Cursor {
            reader: self.reader,
            path,
            variable,
            table,
            inherited: Inherited::default(),
            quiet: false,
            taken: BTreeSet::new(),
            outline: Outline::default(),
        }
    }

    /// Gives the entry its name's path; hands back where the name was written.
    fn rename(&mut self, path: String, naming_key: &str) -> Source {
        let name_path = self.path_of(naming_key);
        let sources = self.reader.problems.sources_mut();
        let (entry, name) = (sources.of(&self.path), sources.of(&name_path));
        self.path = path;
        self.record(&self.path_of(""), &entry);
        self.record(&self.path_of(naming_key), &name);
        name
    }

    /// Two names that one variable would set are an error.
    fn distinct(&mut self, key: &str, name: &str, folded: &mut BTreeMap<String, String>) {
        let Some(variable) = self.variable_of(key).map(|v| variable_name(&v, name)) else {
            return;
        };
        match folded.get(&variable) {
            Some(first) if first != name => {
                let path = format!("{key}.{name}");
                self.problem(
                    &path,
                    format!("and {first:?} would be set by the same variables, {variable}__…; rename one"),
                );
            }
            _ => {
                folded.insert(variable, name.to_owned());
            }
        }
    }
}
