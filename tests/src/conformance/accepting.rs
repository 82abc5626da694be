//! Taking on runs.

use futures::future::join_all;
use windlass::{
    idempotency::{Begun, PayloadHash, Turn},
    journal::{Acceptance, Appended, Head, HeadStatus, JournalError, NewRun, Opened, RESCUE_AFTER, Recorded},
    lease::Claim,
    run::stored::Stored,
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

    /// Records a request as somebody does who dies before its run is there.
    async fn recorded(&self, new: &NewRun) {
        assert_eq!(self.journal.record(new).await, Ok(None));
        assert!(self.is_absent(new).await);
    }

    async fn open(&self, new: &NewRun) -> Opened {
        let head = new.head().expect("an acceptance");
        self.journal.open(&head).await.expect("the store answers")
    }

    async fn begin(&self, new: &NewRun) {
        let begun = self.records.begin(&new.key, &new.payload_hash, &self.turn()).await;
        assert_eq!(begun, Ok(Begun::Started));
    }
}

pub async fn a_new_run_is_ready_now_and_due_after_the_rescue_time(stores: &Stores) {
    let new = stores.new_run("k");
    assert_eq!(stores.accept(&new).await, Acceptance::Created { run: new.run });
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
        first: Some(Stored::encode(&new.entry).expect("it fits")),
        admitted: new.admitted,
    };
    assert_eq!(stores.head(new.run).await, expected);
    assert_eq!(stores.load(new.run).await, [new.entry]);
}

pub async fn the_same_request_again_is_the_same_run(stores: &Stores) {
    let (first, second) = (stores.new_run("k"), stores.new_run("k"));
    assert_eq!(stores.accept(&first).await, Acceptance::Created { run: first.run });
    assert_eq!(stores.accept(&second).await, Acceptance::Repeated { run: first.run });
    assert!(stores.is_absent(&second).await);
}

pub async fn a_large_first_entry_is_kept_beside_the_head(stores: &Stores) {
    let new = stores.large_run("k");
    assert_eq!(stores.accept(&new).await, Acceptance::Created { run: new.run });
    assert_eq!(stores.head(new.run).await.first, None);
    assert_eq!(stores.load(new.run).await, *std::slice::from_ref(&new.entry));
    assert_eq!(stores.accept(&stores.large_run("k")).await, Acceptance::Repeated { run: new.run });
    assert_eq!(stores.append(new.run, 2, &stores.said(1, "second")).await, Appended::Written);
    assert_eq!(stores.load(new.run).await, [new.entry, stores.said(1, "second")]);
}

pub async fn a_run_that_was_recorded_and_not_opened_is_opened_by_who_repeats(stores: &Stores) {
    for (key, make) in [("small", Stores::new_run as fn(&Stores, &str) -> NewRun), ("large", Stores::large_run)] {
        let (dead, next, last) = (make(stores, key), make(stores, key), make(stores, key));
        stores.recorded(&dead).await;
        stores.clock.advance(SECOND);
        assert_eq!(stores.accept(&next).await, Acceptance::Created { run: dead.run });
        assert_eq!(
            stores.load(dead.run).await,
            *std::slice::from_ref(&next.entry),
            "the entry is the repetition's own"
        );
        assert!(stores.is_absent(&next).await);
        assert_eq!(stores.accept(&last).await, Acceptance::Repeated { run: dead.run });
        let claim = stores.claim(dead.run, "a").await;
        assert!(matches!(claim, Claim::Won(..)), "{claim:?}");
    }
}

pub async fn who_thaws_after_another_opened_the_run_changes_nothing(stores: &Stores) {
    let (frozen, next) = (stores.new_run("k"), stores.new_run("k"));
    stores.recorded(&frozen).await;
    assert_eq!(stores.accept(&next).await, Acceptance::Created { run: frozen.run });
    stores.won(frozen.run, "a").await;
    let there = stores.head(frozen.run).await;
    assert_eq!(stores.open(&frozen).await, Opened::Taken(Box::new(there.clone())));
    assert_eq!(stores.accept(&frozen).await, Acceptance::Repeated { run: frozen.run });
    assert_eq!(stores.head(frozen.run).await, there);
    assert_eq!(stores.load(frozen.run).await, [next.entry]);
}

