//! The messages of one standard queue, and which of them come next.
//!
//! A queue whose messages have groups is a fair one: what a noisy group sent waits behind what the others sent
//! (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues-detailed.html>). The thresholds are those
//! of that page, exact where SQS is approximate.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use rustack_sqs_core::message::{generate_receipt_handle, md5_of_body, md5_of_message_attributes, now_epoch_millis};
use rustack_sqs_model::types::{Message, MessageAttributeValue};
use tokio::time::Instant;

use crate::{identifier, spec::Order};

/// A group is noisy that has at least so many messages in flight, and more than [`NOISY_SHARE`] of all that are.
const NOISY_FROM: usize = 30;

/// Or that had more than this share of the time that consumers spent.
const NOISY_SHARE: f64 = 0.1;

/// How long it takes until time that was spent counts half. SQS says "recent".
const SPENT_HALVES_IN: Duration = Duration::from_secs(30);

/// A message, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    id: String,
    body: String,
    attributes: HashMap<String, MessageAttributeValue>,
    trace: Option<String>,
    group: Option<String>,
    sent_millis: u64,
    first_received_millis: Option<u64>,
    receives: u32,
    source_arn: Option<String>,
    visible_from: Instant,
    /// Of the last receive.
    handle: Option<String>,
    /// Since when a consumer has been at it.
    taken: Option<Instant>,
}

/// The messages of one queue.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    parcels: Vec<Parcel>,
    /// Time that consumers spent on a group's messages, in seconds, as it counted at that moment.
    spent: HashMap<String, (f64, Instant)>,
}

/// What a receive found.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) messages: Vec<Message>,
    /// Received too often: they go to the dead-letter queue.
    pub(super) worn: Vec<Parcel>,
}

/// How a receive is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) limit: usize,
    pub(super) hidden_for: Duration,
    pub(super) receives_max: Option<u32>,
    pub(super) order: Order,
}

impl Parcel {
    pub(super) fn new(
        body: String,
        attributes: HashMap<String, MessageAttributeValue>,
        trace: Option<String>,
        group: Option<String>,
        visible_from: Instant,
    ) -> Self {
        Self {
            id: identifier::uuid(),
            body,
            attributes,
            trace,
            group,
            sent_millis: now_epoch_millis(),
            first_received_millis: None,
            receives: 0,
            source_arn: None,
            visible_from,
            handle: None,
            taken: None,
        }
    }

    pub(super) fn id(&self) -> String {
        self.id.clone()
    }

    pub(super) fn md5_of_body(&self) -> String {
        md5_of_body(&self.body)
    }

    pub(super) fn md5_of_attributes(&self) -> Option<String> {
        md5_of_message_attributes(&self.attributes)
    }

    /// As it arrives on the dead-letter queue of `source_arn`: it keeps the time it was sent at, and its group.
    pub(super) fn moved(self, source_arn: &str, now: Instant) -> Self {
        Self {
            source_arn: Some(source_arn.to_owned()),
            visible_from: now,
            first_received_millis: None,
            receives: 0,
            handle: None,
            taken: None,
            ..self
        }
    }

    fn is_in_flight(&self, now: Instant) -> bool {
        self.handle.is_some() && self.visible_from > now
    }

    fn hand_out(&mut self, now: Instant, hidden_for: Duration) -> Message {
        let handle = generate_receipt_handle(&self.id);
        self.receives += 1;
        self.first_received_millis.get_or_insert_with(now_epoch_millis);
        self.visible_from = now + hidden_for;
        self.taken = Some(now);
        self.handle = Some(handle.clone());
        let attributes = [
            ("SenderId", Some("local".to_owned())),
            ("SentTimestamp", Some(self.sent_millis.to_string())),
            ("ApproximateReceiveCount", Some(self.receives.to_string())),
            ("ApproximateFirstReceiveTimestamp", self.first_received_millis.map(|at| at.to_string())),
            ("MessageGroupId", self.group.clone()),
            ("AWSTraceHeader", self.trace.clone()),
            ("DeadLetterQueueSourceArn", self.source_arn.clone()),
        ];
        Message {
            message_id: Some(self.id.clone()),
            receipt_handle: Some(handle),
            md5_of_body: Some(self.md5_of_body()),
            md5_of_message_attributes: self.md5_of_attributes(),
            body: Some(self.body.clone()),
            attributes: attributes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
            message_attributes: self.attributes.clone(),
        }
    }
}

