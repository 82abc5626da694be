//! Why a stack cannot start.

use crate::{dynamodb::StoreError, issuer::IssuerError, secrets::SecretsError};

/// The stack could not start.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A port is taken.
    #[error("cannot listen on 127.0.0.1{}", .port.map(|port| format!(":{port}")).unwrap_or_default())]
    Listen {
        /// The port asked for.
        port: Option<u16>,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The data directory cannot be used.
    #[error("cannot use the data directory")]
    Data(#[source] std::io::Error),
    /// A log file cannot be opened.
    #[error("cannot open the log of `{function}`")]
    Log {
        /// The function.
        function: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The group of the function processes cannot be set up.
    #[error("cannot start `sh`, which ends the function processes should the stack die")]
    ProcessGroup(#[source] std::io::Error),
    /// The tables cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A table was refused.
    #[error("cannot create a table: {message}")]
    Table {
        /// DynamoDB's answer.
        message: String,
    },
    /// A queue was refused.
    #[error("cannot create the queue `{queue}`: {message}")]
    Queue {
        /// The queue.
        queue: String,
        /// SQS's answer.
        message: String,
    },
    /// The secrets cannot be used.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The issuer cannot be set up.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// Two functions have one name.
    #[error("there are two functions `{function}`")]
    Duplicate {
        /// The name.
        function: String,
    },
    /// A name is none that an alias may have.
    #[error("`{alias}` cannot be the name of an alias")]
    AliasName {
        /// The name.
        alias: String,
    },
    /// Traffic goes to an alias that no function has.
    #[error("traffic goes to the alias `{alias}`, which is not among the aliases")]
    UnknownAlias {
        /// The name.
        alias: String,
    },
    /// A route, mapping or schedule names a function that is not there.
    #[error("{what} names the function `{function}`, which is not in the stack")]
    UnknownFunction {
        /// For example "the route `GET /runs`".
        what: String,
        /// The name.
        function: String,
    },
    /// A mapping or redrive policy names a queue that is not there.
    #[error("{what} names the queue `{queue}`, which is not in the stack")]
    UnknownQueue {
        /// For example "the mapping to `step`".
        what: String,
        /// The name.
        queue: String,
    },
    /// An environment value has a placeholder that stands for nothing.
    #[error("the environment of `{function}` has an unknown placeholder `${{{placeholder}}}`")]
    UnknownPlaceholder {
        /// The function.
        function: String,
        /// What is between `${` and `}`.
        placeholder: String,
    },
}
