//! Timing: how long the model and the tools took, told with the entries that record what they said.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;

use super::{Teller, narrative::Timed};
use crate::{
    agent::{
        Agent,
        model::{Answer, Model, ModelError, Question, Usage},
        tool::{CallContext, NotNow, Tool, ToolError, ToolSpec},
    },
    clock::{Clock, Timestamp},
};

impl Teller {
    /// `agent`, of which every answer and every call is timed.
    pub fn watch(self: &Arc<Self>, agent: Agent, clock: &Arc<dyn Clock>) -> Agent {
        let tools = agent.tools.into_iter().map(|(name, inner)| {
            let tool: Arc<dyn Tool> = Arc::new(Watched { inner, teller: Arc::clone(self), clock: Arc::clone(clock) });
            (name, tool)
        });
        Agent {
            tools: tools.collect(),
            model: Arc::new(Watched { inner: agent.model, teller: Arc::clone(self), clock: Arc::clone(clock) }),
            ..agent
        }
    }
}

struct Watched<P: ?Sized> {
    inner: Arc<P>,
    teller: Arc<Teller>,
    clock: Arc<dyn Clock>,
}

impl<P: ?Sized> Watched<P> {
    fn since(&self, started: Timestamp) -> Duration {
        self.clock.now().since(started)
    }
}

#[async_trait]
impl Model for Watched<dyn Model> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn timeout(&self) -> Duration {
        self.inner.timeout()
    }

    fn worst_case(&self, question: &Question<'_>) -> Usage {
        self.inner.worst_case(question)
    }

    fn can_ask(&self, name: &str) -> bool {
        self.inner.can_ask(name)
    }

    async fn answer(&self, question: Question<'_>) -> Result<Answer, ModelError> {
        let (run, started) = (question.run, self.clock.now());
        let answer = self.inner.answer(question).await;
        self.teller.took(run, Timed::Model, self.since(started));
        answer
    }
}

impl Watched<dyn Tool> {
    fn took(&self, context: &CallContext, started: Timestamp) {
        self.teller.took(context.run, Timed::Call(context.call), self.since(started));
    }
}

#[async_trait]
impl Tool for Watched<dyn Tool> {
    fn spec(&self) -> &ToolSpec {
        self.inner.spec()
    }

    fn check(&self, arguments: &Value) -> Result<(), String> {
        self.inner.check(arguments)
    }

    fn check_for(&self, context: &CallContext, arguments: &Value) -> Result<(), String> {
        self.inner.check_for(context, arguments)
    }

    async fn ready(&self, context: &CallContext) -> Result<(), NotNow> {
        self.inner.ready(context).await
    }

    async fn call(&self, context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
        let started = self.clock.now();
        let answer = self.inner.call(context, arguments).await;
        self.took(context, started);
        answer
    }

    async fn query(&self, context: &CallContext, arguments: &Value) -> Result<Option<Value>, ToolError> {
        let started = self.clock.now();
        let answer = self.inner.query(context, arguments).await;
        self.took(context, started);
        answer
    }

    async fn compensate(&self, context: &CallContext, arguments: &Value) -> Result<Value, ToolError> {
        let started = self.clock.now();
        let answer = self.inner.compensate(context, arguments).await;
        self.took(context, started);
        answer
    }
}