impl Shelf {
    pub(super) fn put(&mut self, parcel: Parcel) {
        self.parcels.push(parcel);
    }

    /// Takes what can be seen: of quiet groups first, and of these what could be seen first.
    pub(super) fn take(&mut self, now: Instant, terms: Terms) -> Taken {
        let worn = |parcel: &mut Parcel| {
            parcel.visible_from <= now && terms.receives_max.is_some_and(|most| parcel.receives >= most)
        };
        let worn: Vec<Parcel> = self.parcels.extract_if(.., worn).collect();
        for parcel in &worn {
            self.settle(parcel, now);
        }
        let noisy = match terms.order {
            Order::Fair => self.noisy(now),
            Order::Arrival => BTreeSet::new(),
        };
        let mut seen: Vec<&mut Parcel> = self.parcels.iter_mut().filter(|parcel| parcel.visible_from <= now).collect();
        seen.sort_by_key(|parcel| {
            (parcel.group.as_ref().is_some_and(|group| noisy.contains(group)), parcel.visible_from)
        });
        let messages = seen.into_iter().take(terms.limit).map(|parcel| parcel.hand_out(now, terms.hidden_for));
        Taken { messages: messages.collect(), worn }
    }

    /// Takes a message off the queue; nothing happens when it has been received again since.
    pub(super) fn remove(&mut self, handle: &str, now: Instant) {
        let of_handle = |parcel: &mut Parcel| parcel.handle.as_deref() == Some(handle);
        let removed: Vec<Parcel> = self.parcels.extract_if(.., of_handle).collect();
        for parcel in &removed {
            self.settle(parcel, now);
        }
    }

    /// Shows a message in flight at `visible_from`; false when there is none with this handle.
    pub(super) fn hide(&mut self, handle: &str, visible_from: Instant, now: Instant) -> bool {
        let in_flight = |parcel: &&mut Parcel| parcel.handle.as_deref() == Some(handle) && parcel.is_in_flight(now);
        let Some(parcel) = self.parcels.iter_mut().find(in_flight) else { return false };
        parcel.visible_from = visible_from;
        let at = parcel.clone();
        parcel.taken = None;
        self.settle(&at, now);
        true
    }

    /// How many can be received, are in flight, and are delayed.
    pub(super) fn counts(&self, now: Instant) -> [usize; 3] {
        let visible = self.parcels.iter().filter(|parcel| parcel.visible_from <= now).count();
        let in_flight = self.parcels.iter().filter(|parcel| parcel.is_in_flight(now)).count();
        [visible, in_flight, self.parcels.len() - visible - in_flight]
    }

    /// When the next message can be seen that cannot be seen now.
    pub(super) fn next_visible(&self, now: Instant) -> Option<Instant> {
        self.parcels.iter().map(|parcel| parcel.visible_from).filter(|at| *at > now).min()
    }

    pub(super) fn purge(&mut self) {
        self.parcels.clear();
    }

    /// Counts the time for which a consumer was at a message.
    fn settle(&mut self, parcel: &Parcel, now: Instant) {
        let (Some(group), Some(taken)) = (&parcel.group, parcel.taken) else { return };
        let until = now.min(parcel.visible_from.max(taken));
        let (spent, at) = self.spent.get(group).copied().unwrap_or((0.0, now));
        let spent = counts_now(spent, at, now) + until.duration_since(taken).as_secs_f64();
        self.spent.insert(group.clone(), (spent, now));
    }

    fn noisy(&self, now: Instant) -> BTreeSet<String> {
        let mut all = 0_usize;
        let mut in_flight: HashMap<&str, usize> = HashMap::new();
        let mut spent: HashMap<&str, f64> =
            self.spent.iter().map(|(group, (spent, at))| (group.as_str(), counts_now(*spent, *at, now))).collect();
        for parcel in self.parcels.iter().filter(|parcel| parcel.is_in_flight(now)) {
            all += 1;
            let Some(group) = parcel.group.as_deref() else { continue };
            *in_flight.entry(group).or_default() += 1;
            let at_it = parcel.taken.map_or(Duration::ZERO, |taken| now.duration_since(taken));
            *spent.entry(group).or_default() += at_it.as_secs_f64();
        }
        let all_spent: f64 = spent.values().sum();
        let much = |own: usize| own >= NOISY_FROM && own as f64 > NOISY_SHARE * all as f64;
        let by_count = in_flight.iter().filter(|(_, own)| much(**own)).map(|(group, _)| *group);
        let by_time = spent.iter().filter(|(_, own)| **own > NOISY_SHARE * all_spent).map(|(group, _)| *group);
        by_count.chain(by_time).map(ToOwned::to_owned).collect()
    }
}

