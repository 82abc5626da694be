//! Logging as the configuration wants it.

use std::fmt;

use serde_json::{Map, Value, json};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Json, JsonFields, Writer},
        time::SystemTime,
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::{
    config::{Config, LogFormat, LogLevel},
    redaction::Redaction,
};

/// Whose lines are written at the configured level: the kit's own crates.
const OURS: [&str; 6] = ["windlass", "windlass_http", "intake", "step", "approval", "cleanup"];

/// Starts logging to standard output, where Lambda picks lines up, and logs the configuration in force. Does nothing but that
/// line when logging has been started before.
pub fn init(config: &Config) {
    let level = match config.runtime.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Libraries write whole requests at the lower levels, keys and tokens included: they are heard only when they warn.
    let heard = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(OURS.iter().map(|target| (*target, level)));
    let lines = tracing_subscriber::fmt::layer().with_ansi(false);
    let registry = tracing_subscriber::registry();
    let started = match config.observability.log_format {
        LogFormat::Json => {
            let format = JsonLines::new(config.runtime.release.to_string());
            let lines = lines.fmt_fields(JsonFields::new()).event_format(format);
            registry.with(lines.with_filter(heard)).try_init()
        }
        LogFormat::Text => registry.with(lines.event_format(TextLines::default()).with_filter(heard)).try_init(),
    };
    let summary = config.summary();
    tracing::info!(
        service = config.runtime.service_name,
        release = %summary.release,
        environment = summary.environment,
        configuration = summary.digest,
        logging = started.is_ok(),
        "started"
    );
}

/// One JSON object a line: the event's fields and those of the spans it is in, side by side, redacted. So a line within a run
/// carries `run`, `trace`, `tenant` and `release`.
pub(super) struct JsonLines {
    inner: Format<Json, SystemTime>,
    release: String,
}

impl JsonLines {
    pub(super) fn new(release: String) -> JsonLines {
        let inner = Format::default().with_ansi(false).json().flatten_event(true);
        JsonLines { inner: inner.with_current_span(false).with_span_list(true), release }
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut written = String::new();
        self.inner.format_event(ctx, Writer::new(&mut written), event)?;
        let line = match serde_json::from_str::<Map<String, Value>>(&written) {
            Ok(fields) => Redaction::STRICT.value(&self.flat(fields)).to_string(),
            // It was no object after all: better a line that is odd than one that tells too much.
            Err(_) => json!({ "message": Redaction::STRICT.text(written.trim_end()) }).to_string(),
        };
        writeln!(writer, "{line}")
    }
}

impl JsonLines {
    /// With the fields of spans beside those of the event, which win.
    fn flat(&self, mut fields: Map<String, Value>) -> Value {
        let spans = fields.remove("spans").and_then(|spans| match spans {
            Value::Array(spans) => Some(spans),
            _ => None,
        });
        // The innermost span is last, and nearer to the event.
        for span in spans.into_iter().flatten().rev() {
            let Value::Object(span) = span else { continue };
            for (name, value) in span.into_iter().filter(|(name, _)| name != "name") {
                fields.entry(name).or_insert(value);
            }
        }
        fields.entry("release").or_insert_with(|| json!(self.release));
        Value::Object(fields)
    }
}

/// Lines for reading along, redacted.
#[derive(Default)]
pub(super) struct TextLines(Format<Full, SystemTime>);

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut written = String::new();
        self.0.format_event(ctx, Writer::new(&mut written), event)?;
        writer.write_str(&Redaction::STRICT.text(&written))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing::{info, info_span, subscriber::with_default};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn within_a_run() {
        let span = info_span!("run", run = "R-1", trace = tracing::field::Empty, tenant = "acme", release = "r7");
        let _entered = span.enter();
        span.record("trace", "T-1");
        info!(password = "hunter2", call = 3, "ada@example.org was written to");
    }

    #[test]
    fn a_line_carries_its_run_trace_tenant_and_release_and_no_personal_data() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt().fmt_fields(JsonFields::new()).with_writer(move || writer.clone());
        with_default(lines.event_format(JsonLines::new("r0".to_owned())).finish(), || {
            within_a_run();
            info!("alone");
        });
        let text = String::from_utf8(kept.0.lock().expect("nobody panicked").clone()).expect("it is text");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
        for (field, wanted) in [
            ("run", json!("R-1")),
            ("trace", json!("T-1")),
            ("tenant", json!("acme")),
            ("release", json!("r7")),
            ("call", json!(3)),
            ("password", json!("[redacted:password]")),
            ("message", json!("[redacted:email] was written to")),
            ("level", json!("INFO")),
        ] {
            assert_eq!(lines[0][field], wanted, "{field}");
        }
        assert_eq!(lines[1]["release"], "r0");
    }

    #[test]
    fn a_line_for_reading_along_has_no_personal_data_either() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        with_default(lines.event_format(TextLines::default()).finish(), within_a_run);
        let text = String::from_utf8(kept.0.lock().expect("nobody panicked").clone()).expect("it is text");
        assert!(text.contains("[redacted:email] was written to") && !text.contains("hunter2"), "{text}");
    }
}
