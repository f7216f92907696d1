//! The overrides file as `gateway mode` reads and writes it: whole, and in one step, so that no gateway ever sees half of it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use crate::config::Modes;

const HEAD: &str = "\
# Written by `gateway mode`: modes in force instead of those in gateway.toml. `gateway mode --reset` takes them back.
";

/// Route → mode; none if there is no file.
///
/// # Errors
/// It cannot be read, or holds something else.
pub(super) fn read(file: &Path) -> Result<Modes, String> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Modes::new()),
        Err(error) => return Err(format!("{}: {error}", file.display())),
    };
    let wrong = || {
        format!(
            "{}: is no overrides file: [routes.NAME] with auth = \"MODE\"",
            file.display()
        )
    };
    let table: toml::Table = text.parse().map_err(|_| wrong())?;
    let Some(routes) = table.get("routes") else {
        return Ok(Modes::new());
    };
    let mode = |(name, keys): (&String, &toml::Value)| Some((name.clone(), joined(keys.get("auth")?)?));
    let modes: Option<Modes> = routes.as_table().and_then(|routes| routes.iter().map(mode).collect());
    modes.ok_or_else(wrong)
}

/// A mode by its name, or a list of methods joined by commas.
fn joined(mode: &toml::Value) -> Option<String> {
    if let Some(name) = mode.as_str() {
        return Some(name.to_owned());
    }
    let methods: Option<Vec<&str>> = mode.as_array()?.iter().map(toml::Value::as_str).collect();
    methods.map(|methods| methods.join(","))
}

/// What the file is to hold.
pub(super) fn text_of(modes: &Modes) -> String {
    let mut text = HEAD.to_owned();
    for (route, mode) in modes {
        let methods: Vec<&str> = mode.split(',').map(str::trim).collect();
        let mode = match methods.as_slice() {
            [one] => format!("{one:?}"),
            several => format!("{several:?}"),
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "\n[routes.{route}]\nauth = {mode}\n");
    }
    text
}

/// Writes the file beside itself and renames it into its place.
///
/// # Errors
/// The folder cannot be written, say because it is a read-only mount.
pub(super) fn write(file: &Path, text: &str) -> Result<(), String> {
    // A link stays one: what it points to is replaced.
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let fresh = file.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = write_through(&fresh, text).and_then(|()| std::fs::rename(&fresh, &file));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&fresh);
        format!(
            "{}: {error}; set server.overrides_file to a place that can be written, or share modes with --shared",
            file.display()
        )
    })
}

fn write_through(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
