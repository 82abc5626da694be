//! Appending to journals, and loading them.

use futures::future::join_all;
use windlass::{
    ids::RunId,
    journal::{Appended, ENTRIES_MAX, Expected, JournalError},
    run::stored::{Body, ENVELOPE_VERSION, Stored, Unreadable},
};

use super::{BEGINNING, KEPT_FOR, SECOND, Stores, noise};

fn nobody() -> RunId {
    "01JHD7Z3ZK8V6N5Q4R3S2T1W0X".parse().expect("a run id")
}

pub async fn entries_come_back_in_order_from_where_asked(stores: &Stores) {
    let run = stores.run("k").await;
    let (second, third) = (stores.said(1, "second"), stores.said(1, "third"));
    assert_eq!(stores.append(run, 2, &second).await, Appended::Written);
    assert_eq!(stores.append(run, 3, &third).await, Appended::Written);
    assert_eq!(stores.load(run).await.get(1..), Some([second, third.clone()].as_slice()));
    assert_eq!(stores.journal.load(run, 3).await, Ok(vec![third]));
    assert_eq!(stores.journal.load(run, 4).await, Ok(vec![]));
}

pub async fn the_journal_of_nobody_is_empty(stores: &Stores) {
    assert_eq!(stores.journal.load(nobody(), 1).await, Ok(vec![]));
}

pub async fn journals_do_not_mix(stores: &Stores) {
    let (one, other) = (stores.run("one").await, stores.run("other").await);
    stores.append(one, 2, &stores.said(1, "one")).await;
    assert_eq!(stores.load(other).await.len(), 1);
}

pub async fn the_second_writer_of_a_place_finds_it_taken(stores: &Stores) {
    let run = stores.run("k").await;
    assert_eq!(stores.append(run, 2, &stores.said(1, "first")).await, Appended::Written);
    assert_eq!(stores.append(run, 2, &stores.said(2, "second")).await, Appended::Taken);
    assert_eq!(stores.journal.load(run, 2).await, Ok(vec![stores.said(1, "first")]));
}

pub async fn a_repeated_append_whose_answer_was_lost_is_written(stores: &Stores) {
    let run = stores.run("k").await;
    let entry = stores.said(1, "once");
    assert_eq!(stores.append(run, 2, &entry).await, Appended::Written);
    assert_eq!(stores.append(run, 2, &entry).await, Appended::Written);
    assert_eq!(stores.load(run).await.len(), 2);
}

pub async fn the_same_words_of_another_claim_are_another_entry(stores: &Stores) {
    let run = stores.run("k").await;
    assert_eq!(stores.append(run, 2, &stores.said(1, "hello")).await, Appended::Written);
    assert_eq!(stores.append(run, 2, &stores.said(2, "hello")).await, Appended::Taken);
}

pub async fn of_many_appends_for_one_place_one_is_written(stores: &Stores) {
    let run = stores.run("k").await;
    let entries: Vec<_> = (1..=16).map(|epoch| stores.said(epoch, "me")).collect();
    let answers = join_all(entries.iter().map(|entry| stores.append(run, 2, entry))).await;
    assert_eq!(answers.iter().filter(|answer| **answer == Appended::Written).count(), 1);
    assert_eq!(stores.load(run).await.len(), 2);
}

pub async fn a_long_entry_comes_back_as_it_was_written(stores: &Stores) {
    let run = stores.run("k").await;
    let entry = stores.said(1, "a long story ".repeat(4_000));
    assert_eq!(stores.append(run, 2, &entry).await, Appended::Written);
    assert_eq!(stores.append(run, 2, &entry).await, Appended::Written);
    assert_eq!(stores.journal.load(run, 2).await, Ok(vec![entry]));
}

pub async fn an_entry_that_does_not_fit_leaves_its_place_free(stores: &Stores) {
    let run = stores.run("k").await;
    let large = stores.said(1, noise(700 * 1024));
    let appended = stores.journal.append(run, 2, &large, stores.now() + KEPT_FOR).await;
    assert!(matches!(appended, Err(JournalError::TooLarge(_))), "{appended:?}");
    assert_eq!(stores.append(run, 2, &stores.said(1, "small")).await, Appended::Written);
}

