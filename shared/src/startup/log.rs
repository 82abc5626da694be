//! Logging as the configuration wants it.

use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::config::{Config, LogFormat, LogLevel};

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
    let lines = fmt::layer().with_ansi(false);
    let registry = tracing_subscriber::registry();
    let started = match config.observability.log_format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_filter(heard)).try_init(),
        LogFormat::Text => registry.with(lines.with_filter(heard)).try_init(),
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
