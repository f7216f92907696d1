//! `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}` inside strings.
//!
//! Imports `environment`. What a reference stands for may be a secret: errors name the variable or the file, never
//! its content.

use std::path::{Path, PathBuf};

use super::environment::Variables;

/// A string with its references replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// The first reference in it, as written.
    pub(super) reference: String,
}

/// Replaces the references of a string; none if it has none. Paths are relative to `folder`; every file that is
/// asked for is added to `files`, also one that cannot be read, since it may appear.
///
/// # Errors
/// What is missing or malformed, for the operator.
pub(super) fn expand(
    text: &str,
    variables: &mut Variables<'_>,
    folder: &Path,
    files: &mut Vec<PathBuf>,
) -> Result<Option<Expanded>, String> {
    let mut expanded = Expanded {
        text: String::new(),
        reference: String::new(),
    };
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((reference, after)) = after.split_once('}') else {
            return Err("a `${` without its `}`; write ${env:NAME} or ${file:PATH}".to_owned());
        };
        if expanded.reference.is_empty() {
            // Without its default, which stands in for a secret.
            let shown = reference.split_once(":-").map_or(reference, |(name, _)| name);
            expanded.reference = format!("${{{shown}}}");
        }
        expanded.text.push_str(before);
        expanded.text.push_str(&value(reference, variables, folder, files)?);
        rest = after;
    }
    expanded.text.push_str(rest);
    Ok((!expanded.reference.is_empty()).then_some(expanded))
}

fn value(
    reference: &str,
    variables: &mut Variables<'_>,
    folder: &Path,
    files: &mut Vec<PathBuf>,
) -> Result<String, String> {
    match reference.split_once(':') {
        Some(("env", name)) => {
            let (name, default) = match name.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (name, None),
            };
            match (variables.value(name), default) {
                // As in a shell, `:-` also stands in for a variable that is set to nothing.
                (Some(value), None) => Ok(value),
                (Some(value), Some(_)) if !value.is_empty() => Ok(value),
                (_, Some(default)) => Ok(default.to_owned()),
                (None, None) => Err(format!(
                    "the environment variable {name} is not set; set it, or write ${{env:{name}:-default}}"
                )),
            }
        }
        Some(("file", path)) => {
            let path = folder.join(path);
            let content = std::fs::read_to_string(&path);
            files.push(path.clone());
            let mut content =
                content.map_err(|error| format!("the file {} cannot be read: {error}", path.display()))?;
            if content.ends_with('\n') {
                content.pop();
                if content.ends_with('\r') {
                    content.pop();
                }
            }
            Ok(content)
        }
        _ => Err(format!(
            "${{{reference}}} is no reference; write ${{env:NAME}}, ${{env:NAME:-default}} or ${{file:PATH}}"
        )),
    }
}