pub async fn a_journal_of_many_pages_comes_back_whole(stores: &Stores) {
    let run = stores.run("k").await;
    // A page of a query is 1 MB: twelve entries of about 150 KB are two.
    for seq in 2..=13 {
        assert_eq!(stores.append(run, seq, &stores.said(u64::from(seq), noise(200 * 1024))).await, Appended::Written);
    }
    let writers: Vec<_> = stores.load(run).await.into_iter().skip(1).map(|entry| entry.writer).collect();
    let expected: Vec<_> = (2..=13).map(windlass::run::entry::Writer::Holder).collect();
    assert_eq!(writers, expected);
}

pub async fn a_damaged_entry_is_said_to_be_so(stores: &Stores) {
    let run = stores.run("k").await;
    for body in [Body::Json("{}".to_owned()), Body::Deflated(vec![1, 2, 3])] {
        stores.planting.plant(run, 2, Stored { version: ENVELOPE_VERSION, body }).await;
        let loaded = stores.journal.load(run, 1).await;
        assert!(
            matches!(loaded, Err(JournalError::Unreadable { seq: 2, source: Unreadable::Malformed { .. }, .. })),
            "{loaded:?}"
        );
    }
}

pub async fn an_entry_of_a_later_version_is_not_guessed_at(stores: &Stores) {
    let run = stores.run("k").await;
    let found = ENVELOPE_VERSION + 1;
    stores.planting.plant(run, 2, Stored { version: found, body: Body::Json("{}".to_owned()) }).await;
    let source = Unreadable::FutureVersion { found };
    assert_eq!(stores.journal.load(run, 1).await, Err(JournalError::Unreadable { run, seq: 2, source }));
}

pub async fn an_unreadable_entry_holds_its_place(stores: &Stores) {
    let run = stores.run("k").await;
    stores.planting.plant(run, 2, Stored { version: 99, body: Body::Json("{}".to_owned()) }).await;
    assert_eq!(stores.append(run, 2, &stores.said(1, "mine")).await, Appended::Taken);
}

pub async fn a_gap_in_a_journal_is_unreadable(stores: &Stores) {
    let run = stores.run("k").await;
    stores.append(run, 3, &stores.said(1, "too far")).await;
    for from in [1, 2] {
        let loaded = stores.journal.load(run, from).await;
        assert!(matches!(loaded, Err(JournalError::Unreadable { seq: 2, .. })), "{loaded:?}");
    }
}

pub async fn no_entry_is_appended_beyond_the_last_that_is_read(stores: &Stores) {
    let run = stores.run("k").await;
    let beyond = ENTRIES_MAX as u32 + 1;
    let appended = stores.journal.append(run, beyond, &stores.said(1, "too far"), BEGINNING + KEPT_FOR).await;
    assert_eq!(appended, Err(JournalError::Full { run }));
    let written = stores.journal.interject(run, beyond, &stores.cancelled("m"), Expected::Unfinished).await;
    assert_eq!(written, Err(JournalError::Full { run }));
    assert_eq!(stores.head(run).await.interjections, 0);
}

pub async fn a_journal_that_is_longer_than_a_load_is_unreadable_and_not_cut(stores: &Stores) {
    let run = stores.run("k").await;
    let last = ENTRIES_MAX as u32;
    for seq in last - 1..=last + 1 {
        let stored = Stored::encode(&stores.said(1, "hello")).expect("it fits");
        stores.planting.plant(run, seq, stored).await;
    }
    let loaded = stores.journal.load(run, last - 1).await;
    assert_eq!(loaded, Err(JournalError::Unreadable { run, seq: last + 1, source: Unreadable::TooLong }));
}

pub async fn an_expired_journal_is_never_read(stores: &Stores) {
    let run = stores.run("k").await;
    stores.append(run, 2, &stores.said(1, "hello")).await;
    stores.clock.advance(KEPT_FOR);
    assert_eq!(stores.load(run).await.len(), 2);
    stores.clock.advance(SECOND);
    assert_eq!(stores.load(run).await, []);
}
