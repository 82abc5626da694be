//! When no runs are taken on: while the switch is off, and when an actor's budget is used up.

mod support;

use std::{sync::Arc, time::Duration};

use intake::Intake;
use support::{Answer, NOW, World, intake_with, submission};
use windlass::{
    budgets::{Account, Allowance, Budgets as _, Reservation, Spend},
    clock::Clock,
    controls::change::Hand,
    ids::Actor,
    memory::{Accounts, Controls, Plans, SeededRandom},
};

const ALLOWANCE: Allowance = Allowance { micro_usd: 1_000, tokens: 0 };

/// A world, and its intake under these controls and accounts.
struct Door {
    world: World,
    controls: Arc<Controls>,
    accounts: Arc<Accounts>,
    intake: Arc<Intake>,
}

impl Door {
    fn new() -> Door {
        let world = World::new();
        let clock: Arc<dyn Clock> = world.clock.clone();
        let (controls, accounts) = (Arc::new(Controls::new(&Plans::new(clock))), Arc::new(Accounts::new()));
        let mut intake = intake_with(world.clock.clone(), world.runs.clone(), world.runs.clone(), world.queue.clone());
        intake.controls = controls.clone();
        intake.budgets = accounts.clone();
        intake.allowance = ALLOWANCE;
        Door { world, controls, accounts, intake: Arc::new(intake) }
    }

    async fn send(&self, key: &str, actor: &str) -> Answer {
        let request = submission(key).by(actor, "acme", "[submitter]");
        Answer::of(Arc::clone(&self.intake).handle(request.event()).await)
    }
}

#[tokio::test]
async fn while_new_runs_are_off_nothing_is_written_and_afterwards_the_same_key_is_taken_on() {
    let door = Door::new();
    let by: Actor = "olga".parse().expect("an actor");
    let random = SeededRandom::new(1);
    let hand = Hand {
        controls: door.controls.as_ref(),
        clock: door.world.clock.as_ref(),
        random: &random,
        by: &by,
        why: "a drill",
    };
    hand.change(None, |now| now.set("new-runs=off")).await.expect("it changes");
    let refused = door.send("k", "ada").await;
    assert_eq!((refused.status, refused.problem(), refused.header("retry-after")), (503, "new-runs-paused", "60"));
    assert!(door.world.runs.all_heads().is_empty());
    hand.change(None, |now| now.set("new-runs=on")).await.expect("it changes");
    assert_eq!(door.send("k", "ada").await.status, 202);
}

#[tokio::test]
async fn who_has_spent_the_day_s_budget_is_told_when_it_renews_and_others_are_not_stopped() {
    let door = Door::new();
    let account = Account::at(NOW, &"acme".parse().expect("a tenant"), &"ada".parse().expect("an actor"));
    let worst = Spend { micro_usd: 1_000, tokens: 10 };
    let call = Reservation { account: account.clone(), id: "a".to_owned(), worst, deadline: NOW };
    door.accounts.reserve(&call, ALLOWANCE, NOW).await.expect("the store answers");
    assert_eq!(door.send("k", "ada").await.status, 202, "reserved is not yet spent");
    door.accounts.settle(&call, worst).await.expect("the store answers");
    let refused = door.send("l", "ada").await;
    let renews_at = account.renews_at();
    assert_eq!((refused.status, refused.problem()), (429, "budget-exhausted"));
    assert_eq!(refused.body["renews_at"], renews_at.to_string());
    assert_eq!(refused.header("retry-after"), renews_at.since(NOW).as_secs().to_string());
    assert_eq!(
        refused.body["detail"],
        format!(
            "the budget of `ada` for {} (0.001000 US dollars) is used up; it renews at {renews_at}",
            account.date()
        )
    );
    assert_eq!(door.send("k", "bob").await.status, 202);
    door.world.clock.advance(renews_at.since(NOW) + Duration::from_millis(1));
    assert_eq!(door.send("l", "ada").await.status, 202, "a new day");
}
