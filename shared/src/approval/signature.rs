//! Signatures on decisions: only the approval function can make one, and the step function acts on none without.
//!
//! Whoever may write the runs table could write an `approval_decided` too: intake, the step function with the tools it links,
//! operators. So the approval function signs each decision (Ed25519, <https://www.rfc-editor.org/rfc/rfc8032>) with a key that it alone may
//! read, and [`VerifiedDecisions`] hands out no journal in which a person's decision bears no good signature. Signed are the whole event,
//! when, whose data, and the digest of the call *as the journal has it*: arguments that were changed after the decision void it.
//!
//! A decision that time made (`expired`) needs none: it permits nothing. What else a journal says is not signed: who may write the
//! table can still end runs, and forge what the policy said (`docs/controls.md`).

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use async_trait::async_trait;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::signature::{ED25519, UnparsedPublicKey};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Action, Verdict, token::is_key_id};
use crate::{
    clock::{CLOCK_SKEW_MAX, Clock, Timestamp},
    ids::{ApprovalId, RunId, Tenant},
    journal::{
        Acceptance, Appended, EntryPage, Expected, Head, Interjected, Journal, JournalError, NewRun, Opened, Recorded,
    },
    json,
    run::{
        entry::{Entry, Event, Plan, PlannedCall, Seq},
        snapshot::Snapshot,
        state::{IllegalEntry, RunState},
    },
    secrets::{STALENESS_MAX, SecretCache, SecretError},
};

/// The most public keys: each stays for as long as runs are kept whose decisions it verifies, so one a month for twenty years.
pub const PUBLIC_KEYS_MAX: usize = 256;

const SIGNATURE_BYTES: usize = 64;
const PUBLIC_KEY_BYTES: usize = 32;
const VERSION: &str = "v1";

/// A signature: `<key id>.<base64url>`.
#[derive(Clone, PartialEq, Eq)]
pub struct DecisionSignature {
    pub(super) key: String,
    pub(super) bytes: [u8; SIGNATURE_BYTES],
}

impl fmt::Display for DecisionSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.key, URL_SAFE_NO_PAD.encode(self.bytes))
    }
}

impl fmt::Debug for DecisionSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a decision's signature")]
pub struct InvalidSignature;

impl FromStr for DecisionSignature {
    type Err = InvalidSignature;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (key, bytes) = text.split_once('.').filter(|(key, _)| is_key_id(key))?;
            let bytes = URL_SAFE_NO_PAD.decode(bytes).ok()?.try_into().ok()?;
            Some(DecisionSignature { key: key.to_owned(), bytes })
        };
        parse().ok_or(InvalidSignature)
    }
}

impl Serialize for DecisionSignature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DecisionSignature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// What is signed, each part preceded by its length, so that no two lists of parts read the same. Of `decided`, its own signature is
/// left out.
pub(super) fn message(key: &str, decided: &Event, digest: &str, tenant: &Tenant, at: Timestamp) -> Vec<u8> {
    let mut event = serde_json::to_value(decided).unwrap_or_default();
    if let Some(fields) = event.as_object_mut() {
        fields.remove("signature");
    }
    let (event, at) = (json::canonical(&event), at.as_millis().to_string());
    let mut message = Vec::with_capacity(event.len() + 256);
    for part in ["windlass decision", VERSION, key, digest, tenant.as_str(), at.as_str(), event.as_str()] {
        message.extend((part.len() as u64).to_be_bytes());
        message.extend(part.as_bytes());
    }
    message
}

/// The public keys that decisions are verified with. More than one while keys are rotated, and for as long as runs are kept.
#[derive(Clone, PartialEq, Eq)]
pub struct DecisionKeys {
    keys: BTreeMap<String, [u8; PUBLIC_KEY_BYTES]>,
}

impl fmt::Debug for DecisionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

/// The secret does not hold public keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDecisionKeys {
    /// It is not JSON of the wanted shape.
    #[error(r#"not JSON of the form {{"k1":"<base64 of 32 bytes>"}}: `windlass approvals public-keys` writes it"#)]
    Shape,
    /// There is none, or there are too many.
    #[error("{count} keys; 1 to {PUBLIC_KEYS_MAX} are allowed")]
    Count {
        /// How many.
        count: usize,
    },
}

