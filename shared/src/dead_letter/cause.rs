//! Why something is dead, in words and as a fingerprint that is equal for equal causes.

use sha2::{Digest as _, Sha256};

use crate::{
    journal::{Head, HeadStatus},
    queue::{DeadMessage, Message},
    redaction,
    run::tasks::Tasks,
};

/// The most characters of a cause that count and are kept.
pub const CAUSE_CHARS_MAX: usize = 500;

/// Why a letter is dead and whether a replay can do anything with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// In words.
    pub text: String,
    /// Whether it can be replayed.
    pub replayable: bool,
}

/// Why a message is on the dead-letter queue, as far as the message itself tells. Receives count looks at the dead-letter
/// queue too, so the number only grows.
pub fn of_message(message: &DeadMessage, tasks: &Tasks) -> Cause {
    let received = message.receive_count;
    match Message::parse(&message.body) {
        Ok(Message::WakeUp { run }) => {
            Cause { text: format!("a wake-up for run {run}, receives: {received}"), replayable: true }
        }
        Ok(Message::Start { request, .. }) => {
            let unknown = tasks.check(&request.task).err().map_or_else(String::new, |unknown| format!(": {unknown}"));
            let text = format!("a request to start `{}`, receives: {received}{unknown}", request.task);
            Cause { text: cut(&text), replayable: true }
        }
        Err(error) => Cause { text: cut(&format!("foreign: {error}")), replayable: false },
    }
}

/// Why a run is in trouble; `None` when it is not (an index can be late).
pub fn of_head(head: &Head) -> Option<Cause> {
    match &head.status {
        HeadStatus::Dead { cause, .. } => Some(Cause { text: cut(cause), replayable: true }),
        // Its due time comes again: a release that reads its journal takes it up by itself.
        HeadStatus::Unreadable { problem } => {
            Some(Cause { text: cut(&format!("unreadable: {problem}")), replayable: false })
        }
        HeadStatus::Ready
        | HeadStatus::Waiting
        | HeadStatus::AwaitingApproval
        | HeadStatus::Held { .. }
        | HeadStatus::Finished { .. } => None,
    }
}

/// A short mark that is equal for causes which differ only in numbers, ids and quoted values: twelve hexadecimal digits.
pub fn fingerprint(cause: &str) -> String {
    let digest = Sha256::digest(normalised(&cut(cause)));
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn cut(text: &str) -> String {
    redaction::cut(text, CAUSE_CHARS_MAX).to_owned()
}

/// `text` in lower case with single spaces, quoted values as `""` and words with a digit in them as `#`.
fn normalised(text: &str) -> String {
    let words = without_quoted(text).to_lowercase();
    let words = words.split_whitespace().map(|word| {
        // `seq:3,` and `run=01J…` keep what says what they are.
        let parts = word.split_inclusive(['=', ':', ',', ';', '(', ')', '[', ']', '/']).map(|part| {
            let bare = part.trim_end_matches(|c: char| !c.is_alphanumeric());
            if bare.chars().any(|c| c.is_ascii_digit()) { format!("#{}", &part[bare.len()..]) } else { part.to_owned() }
        });
        parts.collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What stands between two equal quotation marks is a value. An apostrophe within a word quotes nothing.
fn without_quoted(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['`', '"', '\'']) {
        let (before, quoted) = rest.split_at(at);
        kept.push_str(before);
        let mark = &quoted[..1];
        let opens = mark != "'" || !kept.ends_with(|c: char| c.is_alphanumeric());
        match quoted[1..].find(mark).filter(|_| opens) {
            Some(end) => {
                kept.push_str("\"\"");
                rest = &quoted[1 + end + 1..];
            }
            None => {
                kept.push_str(mark);
                rest = &quoted[1..];
            }
        }
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_message(message: &DeadMessage) -> Cause {
        super::of_message(message, &"refund".parse().expect("tasks"))
    }

    fn message(body: &str) -> DeadMessage {
        DeadMessage {
            id: "m-1".to_owned(),
            body: body.to_owned(),
            sent_millis: 0,
            receive_count: 6,
            receipt: "r".to_owned(),
        }
    }

    #[test]
    fn causes_that_differ_in_numbers_ids_and_values_only_are_one_group() {
        let one = fingerprint;
        assert_eq!(
            one("run 01JHD7Z3ZK8V6N5Q4R3S2T1W0X: tool `refund` timed out after 30 s"),
            one("run 01JHD7Z3ZK8V6N5Q4R3S2T1W0Y: tool `letter` timed out  after 45 s")
        );
        assert_eq!(one("got \"a b\" at line 1 column 17"), one("got \"c\" at line 2 column 3"));
        assert_eq!(
            one("connect 127.0.0.1:8080 refused (os error 111)"),
            one("connect 10.0.0.7:443 refused (os error 61)")
        );
        assert_eq!(one("it didn't answer 'yes'"), one("it didn't answer 'no'"));
    }

    #[test]
    fn causes_that_differ_in_words_are_different_groups() {
        let causes = ["the tool timed out", "the model timed out", "it didn't answer", "it does not answer", "\"", ""];
        let marks: std::collections::BTreeSet<_> = causes.into_iter().map(fingerprint).collect();
        assert_eq!(marks.len(), causes.len());
        assert!(marks.iter().all(|mark| mark.len() == 12), "{marks:?}");
    }

    #[test]
    fn a_fingerprint_does_not_change_between_releases() {
        assert_eq!(fingerprint("the process died 5 times in call 3 of `refund`"), "12587d164edf");
    }

    #[test]
    fn a_message_says_itself_why_it_is_dead() {
        let wake_up = of_message(&message(r#"{"type":"wake_up","run":"01JHD7Z3ZK8V6N5Q4R3S2T1W0X"}"#));
        assert_eq!(wake_up.text, "a wake-up for run 01JHD7Z3ZK8V6N5Q4R3S2T1W0X, receives: 6");
        assert!(wake_up.replayable);
        let start = of_message(&message(
            r#"{"type":"start","idempotency_key":"k","source":"queue",
                "request":{"tenant":"acme","actor":"ada","task":"refund","payload":{}}}"#,
        ));
        assert_eq!(start.text, "a request to start `refund`, receives: 6");
        assert!(start.replayable);
        let unknown = of_message(&message(
            r#"{"type":"start","idempotency_key":"k","source":"queue",
                "request":{"tenant":"acme","actor":"ada","task":"refnd","payload":{}}}"#,
        ));
        let says = "a request to start `refnd`, receives: 6: the release knows no task `refnd`; did you mean `refund`?";
        assert_eq!((unknown.text.as_str(), unknown.replayable), (says, true), "a later release may know it");
    }

    #[test]
    fn a_foreign_message_says_what_is_wrong_with_it_and_cannot_be_replayed() {
        for body in ["hello", "", "{}", r#"{"type":"wake_up","run":"../x"}"#] {
            let cause = of_message(&message(body));
            assert!(cause.text.starts_with("foreign: not a step queue message: "), "{}", cause.text);
            assert!(!cause.replayable);
        }
        let long = of_message(&message(&format!(r#"{{"type":"{}"}}"#, "x".repeat(5_000))));
        assert_eq!(long.text.chars().count(), CAUSE_CHARS_MAX);
    }
}
