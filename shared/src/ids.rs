//! Identifiers as types that are born by parsing, and the port they take their randomness from.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use ulid::Ulid;

use crate::{
    clock::{Clock, Timestamp},
    redaction::cut,
};

/// Where random bits come from, so that tests and simulations can repeat a run exactly.
pub trait Random: Send + Sync {
    /// 128 random bits.
    fn bits(&self) -> u128;

    /// A number in `0..bound`; zero for a bound of zero. For jitter, not for keys.
    fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { (self.bits() % u128::from(bound)) as u64 }
    }
}

/// The operating system's generator, by way of a seeded ChaCha stream for each thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn bits(&self) -> u128 {
        rand::random()
    }
}

/// The text is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}")]
pub struct InvalidId {
    text: String,
    wanted: &'static str,
}

impl InvalidId {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self { text: cut(text, 64).to_owned(), wanted }
    }
}

macro_rules! id_as_text {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

/// A run: a ULID (<https://github.com/ulid/spec>), 26 characters that sort by creation time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Ulid);

impl RunId {
    /// A new id for a run that starts now.
    pub fn generate(clock: &dyn Clock, random: &dyn Random) -> Self {
        let millis = u64::try_from(clock.now().as_millis()).unwrap_or(0);
        Self(Ulid::from_parts(millis, random.bits()))
    }

    /// When the run was created, as the id says.
    pub fn created(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX))
    }

    /// The random part, for spreading runs over shards.
    pub fn spread(&self) -> u64 {
        self.0.random() as u64
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Only the canonical form is an id: one run must not be found under two spellings.
        match Ulid::from_string(text) {
            Ok(ulid) if ulid.to_string() == text => Ok(Self(ulid)),
            _ => Err(InvalidId::new(text, "a run id (a ULID of 26 upper-case characters)")),
        }
    }
}
id_as_text!(RunId);

/// A tool call within a run: 1, 2, 3 … in the order planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub u32);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One question to a person: the run, the call it is about, and which asking of that call it is
/// (`01J…Q-3-1`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApprovalId {
    /// The run that asks.
    pub run: RunId,
    /// The call that the question is about.
    pub call: CallId,
    /// 1 for the first question about this call, then 2, 3 …
    pub round: u32,
}

impl fmt::Display for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.run, self.call, self.round)
    }
}

impl FromStr for ApprovalId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.split('-');
            let id = Self {
                run: parts.next()?.parse().ok()?,
                call: CallId(parts.next()?.parse().ok()?),
                round: parts.next()?.parse().ok()?,
            };
            (parts.next().is_none() && id.to_string() == text).then_some(id)
        };
        parse().ok_or_else(|| InvalidId::new(text, "an approval id (run id, call and round joined by `-`)"))
    }
}
id_as_text!(ApprovalId);

/// A W3C trace id: 32 lower-case hexadecimal digits, not all zero
/// (<https://www.w3.org/TR/trace-context/#trace-id>).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// A new random trace id.
    pub fn generate(random: &dyn Random) -> Self {
        Self(random.bits().max(1))
    }

    /// The trace id in a `traceparent` header, if the header is well formed.
    pub fn from_traceparent(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
        (hex(version, 2) && version != "ff" && hex(parent, 16) && hex(flags, 2)).then(|| trace.parse().ok())?
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for TraceId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 32 && text.bytes().all(lower_hex))
            .then(|| u128::from_str_radix(text, 16).ok().filter(|bits| *bits != 0).map(Self))
            .flatten()
            .ok_or_else(|| InvalidId::new(text, "a trace id (32 lower-case hexadecimal digits)"))
    }
}
id_as_text!(TraceId);