/// Why a decision does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// It bears no signature.
    #[error("bears no signature")]
    Missing,
    /// It was signed with a key that is not among the public ones.
    #[error("was signed with `{key}`, which is none of the public keys")]
    UnknownKey {
        /// The key's id.
        key: String,
    },
    /// It was altered, or is about another call, run or tenant.
    #[error("bears a signature that is not of this decision")]
    Altered,
    /// Nobody was asked.
    #[error("answers a question that was not asked")]
    Unasked,
}

impl DecisionKeys {
    /// Reads `{"k1":"<base64 of 32 bytes>"}`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(secret: &SecretString) -> Result<DecisionKeys, InvalidDecisionKeys> {
        let listed: BTreeMap<String, String> =
            serde_json::from_str(secret.expose_secret()).map_err(|_| InvalidDecisionKeys::Shape)?;
        if listed.is_empty() || listed.len() > PUBLIC_KEYS_MAX {
            return Err(InvalidDecisionKeys::Count { count: listed.len() });
        }
        let parse = |(id, key): (String, String)| {
            let bytes = STANDARD.decode(key).ok()?.try_into().ok()?;
            is_key_id(&id).then_some((id, bytes))
        };
        let keys: Option<_> = listed.into_iter().map(parse).collect();
        keys.map(|keys| DecisionKeys { keys }).ok_or(InvalidDecisionKeys::Shape)
    }

    /// Whether a decision that is signed with `key` could be verified, `public` being that key's public half.
    pub fn hold(&self, key: &str, public: &[u8]) -> bool {
        self.keys.get(key).is_some_and(|held| held == public)
    }

    /// Whether `decided`, at `at`, was signed about the call with this digest, of this tenant.
    fn verify(&self, decided: &Event, digest: &str, tenant: &Tenant, at: Timestamp) -> Result<(), Unsigned> {
        let Event::ApprovalDecided { signature: Some(signature), .. } = decided else { return Err(Unsigned::Missing) };
        let unknown = || Unsigned::UnknownKey { key: signature.key.clone() };
        let key = self.keys.get(&signature.key).ok_or_else(unknown)?;
        let message = message(&signature.key, decided, digest, tenant, at);
        UnparsedPublicKey::new(&ED25519, key).verify(&message, &signature.bytes).map_err(|_| Unsigned::Altered)
    }

    /// Whether every decision of a person in a whole journal is signed.
    ///
    /// # Errors
    /// The first that is not, with its entry's place.
    pub fn check(&self, entries: &[Entry]) -> Result<(), (Seq, ApprovalId, Unsigned)> {
        if !is_decided(entries) {
            return Ok(());
        }
        // A journal that does not fold is for whoever folds it to refuse.
        let Ok(state) = RunState::fold(entries) else { return Ok(()) };
        for (seq, entry) in (1..).zip(entries) {
            for (event, approval) in entry.events.iter().filter_map(|event| Some((event, decision(event)?))) {
                let verified = asked(&state, entries, approval)
                    .ok_or(Unsigned::Unasked)
                    .and_then(|digest| self.verify(event, &digest, &state.request.tenant, entry.at));
                verified.map_err(|problem| (seq, approval, problem))?;
            }
        }
        Ok(())
    }
}

/// The digest of the call that a question is about, as it stands in the journal; `None` if the question was about something else.
fn asked(state: &RunState, entries: &[Entry], id: ApprovalId) -> Option<String> {
    // The state remembers old calls in short.
    let PlannedCall { tool, arguments, .. } =
        entries.iter().flat_map(|entry| &entry.events).find_map(|event| match event {
            Event::Planned { plan: Plan::Call { calls }, .. } => calls.iter().find(|call| call.id == id.call),
            _ => None,
        })?;
    let tenant = state.request.tenant.clone();
    let digest = Action { tenant, tool: tool.clone(), arguments: arguments.clone() }.digest();
    let request = entries.iter().flat_map(|entry| &entry.events).find_map(|event| match event {
        Event::ApprovalRequested(request) if request.id == id => Some(request),
        _ => None,
    })?;
    (request.digest == digest).then_some(digest)
}

/// Journals in which every decision of a person bears a good signature; any other is one that cannot be read.
pub struct VerifiedDecisions {
    journal: Arc<dyn Journal>,
    keys: Arc<SecretCache<DecisionKeys>>,
    clock: Arc<dyn Clock>,
}

