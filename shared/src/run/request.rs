//! What is asked of a run: the same envelope over HTTP, queue and schedule.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    idempotency::PayloadHash,
    ids::{Actor, Role, Task, Tenant},
    json_bounds::{self, JSON_DEPTH_MAX, JSON_NODES_MAX, OutOfBounds},
};

/// The most bytes of a request's payload, as JSON. A run's first entry holds it, and an entry must stay well below
/// DynamoDB's 400 KB item limit.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// How a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `POST /runs`.
    Http,
    /// A message on the step queue.
    Queue,
    /// A schedule.
    Schedule,
}

/// One request for a run. Whoever builds it has already established who asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Whose data the run works on.
    pub tenant: Tenant,
    /// Who asks.
    pub actor: Actor,
    /// What is asked.
    pub task: Task,
    /// What it is asked with. At most [`PAYLOAD_BYTES_MAX`], [`JSON_NODES_MAX`] and [`JSON_DEPTH_MAX`].
    pub payload: Value,
    /// What the actor may do, as authentication said when the run was asked for; a policy reads it as `principal.roles`. Empty for what
    /// came from the queue or a schedule: nobody has authenticated there, and a message that names roles is refused.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<Role>,
}

/// Why a request is not accepted. Nothing has been written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// The payload is too large.
    #[error("the payload has {bytes} bytes of JSON; at most {PAYLOAD_BYTES_MAX} are allowed")]
    PayloadTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The payload has too many values.
    #[error("the payload has more than {JSON_NODES_MAX} values")]
    PayloadTooDense,
    /// The payload is nested too deeply.
    #[error("the payload is nested more than {JSON_DEPTH_MAX} levels deep")]
    PayloadTooDeep,
    /// It names roles, and nobody has authenticated whoever sent it.
    #[error("a request that did not come over HTTP cannot name roles")]
    RolesUnproven,
    /// The payload is not an object.
    #[error("the payload must be a JSON object")]
    PayloadNotAnObject,
}

impl RunRequest {
    /// What a repetition under its key must be equal to. Roles are not part of it: somebody who is given one between two sendings sends
    /// the same request.
    pub fn hash(&self) -> PayloadHash {
        let RunRequest { tenant, actor, task, payload, roles: _ } = self;
        PayloadHash::of(&json!({ "tenant": tenant, "actor": actor, "task": task, "payload": payload }))
    }

    /// Checks that nothing claims to be authenticated in what nobody has authenticated.
    ///
    /// # Errors
    /// When roles are named.
    pub fn check_unproven(&self) -> Result<(), InvalidRequest> {
        if self.roles.is_empty() { Ok(()) } else { Err(InvalidRequest::RolesUnproven) }
    }

    /// Checks what types alone do not say: size, nodes, depth, shape. A text that addresses the model is no reason to refuse: whoever writes
    /// to a customer's desk could make their own ticket unprocessable, and it would stop nobody. It is marked
    /// ([`Accepted::suspected`](super::entry::Accepted::suspected)).
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if !self.payload.is_object() {
            return Err(InvalidRequest::PayloadNotAnObject);
        }
        json_bounds::check(&self.payload).map_err(|out_of_bounds| match out_of_bounds {
            OutOfBounds::TooManyNodes => InvalidRequest::PayloadTooDense,
            OutOfBounds::TooDeep => InvalidRequest::PayloadTooDeep,
        })?;
        let bytes = self.payload.to_string().len();
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(InvalidRequest::PayloadTooLarge { bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(payload: Value) -> RunRequest {
        RunRequest {
            tenant: "acme".parse().expect("a tenant"),
            actor: "ada".parse().expect("an actor"),
            task: "refund".parse().expect("a task"),
            payload,
            roles: BTreeSet::new(),
        }
    }

    #[test]
    fn another_last_digit_is_another_request() {
        let order = |id: u64| request(json!({ "order_id": id })).hash();
        assert_ne!(order(9_007_199_254_740_992), order(9_007_199_254_740_993));
    }

    #[test]
    fn a_request_is_the_same_when_its_actor_was_given_a_role_meanwhile() {
        let before = request(json!({ "order": "A-1" }));
        let after = RunRequest { roles: BTreeSet::from(["finance".parse().expect("a role")]), ..before.clone() };
        assert_eq!(before.hash(), after.hash());
        assert_ne!(before.hash(), request(json!({ "order": "A-2" })).hash());
        assert_eq!(after.check_unproven(), Err(InvalidRequest::RolesUnproven));
    }

    #[test]
    fn a_request_that_was_stored_before_there_were_roles_has_none() {
        let stored = json!({ "tenant": "acme", "actor": "ada", "task": "refund", "payload": {} });
        let read: RunRequest = serde_json::from_value(stored.clone()).expect("it reads");
        assert!(read.roles.is_empty());
        assert_eq!(serde_json::to_value(read).expect("it has JSON"), stored);
    }

    #[test]
    fn a_payload_is_held_to_its_size_depth_and_shape() {
        assert_eq!(request(json!({"order": "A-1"})).check(), Ok(()));
        assert_eq!(request(json!([1])).check(), Err(InvalidRequest::PayloadNotAnObject));
        let large = json!({"text": "x".repeat(PAYLOAD_BYTES_MAX)});
        assert!(matches!(request(large).check(), Err(InvalidRequest::PayloadTooLarge { .. })));
        let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }));
        assert_eq!(request(nested(JSON_DEPTH_MAX)).check(), Ok(()));
        assert_eq!(request(nested(JSON_DEPTH_MAX + 1)).check(), Err(InvalidRequest::PayloadTooDeep));
        let dense = json!({ "items": vec![0; JSON_NODES_MAX] });
        assert!(dense.to_string().len() < PAYLOAD_BYTES_MAX);
        assert_eq!(request(dense).check(), Err(InvalidRequest::PayloadTooDense));
    }
}
