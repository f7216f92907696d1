//! TOML text → an owned tree in which every key and value knows where it was written.
//!
//! Imports only `error`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use super::error::{Location, Problems, Source};

/// Keys and what they hold.
pub(super) type Table = BTreeMap<String, Node>;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The key, or for an entry of a list the entry itself.
    pub(super) key: Source,
    pub(super) source: Source,
    pub(super) value: Value,
}

impl Node {
    /// A value that has no other place than its own.
    pub(super) fn at(source: Source, value: Value) -> Self {
        Self {
            key: source.clone(),
            source,
            value,
        }
    }
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    /// Text out of the environment or a file, which may stand for a number or a boolean.
    Outside(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(Datetime),
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Outside(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// The text of a file. Where it stops being UTF-8 is noted, and ends it.
pub(super) fn text_of(file: &Arc<Path>, bytes: Vec<u8>, problems: &mut Problems) -> Option<String> {
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let sound = error.as_bytes().get(..error.utf8_error().valid_up_to());
            let sound = String::from_utf8_lossy(sound.unwrap_or_default());
            let source = Tree::new(file, &sound).source(sound.len());
            problems.from(source, "", "is no UTF-8 from here on; save the file as UTF-8");
            None
        }
    }
}

/// Reads a document. Syntax errors are noted, all of them, and end it: what stands after one may have been taken
/// into the wrong table, and errors about that would mislead.
pub(super) fn parse(file: &Arc<Path>, text: &str, problems: &mut Problems) -> Option<Table> {
    let noted = problems.count();
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut tree = Tree::new(file, text);
    for error in &errors {
        let source = match error.span() {
            Some(span) => tree.source(span.start),
            None => Source::File(Arc::clone(file)),
        };
        let message = match (error.message(), error.span().and_then(|span| text.get(span))) {
            ("duplicate key", Some(key)) => format!("duplicate key: {key} is there already; keep one"),
            (message, _) => message.to_owned(),
        };
        problems.from(source, "", message);
    }
    let table = tree.table(document.get_ref());
    for (source, number) in tree.out_of_range {
        problems.from(source, "", format!("{number} is out of range; numbers have 64 bits"));
    }
    (problems.count() == noted).then_some(table)
}

/// Turns spans into lines and columns, and borrowed values into owned ones.
struct Tree<'t> {
    file: &'t Arc<Path>,
    text: &'t str,
    /// The offset of each line's first byte.
    lines: Vec<usize>,
    out_of_range: Vec<(Source, String)>,
}

impl<'t> Tree<'t> {
    fn new(file: &'t Arc<Path>, text: &'t str) -> Self {
        let starts = text.match_indices('\n').map(|(newline, _)| newline + 1);
        Self {
            file,
            text,
            lines: std::iter::once(0).chain(starts).collect(),
            out_of_range: Vec::new(),
        }
    }

    fn source(&self, offset: usize) -> Source {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        Source::Written(Location {
            file: Arc::clone(self.file),
            line,
            column: before.chars().count() + 1,
        })
    }

    fn table(&mut self, table: &DeTable<'_>) -> Table {
        table
            .iter()
            .map(|(key, value)| {
                let node = Node {
                    key: self.source(key.span().start),
                    ..self.node(value.span().start, value.get_ref())
                };
                (key.get_ref().to_string(), node)
            })
            .collect()
    }

    fn node(&mut self, offset: usize, value: &DeValue<'_>) -> Node {
        let source = self.source(offset);
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => Value::Integer(integer),
                Err(_) => self.out_of_range(&source, integer.to_string()),
            },
            DeValue::Float(float) => match float.as_str().parse() {
                Ok(float) => Value::Float(float),
                Err(_) => self.out_of_range(&source, float.to_string()),
            },
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Datetime(datetime) => Value::Datetime(*datetime),
            DeValue::Array(list) => Value::List(
                list.iter()
                    .map(|entry| self.node(entry.span().start, entry.get_ref()))
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node::at(source, value)
    }

    fn out_of_range(&mut self, source: &Source, number: String) -> Value {
        self.out_of_range.push((source.clone(), number));
        Value::Integer(0)
    }
}
