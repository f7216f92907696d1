//! `include`: more files of the same shape, merged into one tree.
//!
//! Imports `cursor`, `document`, `error` and `value`. Entries of named tables and of lists add up; a name or a section that stands in
//! two files is an error, since nobody could say which one is meant.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::Cursor;
use super::document::{self, Node, Table, Value};
use super::error::{Problems, Source};
use super::value;

/// Sections whose entries have names of their own.
const NAMED: [&str; 5] = ["issuers", "roles", "cors", "limits", "upstreams"];

/// What a pattern names.
struct Files {
    paths: Vec<PathBuf>,
    /// Where more may appear.
    folder: Option<PathBuf>,
}

/// Reads the files that `include` names into the document; whether all of them could be read.
pub(super) fn merge_all(t: &mut Cursor<'_, '_>) -> bool {
    let noted = t.reader.problems.count();
    let folder = t.reader.folder.clone();
    let patterns = t.list("include", Vec::new(), value::some_text);
    let mut all = t.reader.problems.count() == noted;
    for (i, pattern) in patterns.iter().enumerate() {
        let key = format!("include[{i}]");
        let files = match files(&folder, pattern) {
            Ok(files) => files,
            Err(why) => {
                t.problem(&key, why);
                all = false;
                continue;
            }
        };
        t.reader.folders.extend(files.folder);
        for file in files.paths {
            // Two patterns may name one file.
            if !t.reader.files.contains(&file) {
                t.reader.files.push(file.clone());
                all &= t.merge_file(&file, &key);
            }
        }
    }
    all
}

/// Reads an included file into the tree; whether it could be read.
///
/// `key` is the pattern that named it.
pub(super) fn merge_file(into: &mut Table, path: &Path, key: &str, problems: &mut Problems) -> bool {
    let file: Arc<Path> = Arc::from(path);
    let text = match std::fs::read(path) {
        Ok(bytes) => document::text_of(&file, bytes, problems),
        Err(error) => {
            problems.at(key, format!("the file {} cannot be read: {error}", path.display()));
            return false;
        }
    };
    let Some(document) = text.and_then(|text| document::parse(&file, &text, problems)) else {
        return false;
    };
    for (section, node) in document {
        if section == "include" {
            problems.from(
                node.key,
                "include",
                "an included file cannot include others; list them in the main file",
            );
        } else {
            merge(into, section, node, problems);
        }
    }
    true
}

fn merge(into: &mut Table, section: String, node: Node, problems: &mut Problems) {
    let Some(present) = into.get_mut(&section) else {
        into.insert(section, node);
        return;
    };
    match (&mut present.value, node.value) {
        (Value::Table(present), Value::Table(more)) if NAMED.contains(&section.as_str()) => {
            for (name, entry) in more {
                match present.get(&name) {
                    Some(first) => problems.from(entry.key, &format!("{section}.{name}"), twice(&first.key)),
                    None => {
                        present.insert(name, entry);
                    }
                }
            }
        }
        // Names of routes and listeners are compared when they are read.
        (Value::List(present), Value::List(more)) => present.extend(more),
        _ => problems.from(node.key, &section, twice(&present.key)),
    }
}

/// The files that a pattern names, sorted. `*` may stand in the last segment only, and does not begin a hidden
/// file's name.
///
/// # Errors
/// What is wrong with the pattern, or the folder that cannot be read.
fn files(folder: &Path, pattern: &str) -> Result<Files, String> {
    let path = folder.join(pattern);
    let (Some(within), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Err("names no file; write a path such as \"routes.d/*.toml\"".to_owned());
    };
    if pattern.rsplit_once('/').is_some_and(|(within, _)| within.contains('*')) {
        return Err("`*` may stand in the last segment only, as in \"routes.d/*.toml\"".to_owned());
    }
    if !name.contains('*') {
        return Ok(Files {
            paths: vec![path],
            folder: None,
        });
    }
    let within = if within.as_os_str().is_empty() {
        Path::new(".")
    } else {
        within
    };
    let mut paths = match names_in(within) {
        Ok(names) => names,
        // As with an empty one: the folder may be mounted later.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            return Err(format!("the folder {} cannot be read: {error}", within.display()));
        }
    };
    paths.retain(|entry| !entry.starts_with('.') && fits(name, entry));
    paths.sort();
    Ok(Files {
        paths: paths.iter().map(|entry| within.join(entry)).collect(),
        folder: Some(within.to_owned()),
    })
}

fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

/// The message for a name that is taken.
pub(super) fn twice(first: &Source) -> String {
    format!("is defined twice, first at {first}; remove one of them")
}

/// Whether a name fits a pattern in which `*` is any run of characters.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            // `*` takes ever more of what is left.
            rest.char_indices()
                .map(|(taken, _)| taken)
                .chain([rest.len()])
                .any(|taken| rest.get(taken..).is_some_and(|rest| fits(after, rest)))
        }),
    }
}
