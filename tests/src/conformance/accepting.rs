//! Taking on runs.

use futures::future::join_all;
use windlass::{
    idempotency::{Begun, PayloadHash, Turn},
    journal::{Acceptance, Head, HeadStatus, JournalError, NewRun, RESCUE_AFTER},
};

use super::{KEPT_FOR, KEY_KEPT_FOR, SECOND, Stores, noise};

impl Stores {
    async fn accept(&self, new: &NewRun) -> Acceptance {
        self.journal.accept(new).await.expect("the store answers")
    }

    async fn is_absent(&self, new: &NewRun) -> bool {
        self.heads.head(new.run).await.expect("the store answers").is_none() && self.load(new.run).await.is_empty()
    }

    fn turn(&self) -> Turn {
        Turn {
            owner: "somebody".to_owned(),
            now: self.now(),
            in_progress_until: self.now() + 60 * SECOND,
            expires: self.now() + KEY_KEPT_FOR,
        }
    }

    async fn begin(&self, new: &NewRun) {
        let begun = self.records.begin(&new.key, &new.payload_hash, &self.turn()).await;
        assert_eq!(begun, Ok(Begun::Started));
    }
}

pub async fn a_new_run_is_ready_now_and_due_after_the_rescue_time(stores: &Stores) {
    let new = stores.new_run("k");
    assert_eq!(stores.accept(&new).await, Acceptance::Created);
    let expected = Head {
        run: new.run,
        tenant: "acme".parse().expect("a tenant"),
        actor: "ada".parse().expect("an actor"),
        task: "refund".to_owned(),
        release: "r1".parse().expect("a release"),
        created: stores.now(),
        status: HeadStatus::Ready,
        due: Some(stores.now() + RESCUE_AFTER),
        ready_from: Some(stores.now()),
        epoch: 0,
        strikes: 0,
        interjections: 0,
        lease: None,
        expires: stores.now() + KEPT_FOR,
    };
    assert_eq!(stores.head(new.run).await, expected);
    assert_eq!(stores.load(new.run).await, [new.entry]);
}

pub async fn the_same_request_again_is_the_same_run(stores: &Stores) {
    let (first, second) = (stores.new_run("k"), stores.new_run("k"));
    assert_eq!(stores.accept(&first).await, Acceptance::Created);
    assert_eq!(stores.accept(&second).await, Acceptance::Repeated { run: first.run });
    assert!(stores.is_absent(&second).await);
}

pub async fn a_repeat_of_the_very_same_write_is_its_own_run(stores: &Stores) {
    let new = stores.new_run("k");
    assert_eq!(stores.accept(&new).await, Acceptance::Created);
    assert_eq!(stores.accept(&new).await, Acceptance::Repeated { run: new.run });
    assert_eq!(stores.load(new.run).await.len(), 1);
}

pub async fn a_key_used_for_another_request_is_a_mismatch(stores: &Stores) {
    stores.run("k").await;
    let other = NewRun { payload_hash: PayloadHash::of(&"another request"), ..stores.new_run("k") };
    assert_eq!(stores.accept(&other).await, Acceptance::Mismatch);
    assert!(stores.is_absent(&other).await);
}

pub async fn equal_keys_of_two_tenants_are_two_runs(stores: &Stores) {
    let (one, other) = (stores.new_run_of("acme", "ada", "k"), stores.new_run_of("other", "ada", "k"));
    assert_eq!(stores.accept(&one).await, Acceptance::Created);
    assert_eq!(stores.accept(&other).await, Acceptance::Created);
}

pub async fn a_key_that_somebody_is_working_under_is_in_progress(stores: &Stores) {
    let new = stores.new_run("k");
    stores.begin(&new).await;
    assert_eq!(stores.accept(&new).await, Acceptance::InProgress);
    assert!(stores.is_absent(&new).await);
}