fn counts_now(spent: f64, at: Instant, now: Instant) -> f64 {
    let halvings = now.duration_since(at).as_secs_f64() / SPENT_HALVES_IN.as_secs_f64();
    spent * 0.5_f64.powf(halvings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAIR: Terms =
        Terms { limit: 10, hidden_for: Duration::from_secs(30), receives_max: None, order: Order::Fair };

    fn put(shelf: &mut Shelf, body: &str, group: &str, now: Instant) {
        shelf.put(Parcel::new(body.to_owned(), HashMap::new(), None, Some(group.to_owned()), now));
    }

    fn bodies(taken: &Taken) -> Vec<&str> {
        taken.messages.iter().filter_map(|message| message.body.as_deref()).collect()
    }

    #[test]
    fn what_a_noisy_group_sent_waits_behind_what_the_others_sent() {
        let (now, mut shelf) = (Instant::now(), Shelf::default());
        for _ in 0..60 {
            put(&mut shelf, "noise", "noisy", now);
        }
        for _ in 0..3 {
            assert_eq!(shelf.take(now, FAIR).messages.len(), 10);
        }
        put(&mut shelf, "late", "quiet", now + Duration::from_millis(1));
        let later = now + Duration::from_millis(2);
        assert_eq!(bodies(&shelf.take(later, FAIR))[..2], ["late", "noise"]);
    }

    #[test]
    fn without_fairness_messages_come_as_they_arrived() {
        let (now, mut shelf) = (Instant::now(), Shelf::default());
        for _ in 0..60 {
            put(&mut shelf, "noise", "noisy", now);
        }
        let arrival = Terms { order: Order::Arrival, ..FAIR };
        for _ in 0..3 {
            shelf.take(now, arrival);
        }
        put(&mut shelf, "late", "quiet", now + Duration::from_millis(1));
        assert!(!bodies(&shelf.take(now + Duration::from_millis(2), arrival)).contains(&"late"));
    }

    #[test]
    fn a_group_whose_few_messages_take_most_of_the_time_is_noisy_until_that_is_long_ago() {
        let (now, mut shelf) = (Instant::now(), Shelf::default());
        put(&mut shelf, "slow", "slow", now);
        let handle = shelf.take(now, FAIR).messages[0].receipt_handle.clone().expect("a handle");
        let mut at = now + Duration::from_secs(20);
        shelf.remove(&handle, at);
        put(&mut shelf, "slow", "slow", at);
        put(&mut shelf, "quick", "quick", at);
        assert_eq!(bodies(&shelf.take(at, FAIR)), ["quick", "slow"]);
        for parcel in &mut shelf.parcels {
            parcel.taken = None;
        }
        at += Duration::from_secs(3600);
        assert_eq!(shelf.take(at, FAIR).messages.len(), 2, "both can be seen again");
        assert!(shelf.spent.values().all(|(spent, since)| counts_now(*spent, *since, at) < 0.001));
    }

    #[test]
    fn a_message_put_back_can_be_seen_when_it_was_said_and_a_worn_one_leaves() {
        let (now, mut shelf) = (Instant::now(), Shelf::default());
        let once = Terms { receives_max: Some(1), ..FAIR };
        put(&mut shelf, "a", "g", now);
        let handle = shelf.take(now, once).messages[0].receipt_handle.clone().expect("a handle");
        let later = now + Duration::from_secs(5);
        assert!(shelf.hide(&handle, later, now));
        assert_eq!((shelf.counts(now), shelf.next_visible(now)), ([0, 1, 0], Some(later)));
        let taken = shelf.take(later, once);
        assert_eq!((taken.messages.len(), taken.worn.len()), (0, 1));
        assert!(!shelf.hide(&handle, later, now));
    }
}
