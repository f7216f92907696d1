//! A clock that tests move: the built binary sees hours pass in a moment. Linux only, as `clock.c` is.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use gateway::demo::tokens::now;

/// The clock of one gateway.
#[derive(Clone)]
pub struct Clock {
    ahead_s: Arc<AtomicI64>,
    file: Arc<std::fs::File>,
}

impl Clock {
    /// Right, until it is moved; and the variables that make a process follow it.
    pub fn in_folder(folder: &Path) -> (Self, [(String, String); 2]) {
        let path = folder.join("clock-ahead");
        std::fs::write(&path, 0_i64.to_ne_bytes()).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let library = library(folder);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let variables = [
            ("LD_PRELOAD".to_owned(), text(&library)),
            ("CLOCK_AHEAD".to_owned(), text(&path)),
        ];
        let clock = Self {
            ahead_s: Arc::default(),
            file: Arc::new(file),
        };
        (clock, variables)
    }

    /// Lets so many seconds pass at once. What sleeps notices with whatever wakes it next: a request, say.
    pub fn advance(&self, seconds: i64) {
        let ahead_s = self.ahead_s.fetch_add(seconds, Ordering::Relaxed) + seconds;
        self.file.write_all_at(&ahead_s.to_ne_bytes(), 0).unwrap();
    }

    /// Seconds since the Unix epoch, by this clock.
    pub fn now(&self) -> i64 {
        now() + self.ahead_s.load(Ordering::Relaxed)
    }
}

fn library(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/harness/clock.c");
    let library = folder.join("clock.so");
    let mut compiler = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
    let status = compiler
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source)
        .status();
    assert!(status.expect("a C compiler, which the build needs too").success());
    library
}
