//! The overrides file: `[routes.NAME] auth = "MODE"`, written by `gateway mode`, above the config and below the
//! environment.
//!
//! Imports the machinery of `config`.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::document::{self, Node, Value};
use super::environment::Modes;
use super::error::{ConfigErrors, Problems, Source, Sources};
use super::model::Route;
use super::reader::Reader;

/// Reads the file, if there is one, into the reader's overrides.
pub(super) fn read(reader: &mut Reader<'_>, path: &Path) {
    if !reader.is_file {
        return;
    }
    reader.files.push(path.to_owned());
    let text = reader.overrides_text.take();
    for (route, mut mode) in modes(path, text, &mut reader.problems) {
        if let Source::Written(location) = mode.source {
            mode.source = Source::Override(location);
        }
        reader.overrides.insert(route, mode);
    }
}

/// The modes that the file sets, as they are written; none if there is no file.
///
/// # Errors
/// It cannot be read, or holds something else.
pub fn modes_in(path: &Path) -> Result<Modes, ConfigErrors> {
    let mut problems = Problems::new(Sources::new(Arc::from(path)));
    let mut read = Modes::new();
    for (route, mode) in modes(path, None, &mut problems) {
        if let Some(mode) = written(&mode.value) {
            read.insert(route, mode);
        } else {
            let key = format!("routes.{route}.auth");
            problems.from(mode.source, &key, "is no mode; expected \"MODE\" or a list of methods");
        }
    }
    problems.finish().map(|_| read)
}

/// A mode's name, or a list of methods joined by commas.
fn written(mode: &Value) -> Option<String> {
    match mode {
        Value::Text(name) => Some(name.clone()),
        Value::List(methods) => {
            let methods: Option<Vec<String>> = methods.iter().map(|method| written(&method.value)).collect();
            methods.map(|methods| methods.join(","))
        }
        Value::Outside(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Table(_) => None,
    }
}

/// Overrides of routes that there are not; to be asked once the routes have taken theirs.
pub(super) fn report_strangers(reader: &mut Reader<'_>, routes: &[Route]) {
    let names: Vec<&str> = routes.iter().map(|route| route.name.as_str()).collect();
    for (name, node) in std::mem::take(&mut reader.overrides) {
        reader.problems.from(
            node.source,
            &format!("routes.{name}.auth"),
            format!("there is no route {name:?}; have: {}", names.join(", ")),
        );
    }
    let strangers = std::mem::take(&mut reader.shared).into_keys();
    let why = "there is no such route".to_owned();
    reader.ignored.extend(strangers.map(|name| (name, why.clone())));
}

/// The `auth` of each route in the file, or in the text that stands in for it. What else is there is refused.
fn modes(path: &Path, text: Option<String>, problems: &mut Problems) -> Vec<(String, Node)> {
    let file: Arc<Path> = Arc::from(path);
    let text = match text.map_or_else(|| std::fs::read_to_string(path), Ok) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let message = format!("the file cannot be read: {error}");
            problems.from(Source::File(file), "", message);
            return Vec::new();
        }
    };
    let mut modes = Vec::new();
    for (section, node) in document::parse(&file, &text, problems).unwrap_or_default() {
        match node.value {
            Value::Table(routes) if section == "routes" => {
                for (route, node) in routes {
                    modes.extend(mode_of(&route, node, problems).map(|mode| (route, mode)));
                }
            }
            _ => refuse(problems, node.key, &section),
        }
    }
    modes
}

fn mode_of(route: &str, node: Node, problems: &mut Problems) -> Option<Node> {
    let path = format!("routes.{route}");
    let Value::Table(keys) = node.value else {
        refuse(problems, node.key, &path);
        return None;
    };
    let mut mode = None;
    for (key, node) in keys {
        if key == "auth" {
            mode = Some(node);
        } else {
            refuse(problems, node.source, &format!("{path}.{key}"));
        }
    }
    mode
}

fn refuse(problems: &mut Problems, source: Source, key: &str) {
    let message = "does not belong here; an overrides file holds [routes.NAME] with auth = \"MODE\", nothing else";
    problems.from(source, key, message);
}
