//! The overrides file as `gateway mode` writes it: whole, and in one step, so that no gateway ever sees half of it; and by one hand
//! at a time, so that of two operators none undoes what the other did.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::config::Modes;

const HEAD: &str = "\
# Written by `gateway mode`: modes in force instead of those in gateway.toml. `gateway mode --reset` takes them back.
";

/// The file, held by this process alone until it is written or let go.
///
/// INVARIANT: what is written was read while it was held.
pub(super) struct Held {
    /// A link stays one: what it points to is replaced.
    file: PathBuf,
    /// Beside the file, which a rename replaces and so cannot be the lock itself. It stays: who removes it could remove one that
    /// somebody else holds already.
    _lock: File,
}

impl Held {
    /// Waits until nobody else holds the file.
    ///
    /// # Errors
    /// The folder cannot be written, say because it is a read-only mount.
    pub(super) fn take(file: &Path) -> Result<Self, String> {
        let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let locked = File::create(beside(&file, "lock")).and_then(|lock| {
            flock(&lock, FlockOperation::LockExclusive)?;
            Ok(lock)
        });
        match locked {
            Ok(lock) => Ok(Self { file, _lock: lock }),
            Err(error) => Err(unwritable(&file, &error)),
        }
    }

    /// Writes beside the file, renames that into its place and lets it go.
    ///
    /// # Errors
    /// As above.
    pub(super) fn write(self, text: &str) -> Result<(), String> {
        let fresh = beside(&self.file, "new");
        let written = write_through(&fresh, text).and_then(|()| std::fs::rename(&fresh, &self.file));
        written.map_err(|error| {
            let _ = std::fs::remove_file(&fresh);
            unwritable(&self.file, &error)
        })
    }
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

/// `.NAME.END`, which no include takes.
fn beside(file: &Path, end: &str) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}.{end}"))
}

fn write_through(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn unwritable(file: &Path, error: &io::Error) -> String {
    format!(
        "{}: {error}; set server.overrides_file to a place that can be written, or share modes with --shared",
        file.display()
    )
}