impl VerifiedDecisions {
    /// Those of `journal` that hold under `keys`.
    pub fn new(journal: Arc<dyn Journal>, keys: Arc<SecretCache<DecisionKeys>>, clock: Arc<dyn Clock>) -> Self {
        Self { journal, keys, clock }
    }

    /// Whether a key that signed at `at` may be newer than the cached ones.
    fn may_be_rotated_since(&self, at: Timestamp) -> bool {
        let now = self.clock.now();
        at <= now + CLOCK_SKEW_MAX && now.since(at) < STALENESS_MAX
    }

    async fn verify(&self, run: RunId, entries: &[Entry]) -> Result<(), JournalError> {
        let away = |error: SecretError| JournalError::Unavailable { message: error.to_string() };
        let checked = match self.keys.get().await.map_err(away)?.check(entries) {
            // It may have been signed by a function that has seen a rotation before us.
            Err((_, _, Unsigned::UnknownKey { .. })) => self.keys.refresh().await.map_err(away)?.check(entries),
            checked => checked,
        };
        checked.map_err(|(seq, approval, problem)| {
            let unknown = matches!(problem, Unsigned::UnknownKey { .. });
            if unknown && entries.get(seq as usize - 1).is_some_and(|entry| self.may_be_rotated_since(entry.at)) {
                return JournalError::Unavailable { message: format!("the decision about `{approval}` {problem} yet") };
            }
            tracing::error!(%run, %approval, seq, %problem, "a decision is not signed");
            let source = IllegalEntry { seq, problem: format!("the decision about `{approval}` {problem}") };
            JournalError::Illegal { run, source }
        })
    }
}

/// Which question an event decides, unless time did: whatever else decides one was a person, or claims to have been.
fn decision(event: &Event) -> Option<ApprovalId> {
    match event {
        Event::ApprovalDecided { verdict: Verdict::Expired, .. } => None,
        Event::ApprovalDecided { approval, .. } => Some(*approval),
        _ => None,
    }
}

fn is_decided(entries: &[Entry]) -> bool {
    entries.iter().flat_map(|entry| &entry.events).any(|event| decision(event).is_some())
}

#[async_trait]
impl Journal for VerifiedDecisions {
    async fn accept(&self, new: &NewRun) -> Result<Acceptance, JournalError> {
        self.journal.accept(new).await
    }

    async fn record(&self, new: &NewRun) -> Result<Option<Recorded>, JournalError> {
        self.journal.record(new).await
    }

    async fn opened(&self, run: RunId) -> Result<Option<Head>, JournalError> {
        self.journal.opened(run).await
    }

    async fn open(&self, head: &Head) -> Result<Opened, JournalError> {
        self.journal.open(head).await
    }

    async fn page(&self, run: RunId, from: Seq, limit: usize) -> Result<EntryPage, JournalError> {
        let page = self.journal.page(run, from, limit).await?;
        if is_decided(&page.entries) {
            // What was asked may stand before what is read.
            match (from, page.more) {
                (1, false) => self.verify(run, &page.entries).await?,
                _ => self.verify(run, &self.journal.load(run, 1).await?).await?,
            }
        }
        Ok(page)
    }

    /// A snapshot bears no signatures: while a call that a person was asked about is unsettled, the journal is read from its first entry.
    async fn snapshot(&self, run: RunId) -> Result<Option<RunState>, JournalError> {
        let hangs_on_a_person =
            |state: &RunState| state.calls.iter().any(|call| call.approvals > 0 && !call.status.is_settled());
        Ok(self.journal.snapshot(run).await?.filter(|state| !hangs_on_a_person(state)))
    }

    async fn save_snapshot(&self, run: RunId, snapshot: &Snapshot, expires: Timestamp) -> Result<(), JournalError> {
        self.journal.save_snapshot(run, snapshot, expires).await
    }

    async fn append(&self, run: RunId, seq: Seq, entry: &Entry, expires: Timestamp) -> Result<Appended, JournalError> {
        self.journal.append(run, seq, entry, expires).await
    }

    async fn interject(
        &self,
        run: RunId,
        seq: Seq,
        entry: &Entry,
        expected: Expected,
    ) -> Result<Interjected, JournalError> {
        self.journal.interject(run, seq, entry, expected).await
    }
}

#[cfg(test)]
mod tests;
