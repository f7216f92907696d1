//! The shape of a config, as JSON Schema for editors: made by the very readers that read one, so that there is one description of
//! the keys.
//!
//! Imports the machinery of `config`. Each table that could be there is read as if it were, empty; what a cursor is asked for is
//! noted, and what is missing is nobody's mistake.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::value::{Form, Value, Wrong, what_fits};

/// Stands for names that are the operator's own.
pub(super) const ANY_NAME: &str = "NAME";

/// What a table can hold.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Outline {
    keys: BTreeMap<String, Key>,
}

#[derive(Debug, Clone, PartialEq)]
struct Key {
    shape: Shape,
    required: bool,
}

/// What a key can hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// One value.
    One(Described),
    /// A list of values.
    List(Described),
    /// A table.
    Table(Outline),
    /// A list of tables.
    Tables(Outline),
}

/// What a value can be, and the same for people.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Described {
    form: Form,
    expected: String,
}

impl Described {
    pub(super) fn by<T>(convert: impl Fn(&Value) -> Result<T, Wrong>) -> Self {
        match what_fits(convert) {
            Some(wrong) => Self {
                expected: wrong.to_string(),
                form: wrong.into_form(),
            },
            None => Self {
                expected: String::new(),
                form: Form::Any,
            },
        }
    }

    fn schema(&self) -> Json {
        let mut schema = match &self.form {
            Form::Any => json!({}),
            Form::Text => json!({ "type": "string" }),
            Form::Pattern(pattern) => json!({ "type": "string", "pattern": format!("^({pattern})$|\\$\\{{") }),
            Form::Words(words) => json!({ "anyOf": [{ "enum": words }, reference()] }),
            Form::Boolean => json!({ "anyOf": [{ "type": "boolean" }, reference()] }),
            Form::Integer(least, most) => {
                json!({ "anyOf": [{ "type": "integer", "minimum": least, "maximum": most }, reference()] })
            }
            Form::Number => json!({ "anyOf": [{ "type": "number" }, reference()] }),
        };
        if let Some(schema) = schema.as_object_mut().filter(|_| !self.expected.is_empty()) {
            schema.insert("description".to_owned(), json!(self.expected));
        }
        schema
    }
}

/// `${env:NAME}` and `${file:PATH}` may stand for any value.
fn reference() -> Json {
    json!({ "type": "string", "pattern": "\\$\\{" })
}

impl Outline {
    pub(super) fn note(&mut self, key: &str, shape: Shape) {
        let required = self.keys.get(key).is_some_and(|known| known.required);
        self.keys.insert(key.to_owned(), Key { shape, required });
    }

    pub(super) fn require(&mut self, key: &str) {
        if let Some(key) = self.keys.get_mut(key) {
            key.required = true;
        }
    }

    /// The table as JSON Schema.
    fn schema(&self) -> Json {
        let mut properties = Map::new();
        let mut others = json!(false);
        for (name, key) in &self.keys {
            if name == ANY_NAME {
                others = key.shape.schema();
            } else {
                properties.insert(name.clone(), key.shape.schema());
            }
        }
        let required = self.keys.iter().filter(|(name, key)| key.required && *name != ANY_NAME);
        let required: Vec<&String> = required.map(|(name, _)| name).collect();
        let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": others });
        if let Some(schema) = schema.as_object_mut().filter(|_| !required.is_empty()) {
            schema.insert("required".to_owned(), json!(required));
        }
        schema
    }

    /// The whole document's.
    pub(super) fn document(&self) -> Json {
        let mut schema = self.schema();
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
            schema.insert("title".to_owned(), json!("gateway.toml"));
        }
        schema
    }
}

impl Shape {
    fn schema(&self) -> Json {
        match self {
            Self::One(value) => value.schema(),
            Self::List(value) => json!({ "anyOf": [{ "type": "array", "items": value.schema() }, reference()] }),
            Self::Table(outline) => outline.schema(),
            Self::Tables(outline) => json!({ "type": "array", "items": outline.schema() }),
        }
    }
}
