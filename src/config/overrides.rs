//! The overrides file: `[routes.NAME] auth = "MODE"`, written by `gateway mode`, above the config and below the
//! environment.
//!
//! Imports the machinery of `config`.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::document::{self, Node, Value};
use super::error::Source;
use super::model::Route;
use super::reader::Reader;

/// Reads the file, if there is one, into the reader's overrides.
pub(super) fn read(reader: &mut Reader<'_>, path: &Path) {
    if !reader.is_file {
        return;
    }
    reader.files.push(path.to_owned());
    let file: Arc<Path> = Arc::from(path);
    let text = reader.overrides_text.take();
    let text = match text.map_or_else(|| std::fs::read_to_string(path), Ok) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => {
            let message = format!("the file cannot be read: {error}");
            reader.problems.from(Source::File(file), "", message);
            return;
        }
    };
    let document = document::parse(&file, &text, &mut reader.problems);
    for (section, node) in document.unwrap_or_default() {
        match node.value {
            Value::Table(routes) if section == "routes" => {
                for (route, node) in routes {
                    read_route(reader, &route, node);
                }
            }
            _ => refuse(reader, node.key, &section),
        }
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

fn read_route(reader: &mut Reader<'_>, route: &str, node: Node) {
    let path = format!("routes.{route}");
    let Value::Table(keys) = node.value else {
        return refuse(reader, node.key, &path);
    };
    for (key, mut node) in keys {
        match node.source {
            Source::Written(location) if key == "auth" => {
                node.source = Source::Override(location);
                reader.overrides.insert(route.to_owned(), node);
            }
            source => refuse(reader, source, &format!("{path}.{key}")),
        }
    }
}

fn refuse(reader: &mut Reader<'_>, source: Source, key: &str) {
    let message = "does not belong here; an overrides file holds [routes.NAME] with auth = \"MODE\", nothing else";
    reader.problems.from(source, key, message);
}
