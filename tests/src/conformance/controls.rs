//! The live controls, prompts, and held runs.

use futures::future::join_all;
use windlass::{
    audit::AuditRecord,
    controls::{Change, Changed, ControlsError, Document, Initialised, change::INIT_ACTION},
    journal::{DUE_SHARDS, HeadStatus, Listing, due_shard},
    prompts::{SavedPrompt, digest},
};

use super::{SECOND, Stores};

impl Stores {
    fn changed(&self, before: &Document, typed: &str) -> Document {
        let change = Change { by: "ops".parse().expect("an actor"), at: self.now(), why: format!("why {typed}") };
        before.changed(before.settings.clone().set(typed).expect("a setting"), change)
    }

    /// Puts version 0 in force.
    async fn version_zero(&self) -> Document {
        let (by, why) = ("ops".parse().expect("an actor"), "the controls are made");
        let audit = AuditRecord::new(self.now(), &self.random, &by, INIT_ACTION, "controls", why);
        self.controls.init(&audit).await.expect("the store answers");
        Document::default()
    }

    async fn inits(&self) -> Initialised {
        let (by, why) = ("ops".parse().expect("an actor"), "again");
        let audit = AuditRecord::new(self.now(), &self.random, &by, INIT_ACTION, "controls", why);
        self.controls.init(&audit).await.expect("the store answers")
    }

    async fn in_force(&self) -> Document {
        Document::clone(&*self.controls.read().await.expect("the store answers"))
    }

    async fn puts(&self, document: &Document) -> Changed {
        let by = "ops".parse().expect("an actor");
        let audit = AuditRecord::new(self.now(), &self.random, &by, "controls.change", "v", "why");
        self.controls.change(document, &audit).await.expect("the store answers")
    }

    fn prompt(&self, task: &str, version: u32, text: &str) -> SavedPrompt {
        SavedPrompt {
            task: task.parse().expect("a task"),
            version,
            text: text.to_owned(),
            digest: digest(text),
            by: "ops".parse().expect("an actor"),
            at: self.now(),
            note: "a note".to_owned(),
        }
    }
}

pub async fn what_was_never_made_is_missing_and_cannot_be_changed(stores: &Stores) {
    assert_eq!(stores.controls.read().await, Err(ControlsError::Missing));
    assert_eq!(stores.controls.history(10).await, Ok(vec![]));
    assert_eq!(stores.puts(&stores.changed(&Document::default(), "model=off")).await, Changed::Conflict);
    assert_eq!(stores.controls.read().await, Err(ControlsError::Missing));
}

pub async fn what_was_made_and_never_changed_lets_everything_happen(stores: &Stores) {
    assert_eq!(stores.inits().await, Initialised::Made);
    assert_eq!(stores.in_force().await, Document::default());
    assert_eq!(stores.controls.history(10).await, Ok(vec![Document::default()]));
    assert_eq!(stores.inits().await, Initialised::There { version: 0 });
    assert_eq!(stores.plans.audit_trail(10).await.expect("the store answers").len(), 1);
}

pub async fn of_many_who_make_the_controls_one_does_and_a_change_stays(stores: &Stores) {
    let made = join_all((0..4).map(|_| stores.inits())).await;
    assert_eq!(made.iter().filter(|made| **made == Initialised::Made).count(), 1, "{made:?}");
    let off = stores.changed(&Document::default(), "tool.refund=off");
    assert_eq!(stores.puts(&off).await, Changed::Done);
    assert_eq!(stores.inits().await, Initialised::There { version: 1 });
    assert_eq!(stores.in_force().await, off);
}

pub async fn a_number_that_was_lost_is_missing_until_the_newest_version_is_restored(stores: &Stores) {
    let off = stores.changed(&stores.version_zero().await, "tool.refund=off");
    assert_eq!(stores.puts(&off).await, Changed::Done);
    stores.planting.lose_number_of_controls().await;
    assert_eq!(stores.controls.read().await, Err(ControlsError::Missing));
    assert_eq!(stores.inits().await, Initialised::Restored { version: 1 });
    assert_eq!(stores.in_force().await, off);
    assert_eq!(stores.inits().await, Initialised::There { version: 1 });
}

pub async fn a_number_that_was_lost_stands_in_the_way_of_no_change(stores: &Stores) {
    let first = stores.changed(&stores.version_zero().await, "tool.refund=off");
    assert_eq!(stores.puts(&first).await, Changed::Done);
    stores.planting.lose_number_of_controls().await;
    let second = stores.changed(&first, "policy=deny");
    assert_eq!(stores.puts(&second).await, Changed::Done);
    assert_eq!(stores.in_force().await, second);
}

pub async fn every_read_after_a_change_is_of_it(stores: &Stores) {
    let mut document = stores.version_zero().await;
    for (typed, reads) in [("model=off", 40), ("model=on", 40), ("tool.a=off", 5)] {
        document = stores.changed(&document, typed);
        assert_eq!(stores.puts(&document).await, Changed::Done);
        let read = join_all((0..reads).map(|_| stores.in_force())).await;
        assert!(read.iter().all(|read| *read == document), "{typed}");
    }
}

