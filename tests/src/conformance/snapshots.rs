//! Snapshots beside journals, and journals by the page.

use windlass::{
    clock::Timestamp,
    ids::RunId,
    journal::{Appended, EntryPage, PAGE_BYTES_MAX},
    run::{
        entry::{Event, Seq, Writer},
        snapshot::{SNAPSHOT_ENTRIES_MIN, SNAPSHOT_VERSION, Snapshot, recall, recall_and_save},
        state::RunState,
    },
};

use super::{BEGINNING, KEPT_FOR, SECOND, Stores, noise};

const EXPIRES: Timestamp = Timestamp::from_millis(BEGINNING.as_millis() + KEPT_FOR.as_millis() as i64);

impl Stores {
    /// A run that has waited until its journal has so many entries.
    async fn waiting(&self, key: &str, entries: Seq) -> RunId {
        let run = self.run(key).await;
        for seq in 2..=entries {
            self.wait(run, seq, "the model is away").await;
        }
        run
    }

    async fn wait(&self, run: RunId, seq: Seq, reason: &str) {
        let waited = Event::Waited { until: self.now(), reason: reason.to_owned(), failures: 1 };
        let appended = self.append(run, seq, &self.entry(Writer::Holder(u64::from(seq)), waited)).await;
        assert_eq!(appended, Appended::Written);
    }

    async fn folded(&self, run: RunId) -> RunState {
        RunState::fold(&self.load(run).await).expect("it folds")
    }

    async fn snapshot(&self, run: RunId) -> Option<RunState> {
        self.journal.snapshot(run).await.expect("the store answers")
    }

    async fn save(&self, run: RunId, snapshot: &Snapshot) {
        self.journal.save_snapshot(run, snapshot, EXPIRES).await.expect("the store answers");
    }
}

pub async fn a_journal_comes_page_by_page_and_says_whether_there_is_more(stores: &Stores) {
    let run = stores.waiting("k", 7).await;
    let all = stores.load(run).await;
    for (from, limit, until) in [(1, 3, 3), (3, 2, 4), (4, 3, 6)] {
        let EntryPage { entries, more } = stores.journal.page(run, from, limit).await.expect("it can be read");
        assert_eq!((entries.as_slice(), more), (&all[from as usize - 1..until], true), "{from} {limit}");
    }
    let rest = stores.journal.page(run, 5, 100).await.expect("it can be read");
    assert_eq!(rest, EntryPage { entries: all[4..].to_vec(), more: false });
    let none = stores.journal.page(run, 8, 100).await.expect("it can be read");
    assert_eq!(none, EntryPage { entries: Vec::new(), more: false });
}

pub async fn a_page_is_bounded_by_its_bytes(stores: &Stores) {
    let run = stores.run("k").await;
    for seq in 2..=13 {
        assert_eq!(stores.append(run, seq, &stores.said(u64::from(seq), noise(200 * 1024))).await, Appended::Written);
    }
    let EntryPage { entries, more } = stores.journal.page(run, 1, 100).await.expect("it can be read");
    let bytes: usize = entries.iter().map(|entry| format!("{:?}", entry.events).len()).sum();
    assert!(more && entries.len() > 2 && bytes < 2 * PAGE_BYTES_MAX, "{} entries of {bytes} bytes", entries.len());
    assert_eq!(stores.load(run).await.len(), 13);
}

pub async fn a_snapshot_comes_back_as_the_state_that_it_was_made_of(stores: &Stores) {
    let run = stores.waiting("k", 4).await;
    assert_eq!(stores.snapshot(run).await, None);
    let state = stores.folded(run).await;
    stores.save(run, &Snapshot::encode(&state).expect("it fits")).await;
    assert_eq!(stores.snapshot(run).await, Some(state));
    let other = stores.run("other").await;
    assert_eq!(stores.snapshot(other).await, None, "snapshots do not mix");
}

pub async fn a_snapshot_of_many_parts_comes_back_whole(stores: &Stores) {
    let run = stores.run("k").await;
    let mut state = stores.folded(run).await;
    state.problem = Some(noise(1_200 * 1024));
    let large = Snapshot::encode(&state).expect("it fits");
    assert!(large.deflated.len() > 800 * 1024, "{}", large.deflated.len());
    stores.save(run, &large).await;
    assert_eq!(stores.snapshot(run).await, Some(state.clone()));
    // A smaller one in its place.
    state.problem = None;
    stores.save(run, &Snapshot::encode(&state).expect("it fits")).await;
    assert_eq!(stores.snapshot(run).await, Some(state));
}

pub async fn a_late_snapshot_of_fewer_entries_changes_no_state(stores: &Stores) {
    let run = stores.waiting("k", 4).await;
    let early = Snapshot::encode(&stores.folded(run).await).expect("it fits");
    for seq in 5..=9 {
        stores.wait(run, seq, "the model is still away").await;
    }
    let now = stores.folded(run).await;
    stores.save(run, &Snapshot::encode(&now).expect("it fits")).await;
    stores.save(run, &early).await;
    assert_eq!(recall(stores.journal.as_ref(), run).await, Ok(now));
}

pub async fn a_snapshot_of_other_code_or_of_another_journal_counts_for_nothing(stores: &Stores) {
    let run = stores.waiting("k", 4).await;
    let state = stores.folded(run).await;
    let sound = Snapshot::encode(&state).expect("it fits");
    for foreign in [
        Snapshot { version: SNAPSHOT_VERSION ^ 1, ..sound.clone() },
        Snapshot { seq: sound.seq + 1, ..sound.clone() },
        Snapshot { deflated: vec![1, 2, 3], ..sound.clone() },
    ] {
        stores.save(run, &foreign).await;
        assert_eq!(stores.snapshot(run).await, None);
        assert_eq!(recall(stores.journal.as_ref(), run).await.as_ref(), Ok(&state));
    }
    // The entries after it do not follow from it.
    let mut misled = state.clone();
    misled.seq = 3;
    misled.phase = windlass::run::state::Phase::Acting;
    stores.save(run, &Snapshot::encode(&misled).expect("it fits")).await;
    assert_eq!(recall(stores.journal.as_ref(), run).await, Ok(state));
}

pub async fn whoever_has_read_many_entries_saves_a_snapshot_and_the_next_reads_what_came_since(stores: &Stores) {
    let run = stores.waiting("k", SNAPSHOT_ENTRIES_MIN).await;
    let journal = stores.journal.as_ref();
    let short = stores.run("short").await;
    assert!(recall_and_save(journal, short, EXPIRES).await.is_ok());
    assert_eq!(stores.snapshot(short).await, None, "a short journal is as cheap");
    let state = recall_and_save(journal, run, EXPIRES).await.expect("it can be read");
    assert_eq!(state, stores.folded(run).await);
    assert_eq!(stores.snapshot(run).await.map(|state| state.seq), Some(SNAPSHOT_ENTRIES_MIN));
    stores.wait(run, SNAPSHOT_ENTRIES_MIN + 1, "once more").await;
    assert_eq!(recall_and_save(journal, run, EXPIRES).await, Ok(stores.folded(run).await));
    assert_eq!(stores.snapshot(run).await.map(|state| state.seq), Some(SNAPSHOT_ENTRIES_MIN), "one entry is not many");
}

pub async fn an_expired_snapshot_is_never_read(stores: &Stores) {
    let run = stores.waiting("k", 3).await;
    stores.save(run, &Snapshot::encode(&stores.folded(run).await).expect("it fits")).await;
    stores.clock.advance(KEPT_FOR + SECOND);
    assert_eq!(stores.snapshot(run).await, None);
}
