//! Logging as the configuration wants it.

use tracing_subscriber::{filter::LevelFilter, fmt};

use crate::config::{Config, LogFormat, LogLevel};

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
    let lines = fmt().with_max_level(level).with_ansi(false);
    let started = match config.observability.log_format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.try_init(),
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