pub async fn a_mismatch_is_told_even_while_somebody_is_working_under_the_key(stores: &Stores) {
    let new = stores.new_run("k");
    stores.begin(&new).await;
    let other = NewRun { payload_hash: PayloadHash::of(&"another request"), ..new };
    assert_eq!(stores.accept(&other).await, Acceptance::Mismatch);
}

pub async fn a_key_whose_worker_ran_out_of_time_is_free(stores: &Stores) {
    stores.begin(&stores.new_run("k")).await;
    stores.clock.advance(61 * SECOND);
    assert_eq!(stores.accept(&stores.new_run("k")).await, Acceptance::Created);
}

pub async fn an_expired_key_is_free(stores: &Stores) {
    stores.run("k").await;
    stores.clock.advance(KEY_KEPT_FOR + SECOND);
    assert_eq!(stores.accept(&stores.new_run("k")).await, Acceptance::Created);
}

pub async fn a_key_under_which_something_else_was_done_is_refused(stores: &Stores) {
    let new = stores.new_run("k");
    stores.begin(&new).await;
    let completed = stores.records.complete(&new.key, "somebody", r#""a result""#, new.key_expires).await;
    assert_eq!(completed, Ok(true));
    let accepted = stores.journal.accept(&new).await;
    assert!(matches!(accepted, Err(JournalError::Refused { .. })), "{accepted:?}");
}

pub async fn the_record_of_a_run_answers_other_operations_with_the_run(stores: &Stores) {
    let new = stores.new_run("k");
    stores.accept(&new).await;
    let begun = stores.records.begin(&new.key, &new.payload_hash, &stores.turn()).await;
    assert_eq!(begun, Ok(Begun::Completed { data: format!(r#"{{"run_id":"{}"}}"#, new.run) }));
}

pub async fn a_journal_that_does_not_begin_with_an_acceptance_is_refused(stores: &Stores) {
    let new = NewRun { entry: stores.said(1, "hello"), ..stores.new_run("k") };
    let accepted = stores.journal.accept(&new).await;
    assert!(matches!(accepted, Err(JournalError::Refused { .. })), "{accepted:?}");
    assert!(stores.is_absent(&new).await);
}

pub async fn a_run_that_is_there_is_not_taken_on_under_another_key(stores: &Stores) {
    let run = stores.run("k").await;
    let again = NewRun { run, ..stores.new_run("another") };
    let accepted = stores.journal.accept(&again).await;
    assert!(matches!(accepted, Err(JournalError::Refused { .. })), "{accepted:?}");
    assert_eq!(stores.accept(&stores.new_run("another")).await, Acceptance::Created);
}

pub async fn a_first_entry_that_does_not_fit_writes_nothing(stores: &Stores) {
    let mut new = stores.new_run("k");
    if let [windlass::run::entry::Event::Accepted(accepted)] = new.entry.events.as_mut_slice() {
        accepted.request.payload = noise(700 * 1024).into();
    }
    let accepted = stores.journal.accept(&new).await;
    assert!(matches!(accepted, Err(JournalError::TooLarge(_))), "{accepted:?}");
    assert!(stores.is_absent(&new).await);
    assert_eq!(stores.accept(&stores.new_run("k")).await, Acceptance::Created);
}

pub async fn of_many_at_once_under_one_key_one_is_created(stores: &Stores) {
    let rivals: Vec<NewRun> = (0..8).map(|_| stores.new_run("k")).collect();
    let accepted = join_all(rivals.iter().map(|new| stores.journal.accept(new))).await;
    assert_eq!(accepted.iter().filter(|accepted| **accepted == Ok(Acceptance::Created)).count(), 1, "{accepted:?}");
    for answer in accepted {
        // Transactions that meet each other may be asked to try again.
        assert!(
            matches!(
                answer,
                Ok(Acceptance::Created | Acceptance::Repeated { .. }) | Err(JournalError::Unavailable { .. })
            ),
            "{answer:?}"
        );
    }
}