pub async fn a_change_is_read_at_once_kept_and_audited(stores: &Stores) {
    let zero = stores.version_zero().await;
    let first = stores.changed(&zero, "tool.refund=off");
    assert_eq!(stores.puts(&first).await, Changed::Done);
    assert_eq!(stores.in_force().await, first);
    stores.clock.advance(SECOND);
    let second = stores.changed(&first, "policy=deny");
    assert_eq!(stores.puts(&second).await, Changed::Done);
    assert_eq!(stores.controls.history(10).await, Ok(vec![second.clone(), first.clone(), zero]));
    assert_eq!(stores.controls.history(1).await, Ok(vec![second]));
    assert_eq!(stores.controls.version(1).await, Ok(Some(first)));
    assert_eq!(stores.controls.version(3).await, Ok(None));
    let trail = stores.plans.audit_trail(10).await.expect("the store answers");
    assert_eq!(trail.iter().filter(|line| line.action == "controls.change").count(), 2);
}

pub async fn of_many_who_change_one_version_one_does_and_only_it_is_audited(stores: &Stores) {
    let zero = stores.version_zero().await;
    let names = ["tool.a=off", "tool.b=off", "tool.c=off", "tool.d=off", "tool.e=off", "tool.f=off"];
    let wanted: Vec<Document> = names.map(|typed| stores.changed(&zero, typed)).into();
    let done = join_all(wanted.iter().map(|document| stores.puts(document))).await;
    assert_eq!(done.iter().filter(|changed| **changed == Changed::Done).count(), 1);
    let winner = done.iter().position(|changed| *changed == Changed::Done).expect("one");
    assert_eq!(stores.in_force().await, wanted[winner]);
    let trail = stores.plans.audit_trail(10).await.expect("the store answers");
    assert_eq!(trail.iter().filter(|line| line.action == "controls.change").count(), 1);
}

pub async fn a_repeated_change_whose_answer_was_lost_is_done(stores: &Stores) {
    let first = stores.changed(&stores.version_zero().await, "model=off");
    assert_eq!(stores.puts(&first).await, Changed::Done);
    assert_eq!(stores.puts(&first).await, Changed::Done);
    assert_eq!(stores.controls.history(10).await.expect("the store answers").len(), 2);
}

pub async fn a_change_of_an_old_version_conflicts(stores: &Stores) {
    let first = stores.changed(&stores.version_zero().await, "model=off");
    stores.puts(&first).await;
    stores.puts(&stores.changed(&first, "model=on")).await;
    assert_eq!(stores.puts(&stores.changed(&first, "agent=off")).await, Changed::Conflict);
    let ahead = Document { version: 9, ..first };
    assert_eq!(stores.puts(&ahead).await, Changed::Conflict);
}

pub async fn held_runs_are_listed_in_their_part_the_longest_held_first_until_they_are_left_otherwise(stores: &Stores) {
    let mut held = Vec::new();
    for n in 0..12 {
        let run = stores.run(&format!("held-{n}")).await;
        stores.left(run, HeadStatus::Held { reason: "the model is switched off".to_owned() }).await;
        stores.clock.advance(SECOND);
        held.push(run);
    }
    let waiting = stores.run("waiting").await;
    stores.left(waiting, HeadStatus::Waiting).await;
    for shard in 0..DUE_SHARDS {
        let listed = stores.heads.list(&Listing::Held { shard }, 100).await.expect("the store answers");
        let listed: Vec<_> = listed.iter().map(|head| head.run).collect();
        let expected: Vec<_> = held.iter().copied().filter(|run| due_shard(*run) == shard).collect();
        assert_eq!(listed, expected);
    }
    stores.clock.advance(3600 * SECOND);
    stores.left(held[0], HeadStatus::Waiting).await;
    let listing = Listing::Held { shard: due_shard(held[0]) };
    let listed = stores.heads.list(&listing, 100).await.expect("the store answers");
    assert!(listed.iter().all(|head| head.run != held[0]));
}

pub async fn a_saved_prompt_never_changes_and_is_listed_newest_first(stores: &Stores) {
    let (one, two) = (stores.prompt("refund", 1, "one"), stores.prompt("refund", 2, "two"));
    let other = stores.prompt("refund/eu", 1, "other");
    for prompt in [&one, &two, &other] {
        assert_eq!(stores.prompts.save(prompt).await, Ok(true));
    }
    assert_eq!(stores.prompts.save(&one).await, Ok(true), "a repetition");
    assert_eq!(stores.prompts.save(&stores.prompt("refund", 2, "another")).await, Ok(false));
    assert_eq!(stores.prompts.version(&one.task, 2).await, Ok(Some(two.clone())));
    assert_eq!(stores.prompts.version(&one.task, 3).await, Ok(None));
    assert_eq!(stores.prompts.list(&one.task, 10).await, Ok(vec![two.clone(), one]));
    assert_eq!(stores.prompts.list(&two.task, 1).await, Ok(vec![two]));
}
