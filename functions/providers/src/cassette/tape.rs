//! One exchange on file.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use windlass::{ids::RunId, redaction::Redaction};

use super::{TAPES_MAX, cleanse::cleanse};
use crate::{
    conversation::canonical,
    transport::{Exchange, Received, TransportError},
};

/// What stands for the run's id.
const RUN: &str = "{run}";

/// One exchange on file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tape {
    /// The name of the file, and what the exchange is found by.
    pub key: String,
    /// Which model was asked.
    pub model: String,
    /// What it was asked.
    pub request: Value,
    /// What it answered: JSON as it is, anything else as text.
    pub response: Value,
}

/// What an exchange is found by, and its request as it is kept.
pub fn request_of(exchange: &Exchange, secret: Option<&str>) -> (String, Value) {
    let request = kept(&exchange.body, exchange.run, secret);
    let mut hash = Sha256::new();
    hash.update(exchange.model.as_bytes());
    hash.update([0]);
    hash.update(canonical(&request).as_bytes());
    let key = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    (key, request)
}

/// A value without the run's id, without secrets, and without what is under a key that says that it is one.
fn kept(value: &Value, run: RunId, secret: Option<&str>) -> Value {
    Redaction::CREDENTIALS.value(&cleansed(value, run, secret))
}

fn cleansed(value: &Value, run: RunId, secret: Option<&str>) -> Value {
    let keep = |text: &str| cleanse(&text.replace(&run.to_string(), RUN), secret);
    match value {
        Value::String(text) => Value::String(keep(text)),
        Value::Array(items) => items.iter().map(|item| cleansed(item, run, secret)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (keep(name), cleansed(field, run, secret)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

impl Tape {
    /// An exchange and its answer, as they are kept.
    pub fn of(exchange: &Exchange, received: &Received, secret: Option<&str>) -> Tape {
        let (key, request) = request_of(exchange, secret);
        let text = || Value::String(String::from_utf8_lossy(&received.body).into_owned());
        let response = serde_json::from_slice(&received.body).unwrap_or_else(|_| text());
        Tape { key, model: exchange.model.clone(), request, response: kept(&response, exchange.run, secret) }
    }

    /// The answer for a run.
    pub fn body_for(&self, run: RunId) -> Vec<u8> {
        let text = match &self.response {
            Value::String(text) => text.clone(),
            json => json.to_string(),
        };
        text.replace(RUN, &run.to_string()).into_bytes()
    }

    /// Writes it into a folder, over what was there. A reader sees the old file or the new one, never half of it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), TransportError> {
        let (file, part) = (folder.join(format!("{}.json", self.key)), folder.join(format!("{}.part", self.key)));
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        let written =
            fs::create_dir_all(folder).and_then(|()| fs::write(&part, text)).and_then(|()| fs::rename(&part, &file));
        written.map_err(|error| recording(&file, &error))
    }

    /// The exchange of that key, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read, or is not an exchange.
    pub fn read(folder: &Path, key: &str) -> Result<Option<Tape>, TransportError> {
        let file = folder.join(format!("{key}.json"));
        match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| recording(&file, &error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(recording(&file, &error)),
        }
    }

    /// Every exchange of a folder that can be read, at most [`TAPES_MAX`]; none when there is no such folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn all(folder: &Path) -> Result<Vec<Tape>, TransportError> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(recording(folder, &error)),
        };
        let files = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).take(TAPES_MAX);
        let json = files.filter(|file| file.extension().is_some_and(|end| end == "json"));
        let mut tapes: Vec<Tape> =
            json.filter_map(|file| fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())).collect();
        tapes.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(tapes)
    }
}

fn recording(file: &Path, error: &io::Error) -> TransportError {
    TransportError::Recording { message: format!("the cassette's `{}`: {error}", file.display()) }
}
