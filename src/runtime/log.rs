//! The process's log as `[log]` asks for it; format and level follow a reload.

use std::io;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::config::model::{self, LogFormat, LogLevel};
use crate::observe::Format;
use crate::observe::events::{self, EventLevel};
use crate::observe::output::{LineBuffer, Output};

/// For the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Standard output, and the least severe event on it.
#[derive(Clone)]
pub struct Log {
    output: Output,
    level: EventLevel,
}

impl Log {
    /// Starts writing this process's events to standard output.
    ///
    /// # Errors
    /// There is no thread to be had, or the process logs already.
    pub fn begin(config: &model::Log) -> io::Result<Self> {
        let output = Output::start(io::stdout(), format(config.format))?;
        let level = events::init(&output, level(config.level)).map_err(io::Error::other)?;
        Ok(Self { output, level })
    }

    /// Follows a changed config.
    pub fn apply(&self, config: &model::Log) {
        self.output.set_format(format(config.format));
        self.level.set(level(config.level));
    }

    /// Where one worker's lines go.
    #[must_use]
    pub fn buffer(&self) -> LineBuffer {
        self.output.buffer()
    }

    /// Writes what is left, unless standard output is stuck.
    pub fn end(&self) {
        if !self.output.close(LAST_LINES) {
            eprintln!("gateway: the last log lines could not be written");
        }
    }
}

const fn format(format: LogFormat) -> Format {
    match format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
    }
}

const fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
