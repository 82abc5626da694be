//! What the code says that the template must match.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use windlass::{
    aws::tables::{self, Table},
    schedule::Job,
};
use windlass_local::Authorization;

use super::CheckError;
use crate::stack;

/// The methods of SDK clients that the code calls, and those that it may come to call. A test holds the list to the sources.
const OPERATIONS: [&str; 21] = [
    "batch_get_item",
    "batch_write_item",
    "change_message_visibility",
    "change_message_visibility_batch",
    "delete_item",
    "delete_message",
    "delete_message_batch",
    "describe_secret",
    "get_item",
    "get_queue_attributes",
    "get_queue_url",
    "get_secret_value",
    "put_item",
    "query",
    "receive_message",
    "scan",
    "send_message",
    "send_message_batch",
    "transact_get_items",
    "transact_write_items",
    "update_item",
];

/// A route that a function answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// For example `POST /runs`.
    pub key: String,
    /// The function.
    pub function: String,
    /// Whether it takes no token.
    pub is_open: bool,
}

/// What the code says.
#[derive(Debug, Clone)]
pub struct Code {
    /// The functions, which are packages with a binary.
    pub functions: BTreeSet<String>,
    /// The routes that they answer.
    pub routes: Vec<Route>,
    /// The jobs that schedules fire, and how often.
    pub jobs: Vec<(String, Duration)>,
    /// The tables, by the name of their resource.
    pub tables: Vec<(&'static str, Table)>,
    /// Rust sources without their tests, by path.
    pub sources: BTreeMap<String, String>,
}

impl Code {
    /// Reads the sources below `root`; what else the code says is compiled in.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(root: &Path) -> Result<Code, CheckError> {
        let mut sources = BTreeMap::new();
        let mut functions = BTreeSet::new();
        collect(root, &root.join("shared/src"), &mut sources)?;
        for folder in listed(&root.join("functions"))? {
            collect(root, &folder.join("src"), &mut sources)?;
            if let (true, Some(name)) = (folder.join("src/main.rs").is_file(), folder.file_name()) {
                functions.insert(name.to_string_lossy().into_owned());
            }
        }
        let routes = stack::kit(&stack::Options::new(PathBuf::new())).routes.into_iter().map(|route| Route {
            key: format!("{} {}", route.method, route.path),
            function: route.function,
            is_open: route.authorization == Authorization::None,
        });
        let jobs = Job::ALL.iter().map(|job| (job.name().to_owned(), job.every())).collect();
        Ok(Code { functions, routes: routes.collect(), jobs, tables: tables(), sources })
    }

    /// Every SDK operation that a file calls, as `file: operation`.
    pub fn operations(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (file, text) in &self.sources {
            for operation in OPERATIONS {
                if text.contains(&format!(".{operation}()")) {
                    found.insert(format!("{file}: {operation}"));
                }
            }
        }
        found
    }
}

/// The tables, by the name of their resource in the template.
fn tables() -> Vec<(&'static str, Table)> {
    let names = ["RunsTable", "IdempotencyTable", "ControlsTable", "MemoryTable"];
    let mut tables: Vec<_> = names.into_iter().zip(tables::all("windlass")).collect();
    let desk = stack::kit(&stack::Options::new(PathBuf::new())).tables.into_iter();
    let desk = desk.filter(|table| table.create["TableName"] == json!(stack::DESK_TABLE));
    tables.extend(desk.map(|table| ("DeskTable", Table { create: table.create, ttl_attribute: table.ttl_attribute })));
    tables
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>, CheckError> {
    let unreadable = |source| CheckError::Unreadable { path: folder.display().to_string(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Rust files below a folder, without test files and what follows `#[cfg(test)]`.
fn collect(root: &Path, folder: &Path, into: &mut BTreeMap<String, String>) -> Result<(), CheckError> {
    for path in listed(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            collect(root, &path, into)?;
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = super::read(&path)?;
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            into.insert(path.strip_prefix(root).unwrap_or(&path).display().to_string(), code);
        }
    }
    Ok(())
}
