//! Invoking a function by a version or an alias.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;

use super::{
    qualifier::{LATEST, Qualifier, Version},
    versioned::Versioned,
};
use crate::{
    function::{InvokeError, PAYLOAD_BYTES_MAX},
    identifier,
    logs::LastLines,
    metrics::{Invocation, Outcome},
    pool::{Call, Patience},
    process::Answer,
};

/// A function to invoke. Without a qualifier it is `$LATEST`.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) function: Arc<Versioned>,
    pub(crate) qualifier: Option<Qualifier>,
}

/// An invocation that was asked for, with what became of it.
pub(crate) struct Asked {
    pub(crate) executed: Version,
    pub(crate) request_id: String,
    pub(crate) answer: Answer,
    pub(crate) took: Duration,
}

impl Target {
    /// Invokes and waits for the answer. An invocation that was handed over goes on when the invoker goes away.
    pub(crate) async fn invoke(&self, event: Bytes, patience: Patience) -> Answer {
        self.ask(event, patience, None).await?.answer
    }

    /// The same; says which version ran, and copies what its process writes into `tail`.
    ///
    /// # Errors
    /// When nothing could be asked: there is no such version or alias.
    pub(crate) async fn ask(
        &self,
        event: Bytes,
        patience: Patience,
        tail: Option<LastLines>,
    ) -> Result<Asked, InvokeError> {
        if event.len() > PAYLOAD_BYTES_MAX {
            return Err(InvokeError::PayloadTooLarge { bytes: event.len() });
        }
        let qualifier = self.qualifier.clone().unwrap_or(Qualifier::Version(Version::Latest));
        let (executed, pool) = self
            .function
            .choose(&qualifier)
            .ok_or_else(|| InvokeError::UnknownFunction { function: self.to_string() })?;
        let arn = match &self.qualifier {
            Some(qualifier) => self.function.qualified_arn(qualifier),
            None => self.function.arn.clone(),
        };
        let request_id = identifier::uuid();
        let call = Call { request_id: request_id.clone(), event, arn, tail };
        let target = self.clone();
        // In a task of its own, so that it is counted also when whoever asked has gone.
        let asked = tokio::spawn(async move {
            let function = &target.function;
            let concurrent = (function.busy() + 1).min(function.concurrency_max.max(1));
            let (answer, took) = pool.invoke(call, patience).await;
            target.count(executed, &answer, took, concurrent);
            Asked { executed, request_id, answer, took }
        });
        asked.await.map_err(|_| InvokeError::ShuttingDown)
    }

    fn count(&self, executed: Version, answer: &Answer, took: Duration, concurrent: usize) {
        let Some(outcome) = outcome(answer) else { return };
        let qualifier = self.qualifier.as_ref().map(ToString::to_string);
        let executed = executed.to_string();
        let behind_an_alias = matches!(self.qualifier, Some(Qualifier::Alias(_)));
        self.function.metrics.invoked(&Invocation {
            function: &self.function.name,
            qualifier: qualifier.as_deref(),
            executed: behind_an_alias.then_some(executed.as_str()),
            outcome,
            took,
            concurrent,
        });
    }

    /// Resolves when an invocation would find a slot.
    pub(crate) async fn available(&self) -> Result<(), InvokeError> {
        self.function.available().await
    }

    /// What is asked for, in words.
    pub(crate) fn qualifier_text(&self) -> String {
        self.qualifier.as_ref().map_or_else(|| LATEST.to_owned(), ToString::to_string)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.function.name, self.qualifier_text())
    }
}

/// What Lambda counts, if it was one of its invocations.
fn outcome(answer: &Answer) -> Option<Outcome> {
    match answer {
        Ok(_) => Some(Outcome::Answered),
        Err(InvokeError::TooManyRequests { .. }) => Some(Outcome::Throttled),
        Err(InvokeError::UnknownFunction { .. } | InvokeError::ShuttingDown) => None,
        Err(
            InvokeError::InitFailed { .. }
            | InvokeError::TimedOut { .. }
            | InvokeError::Exited { .. }
            | InvokeError::Function { .. }
            | InvokeError::PayloadTooLarge { .. }
            | InvokeError::Malformed { .. },
        ) => Some(Outcome::Failed),
    }
}