pub async fn a_large_first_entry_without_a_head_is_opened_as_it_is(stores: &Stores) {
    let (dead, next) = (stores.large_run("k"), stores.large_run("k"));
    stores.recorded(&dead).await;
    stores.append(dead.run, 1, &dead.entry).await;
    let created = stores.now();
    stores.clock.advance(SECOND);
    assert_eq!(stores.accept(&next).await, Acceptance::Repeated { run: dead.run });
    assert_eq!(stores.load(dead.run).await, [dead.entry]);
    let head = stores.head(dead.run).await;
    assert_eq!((head.created, head.expires), (created, created + KEPT_FOR), "the entry and its head end together");
}

pub async fn an_entry_beside_a_head_that_carries_one_counts_for_nothing(stores: &Stores) {
    let (small, large) = (stores.new_run("k"), stores.large_run("k"));
    stores.append(small.run, 1, &large.entry).await;
    assert_eq!(stores.accept(&small).await, Acceptance::Created { run: small.run });
    let second = stores.said(1, "second");
    assert_eq!(stores.append(small.run, 2, &second).await, Appended::Written);
    assert_eq!(stores.load(small.run).await, [small.entry, second.clone()]);
    assert_eq!(stores.journal.load(small.run, 2).await, Ok(vec![second]));
}

pub async fn of_many_who_open_one_recorded_run_one_does(stores: &Stores) {
    for (key, make) in [("small", Stores::new_run as fn(&Stores, &str) -> NewRun), ("large", Stores::large_run)] {
        let dead = make(stores, key);
        stores.recorded(&dead).await;
        let rivals: Vec<NewRun> = (0..8).map(|_| make(stores, key)).collect();
        let accepted = join_all(rivals.iter().map(|new| stores.accept(new))).await;
        let by_me = Acceptance::Created { run: dead.run };
        let winners: Vec<&NewRun> =
            rivals.iter().zip(&accepted).filter(|(_, accepted)| **accepted == by_me).map(|(new, _)| new).collect();
        let [entry] = <[_; 1]>::try_from(stores.load(dead.run).await).expect("one entry");
        assert!(winners.iter().all(|winner| winner.entry == entry), "somebody was told of another entry");
        // Of large ones, who appended the entry may find the run opened by another, and then it is still theirs.
        assert_eq!(winners.len(), 1, "{accepted:?}");
        let repeated = Acceptance::Repeated { run: dead.run };
        assert_eq!(accepted.iter().filter(|accepted| **accepted == repeated).count(), 7, "{accepted:?}");
    }
}

pub async fn a_key_of_a_run_that_was_never_opened_is_another_requests_no_more_than_any(stores: &Stores) {
    let dead = stores.new_run("k");
    stores.recorded(&dead).await;
    let other = NewRun { payload_hash: PayloadHash::of(&"another request".into()), ..stores.new_run("k") };
    assert_eq!(stores.accept(&other).await, Acceptance::Mismatch);
    assert!(stores.is_absent(&dead).await && stores.is_absent(&other).await);
}

pub async fn a_record_of_a_run_that_was_never_opened_expires_as_any(stores: &Stores) {
    let dead = stores.new_run("k");
    stores.recorded(&dead).await;
    stores.clock.advance(KEY_KEPT_FOR + SECOND);
    stores.run("k").await;
    assert!(stores.is_absent(&dead).await);
}

pub async fn a_run_outlives_the_key_that_names_it(stores: &Stores) {
    let mut new = stores.new_run("k");
    new.expires = stores.now() + SECOND;
    assert_eq!(stores.accept(&new).await, Acceptance::Created { run: new.run });
    assert_eq!(stores.head(new.run).await.expires, new.key_expires);
    stores.clock.advance(KEY_KEPT_FOR);
    assert_eq!(stores.accept(&stores.new_run("k")).await, Acceptance::Repeated { run: new.run });
}

pub async fn a_repeat_of_the_very_same_write_is_its_own_run(stores: &Stores) {
    let new = stores.new_run("k");
    assert_eq!(stores.journal.record(&new).await, Ok(None));
    assert_eq!(stores.journal.record(&new).await, Ok(Some(Recorded::As { run: new.run })));
    assert_eq!(stores.open(&new).await, Opened::Written);
    let there = stores.head(new.run).await;
    assert_eq!(stores.open(&new).await, Opened::Taken(Box::new(there)));
    assert_eq!(stores.accept(&new).await, Acceptance::Repeated { run: new.run });
    assert_eq!(stores.load(new.run).await, [new.entry]);
}