/// The most characters of a name (tenant, actor, agent, task, tool): DynamoDB allows 2,048 bytes in a partition key and
/// 1,024 in a sort key (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>), and two names
/// share one.
pub const NAME_CHARS_MAX: usize = 128;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $wanted:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@:+|/".contains(c);
                let fits = !text.is_empty() && text.len() <= NAME_CHARS_MAX && text.chars().all(allowed);
                fits.then(|| Self(text.to_owned())).ok_or_else(|| InvalidId::new(text, $wanted))
            }
        }
        id_as_text!($name);
    };
}

name_type!(
    /// Whose data it is. Every key that leads to data contains it.
    Tenant,
    "a tenant (1 to 128 of A-Z a-z 0-9 . _ - @ : + | /)"
);
name_type!(
    /// Who asks or decides: the subject that authentication names.
    Actor,
    "an actor (1 to 128 of A-Z a-z 0-9 . _ - @ : + | /)"
);
name_type!(
    /// What a run is asked to do; it selects the agent and its prompt.
    Task,
    "a task (1 to 128 of A-Z a-z 0-9 . _ - @ : + | /)"
);
name_type!(
    /// A tool as the model and the policy know it.
    ToolName,
    "a tool name (1 to 128 of A-Z a-z 0-9 . _ - @ : + | /)"
);
name_type!(
    /// What a person must hold to decide an approval.
    Role,
    "a role (1 to 128 of A-Z a-z 0-9 . _ - @ : + | /)"
);
name_type!(
    /// A source that answers may rest on, in all its versions.
    SourceId,
    "a source's id (1 to 128 of A-Z a-z 0-9 . _ - @ : + | /)"
);
name_type!(
    /// Under which name an answer cites a source.
    CitationLabel,
    "a citation label (1 to 128 of A-Z a-z 0-9 . _ - @ : + | /)"
);
name_type!(
    /// Who may read a source together.
    AclGroup,
    "a group (1 to 128 of A-Z a-z 0-9 . _ - @ : + | /)"
);
name_type!(
    /// A feature that is switched per tenant.
    FlagName,
    "a flag (1 to 128 of A-Z a-z 0-9 . _ - @ : + | /)"
);
name_type!(
    /// Code, prompt, model, tools, policy, configuration and dataset versions under one digest.
    Release,
    "a release (1 to 128 of A-Z a-z 0-9 . _ - @ : + | /)"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_of_a_run_id_is_one() {
        let id = "01JHD7Z3ZK8V6N5Q4R3S2T1W0X";
        assert_eq!(id.parse::<RunId>().expect("canonical").to_string(), id);
        for bad in [
            "",
            "01jhd7z3zk8v6n5q4r3s2t1w0x",
            "01JHD7Z3ZK8V6N5Q4R3S2T1W0",
            "../../etc/passwd",
            "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        ] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_approval_id_names_its_run_call_and_round() {
        let id: ApprovalId = "01JHD7Z3ZK8V6N5Q4R3S2T1W0X-3-1".parse().expect("well formed");
        assert_eq!((id.call, id.round), (CallId(3), 1));
        for bad in [
            "01JHD7Z3ZK8V6N5Q4R3S2T1W0X",
            "01JHD7Z3ZK8V6N5Q4R3S2T1W0X-03-1",
            "01JHD7Z3ZK8V6N5Q4R3S2T1W0X-3-1-1",
            "x-1-1",
        ] {
            assert!(bad.parse::<ApprovalId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_trace_id_is_taken_from_a_well_formed_traceparent_only() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            TraceId::from_traceparent(header).map(|id| id.to_string()).as_deref(),
            Some("4bf92f3577b34da6a3ce929d0e0e4736")
        );
        for bad in [
            "",
            "00-0-0-0",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            assert!(TraceId::from_traceparent(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_name_cannot_smuggle_a_key_separator() {
        assert!("acme#other".parse::<Tenant>().is_err());
        assert!("acme".parse::<Tenant>().is_ok());
        assert!("".parse::<Actor>().is_err());
        assert!("a".repeat(129).parse::<Actor>().is_err());
    }
}
