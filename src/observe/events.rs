//! Events as log lines: the `tracing` subscriber. Depends on `output` and `line` only.
//!
//! Spans are ignored. INVARIANT: only this crate's own events are written, at any level: libraries print headers at `debug` and
//! `trace` (hardening r12).

use std::fmt::Debug;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::SetGlobalDefaultError;
use tracing::{Event, Metadata, Subscriber};

use super::line::{Line, now_ms};
use super::output::{LineBuffer, Output};

/// Where this crate's events come from.
const OWN: &str = env!("CARGO_CRATE_NAME");

/// Writes this process's events to `output`, from `level` up.
///
/// # Errors
/// The process has a subscriber already.
pub fn init(output: &Output, level: LevelFilter) -> Result<EventLevel, SetGlobalDefaultError> {
    let (events, level) = subscriber(output, level);
    tracing::subscriber::set_global_default(events)?;
    Ok(level)
}

fn subscriber(output: &Output, level: LevelFilter) -> (Events, EventLevel) {
    let level = Arc::new(ArcSwap::from_pointee(level));
    let events = Events {
        lines: output.buffer(),
        level: level.clone(),
    };
    (events, EventLevel(level))
}

/// The least severe level that is written.
#[derive(Debug, Clone)]
pub struct EventLevel(Arc<ArcSwap<LevelFilter>>);

impl EventLevel {
    /// Changes it.
    pub fn set(&self, level: LevelFilter) {
        self.0.store(Arc::new(level));
        // Each place that makes events remembers whether anybody wants them.
        tracing::callsite::rebuild_interest_cache();
    }
}

struct Events {
    lines: LineBuffer,
    level: Arc<ArcSwap<LevelFilter>>,
}

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let module = metadata.target().strip_prefix(OWN);
        let own = module.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        metadata.is_event() && own && *metadata.level() <= **self.level.load()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(**self.level.load())
    }

    fn event(&self, event: &Event<'_>) {
        // Before the buffer is locked: what a field displays may make events itself.
        let mut bytes = Vec::new();
        let mut line = Line::begin(&mut bytes, self.lines.format(), now_ms(), *event.metadata().level());
        event.record(&mut Fields(&mut line));
        line.text("service", "gateway");
        line.end();
        self.lines.write(|out, _| out.extend_from_slice(&bytes));
    }

    // Spans are never enabled.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message comes first: `tracing` puts it before the other fields.
struct Fields<'l, 'a>(&'l mut Line<'a>);

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.0.message(value),
            name => self.0.text(name, value),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.integer(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.integer(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.literal(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN and no infinity.
        if value.is_finite() {
            self.0.literal(field.name(), value);
        } else {
            self.record_debug(field, &value);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::io::{self, Write};
    use std::time::Duration;

    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tracing::{debug, error, info, info_span, warn};

    use super::super::Format;
    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `happens` leaves.
    fn lines(format: Format, level: LevelFilter, happens: impl FnOnce(&EventLevel)) -> Vec<String> {
        let paper = Paper::default();
        let output = Output::start(paper.clone(), format).unwrap();
        let (events, level) = subscriber(&output, level);
        tracing::subscriber::with_default(events, || happens(&level));
        assert!(output.close(Duration::from_secs(30)));
        let bytes = paper.0.lock();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_event_is_one_flat_line() {
        let lines = lines(Format::Json, LevelFilter::INFO, |_| {
            let error = io::Error::other("connection refused\n");
            warn!(issuer = "main", attempt = 3, again = true, wait_s = 0.5, kept = f64::NAN, %error, "JWKS refresh failed");
        });
        let mut event: Value = serde_json::from_str(&lines[0]).unwrap();
        assert!(lines[0].starts_with("{\"time\":\"20"), "{lines:?}");
        event.as_object_mut().unwrap().remove("time");
        assert_eq!(
            event,
            json!({
                "level": "warn", "message": "JWKS refresh failed", "issuer": "main", "attempt": 3, "again": true, "wait_s": 0.5,
                "kept": "NaN", "error": "connection refused\n", "service": "gateway",
            })
        );
    }

    #[test]
    fn text_has_the_message_first() {
        let lines = lines(Format::Text, LevelFilter::INFO, |_| {
            error!(file = "a b.toml", problem = 1, "config reload refused");
        });
        let (_, rest) = lines[0].split_once(' ').unwrap();
        assert_eq!(
            rest,
            "error config reload refused file=\"a b.toml\" problem=1 service=gateway"
        );
    }

    #[test]
    fn the_level_filters_and_can_be_changed() {
        let lines = lines(Format::Text, LevelFilter::WARN, |level| {
            for _ in 0..2 {
                warn!("seen");
                info!("seen later");
                debug!("never seen");
                level.set(LevelFilter::INFO);
            }
        });
        let messages: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').nth(2)).collect();
        assert_eq!(messages, ["seen", "seen", "seen"]);
        assert!(lines[2].contains("seen later"), "{lines:?}");
    }

    #[test]
    fn r12_events_of_libraries_are_not_written() {
        let lines = lines(Format::Json, LevelFilter::TRACE, |_| {
            info!(target: "h2::codec", headers = "authorization: Bearer x", "send");
            info!(target: "gatewayish", "send");
            let _span = info_span!("spans are ignored").entered();
            info!("own");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("\"own\""));
    }
}