pub async fn nobody_has_opened_a_run_that_is_not_there(stores: &Stores) {
    let new = stores.new_run("k");
    assert_eq!(stores.journal.opened(new.run).await, Ok(None));
    stores.accept(&new).await;
    assert_eq!(stores.journal.opened(new.run).await, Ok(Some(stores.head(new.run).await)));
    stores.clock.advance(KEPT_FOR + SECOND);
    let opened = stores.journal.opened(new.run).await.expect("the store answers");
    assert_eq!(opened.map(|head| head.run), Some(new.run), "that it has expired does not make it another's");
}

pub async fn a_key_used_for_another_request_is_a_mismatch(stores: &Stores) {
    stores.run("k").await;
    let other = NewRun { payload_hash: PayloadHash::of(&"another request".into()), ..stores.new_run("k") };
    assert_eq!(stores.accept(&other).await, Acceptance::Mismatch);
    assert!(stores.is_absent(&other).await);
}

pub async fn equal_keys_of_two_tenants_are_two_runs(stores: &Stores) {
    let (one, other) = (stores.new_run_of("acme", "ada", "k"), stores.new_run_of("other", "ada", "k"));
    assert_eq!(stores.accept(&one).await, Acceptance::Created { run: one.run });
    assert_eq!(stores.accept(&other).await, Acceptance::Created { run: other.run });
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
    let other = NewRun { payload_hash: PayloadHash::of(&"another request".into()), ..new };
    assert_eq!(stores.accept(&other).await, Acceptance::Mismatch);
}

pub async fn a_key_whose_worker_ran_out_of_time_is_free(stores: &Stores) {
    stores.begin(&stores.new_run("k")).await;
    stores.clock.advance(61 * SECOND);
    stores.run("k").await;
}

pub async fn an_expired_key_is_free(stores: &Stores) {
    stores.run("k").await;
    stores.clock.advance(KEY_KEPT_FOR + SECOND);
    stores.run("k").await;
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

pub async fn a_run_that_is_there_is_not_taken_on_for_somebody_else(stores: &Stores) {
    let run = stores.run("k").await;
    let theirs = NewRun { run, ..stores.new_run_of("other", "ada", "k") };
    for _ in 0..2 {
        let accepted = stores.journal.accept(&theirs).await;
        assert!(matches!(accepted, Err(JournalError::Refused { .. })), "{accepted:?}");
    }
    assert_eq!(stores.head(run).await.tenant.as_str(), "acme");
}

pub async fn a_first_entry_that_does_not_fit_writes_nothing(stores: &Stores) {
    let mut new = stores.new_run("k");
    if let [windlass::run::entry::Event::Accepted(accepted)] = new.entry.events.as_mut_slice() {
        accepted.request.payload = noise(700 * 1024).into();
    }
    let accepted = stores.journal.accept(&new).await;
    assert!(matches!(accepted, Err(JournalError::TooLarge(_))), "{accepted:?}");
    assert!(stores.is_absent(&new).await);
    stores.run("k").await;
}

pub async fn of_many_at_once_under_one_key_one_is_created(stores: &Stores) {
    let rivals: Vec<NewRun> = (0..8).map(|_| stores.new_run("k")).collect();
    let accepted = join_all(rivals.iter().map(|new| stores.accept(new))).await;
    let runs: Vec<_> = accepted
        .iter()
        .map(|accepted| match accepted {
            Acceptance::Created { run } | Acceptance::Repeated { run } => *run,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(runs.iter().all(|run| *run == runs[0]), "{accepted:?}");
    let [entry] = <[_; 1]>::try_from(stores.load(runs[0]).await).expect("one entry");
    let told =
        |(new, accepted): &(&NewRun, &Acceptance)| matches!(accepted, Acceptance::Created { .. }) && new.entry == entry;
    // Whoever recorded it may be overtaken in opening it: then the one who did has created it.
    assert_eq!(rivals.iter().zip(&accepted).filter(told).count(), 1, "{accepted:?}");
    let created = accepted.iter().filter(|accepted| matches!(accepted, Acceptance::Created { .. })).count();
    assert_eq!(created, 1, "{accepted:?}");
}
