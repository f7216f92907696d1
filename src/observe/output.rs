//! Standard output: lines reach it within 200 ms, no request ever waits for it, and what cannot be written is bounded and counted.
//!
//! Each worker appends to a buffer of its own; one thread empties them all. While that thread is stuck (a stopped reader of the
//! pipe, a full disk) buffers fill up to `BOUND`, then lines are dropped, and a line says how many. Depends on nothing else of
//! the crate.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::Level;

use super::Format;
use super::line::{Line, now_ms};

/// How often buffers are emptied.
const TICK: Duration = Duration::from_millis(100);
/// A buffer that passes this many bytes is emptied at once.
const PLENTY: usize = 64 * 1024;
/// Bytes that a buffer holds; further lines are dropped.
const BOUND: usize = 4 * 1024 * 1024;
/// Capacity that an emptied buffer keeps, in bytes.
const KEPT: usize = 256 * 1024;

/// The way to standard output. Clones are the same one.
#[derive(Clone)]
pub struct Output(Arc<Shared>);

struct Shared {
    buffers: Mutex<Vec<Arc<Mutex<Lines>>>>,
    as_text: AtomicBool,
    state: Mutex<State>,
    wake: Condvar,
    closed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closing,
    Closed,
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    dropped: u64,
}

impl Output {
    /// Starts the thread that writes to `writer`.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(writer: impl Write + Send + 'static, format: Format) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            buffers: Mutex::default(),
            as_text: AtomicBool::new(false),
            state: Mutex::new(State::Open),
            wake: Condvar::new(),
            closed: Condvar::new(),
        });
        let output = Self(shared.clone());
        output.set_format(format);
        let sink = Sink {
            writer,
            lost: 0,
            torn: false,
        };
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.empty_buffers(sink))?;
        Ok(output)
    }

    /// A buffer for one worker; it lives as long as the output.
    #[must_use]
    pub fn buffer(&self) -> LineBuffer {
        let lines = Arc::<Mutex<Lines>>::default();
        self.0.buffers.lock().push(lines.clone());
        LineBuffer {
            lines,
            shared: self.0.clone(),
        }
    }

    /// The format of lines from now on.
    pub fn set_format(&self, format: Format) {
        self.0.as_text.store(format == Format::Text, Ordering::Relaxed);
    }

    /// Writes what was buffered before the call and ends the thread; `false`: it could not within `patience`. Lines written
    /// afterwards are lost.
    #[must_use]
    pub fn close(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.0.state.lock();
        if *state == State::Open {
            *state = State::Closing;
            self.0.wake.notify_one();
        }
        while *state != State::Closed {
            if self.0.closed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        *state == State::Closed
    }
}

/// Where one worker's lines go.
pub struct LineBuffer {
    lines: Arc<Mutex<Lines>>,
    shared: Arc<Shared>,
}

impl LineBuffer {
    /// The format of lines at the moment.
    pub(super) fn format(&self) -> Format {
        self.shared.format()
    }

    /// Appends whole lines, each with its `\n`. Never waits for the writer: the lock is held for a swap of two vectors at most.
    /// At 4 MiB that nobody took, `append` is not called and one dropped line is counted.
    pub fn write(&self, append: impl FnOnce(&mut Vec<u8>, Format)) {
        let mut lines = self.lines.lock();
        let before = lines.bytes.len();
        if before >= BOUND {
            lines.dropped += 1;
            return;
        }
        append(&mut lines.bytes, self.format());
        if before < PLENTY && lines.bytes.len() >= PLENTY {
            drop(lines);
            self.shared.wake.notify_one();
        }
    }
}

impl Shared {
    fn format(&self) -> Format {
        if self.as_text.load(Ordering::Relaxed) {
            Format::Text
        } else {
            Format::Json
        }
    }

    fn empty_buffers(&self, mut sink: Sink<impl Write>) {
        let mut full = Vec::new();
        loop {
            let state = self.wait();
            // A copy, so that nobody who registers a buffer waits for the writer.
            let buffers = self.buffers.lock().clone();
            let mut dropped = 0;
            for buffer in buffers {
                {
                    let mut lines = buffer.lock();
                    std::mem::swap(&mut lines.bytes, &mut full);
                    dropped += std::mem::take(&mut lines.dropped);
                }
                sink.write(&full);
                full.clear();
                full.shrink_to(KEPT);
            }
            sink.report(dropped, self.format());
            if state != State::Open {
                break;
            }
        }
        *self.state.lock() = State::Closed;
        self.closed.notify_all();
    }

    /// Until there is plenty to write, or a tick has passed, or the end has come.
    fn wait(&self) -> State {
        let mut state = self.state.lock();
        if *state == State::Open {
            self.wake.wait_for(&mut state, TICK);
        }
        *state
    }
}

/// A writer that may fail for a while, or for good: nothing here is fatal.
struct Sink<W> {
    writer: W,
    /// Lines that could not be written, not reported yet.
    lost: u64,
    /// The last line was written in part.
    torn: bool,
}

impl<W: Write> Sink<W> {
    fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        if self.torn && self.write_all(b"\n").is_ok() {
            self.torn = false;
        }
        if let Err(rest) = self.write_all(lines) {
            self.lost += memchr::memchr_iter(b'\n', rest).count() as u64;
            let written = lines.len() - rest.len();
            self.torn |= written > 0 && lines.get(written - 1) != Some(&b'\n');
            return;
        }
        // Whatever failed, the next round tries again.
        let _ = self.writer.flush();
    }

    /// Says in one line how many lines are missing.
    fn report(&mut self, dropped: u64, format: Format) {
        self.lost += dropped;
        if self.lost == 0 {
            return;
        }
        let missing = std::mem::take(&mut self.lost);
        let mut bytes = Vec::new();
        let mut line = Line::begin(&mut bytes, format, now_ms(), Level::WARN);
        line.message("log lines dropped");
        line.integer("count", missing);
        line.text("service", "gateway");
        line.end();
        self.write(&bytes);
        if self.lost > 0 {
            self.lost = missing;
        }
    }

    /// What could not be written, on failure.
    fn write_all<'b>(&mut self, mut bytes: &'b [u8]) -> Result<(), &'b [u8]> {
        while !bytes.is_empty() {
            match self.writer.write(bytes) {
                Ok(0) => return Err(bytes),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody who shares the terminal or pipe made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(5)),
                Err(_) => return Err(bytes),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
