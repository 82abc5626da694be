//! The desk's handbook: questions about refunds are answered from it, with citations.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use windlass::{
    agent::{model::Model, tool::Tool},
    clock::Clock,
    ids::InvalidId,
    memory::Sources,
    retrieval::{CitedAnswers, SearchSources, SourceIndex, SourceKind},
};

use super::tools::InvalidTool;

/// The handbook that serves unless `SOURCES_FILE` names another.
const HANDBOOK: &str = include_str!("handbook.json");

/// The task whose answers must cite.
pub const POLICY_QUESTION: &str = "policy-question";

/// A handbook that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{file}` cannot be read: {problem}")]
pub struct BadHandbook {
    /// The file.
    pub file: String,
    /// Why.
    pub problem: String,
}

/// The sources of `file`, or the built-in ones.
///
/// # Errors
/// When they cannot be read.
pub fn handbook(file: Option<&Path>) -> Result<Arc<dyn SourceIndex>, BadHandbook> {
    let name = file.map_or_else(|| "handbook.json".to_owned(), |path| path.display().to_string());
    let bad = |problem: String| BadHandbook { file: name.clone(), problem };
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?,
        None => HANDBOOK.to_owned(),
    };
    Ok(Arc::new(Sources::parse(&text).map_err(|error| bad(error.to_string()))?))
}

/// What questions are answered from.
fn kinds() -> BTreeSet<SourceKind> {
    [SourceKind::Policy, SourceKind::Manual].into()
}

/// The tool that searches the handbook.
///
/// # Errors
/// When its name or schema is not one: a mistake in the kit.
pub fn search(index: &Arc<dyn SourceIndex>, clock: Arc<dyn Clock>) -> Result<Arc<dyn Tool>, InvalidTool> {
    Ok(Arc::new(SearchSources::new(Arc::clone(index), clock, kinds())?))
}

/// `model`, held to the handbook where it answers questions.
///
/// # Errors
/// When the task's name is not one: a mistake in this file.
pub fn cited(model: Arc<dyn Model>, index: &Arc<dyn SourceIndex>) -> Result<CitedAnswers, InvalidId> {
    let tasks = [POLICY_QUESTION.parse()?].into();
    Ok(CitedAnswers { inner: model, index: Arc::clone(index), tasks, kinds: kinds() })
}
