//! What came of it all, in one table.

use std::{collections::BTreeMap, time::Duration};

use windlass::{ids::RunId, journal::Journal as _};
use windlass_tests::chaos::{
    proxy::Fault,
    verdict::{Ledger, Verdict, judge},
    watch::Blow,
};

use crate::scene::Scene;

/// Judges every run and prints the table.
pub async fn report(scene: &Scene, orders: &[String]) {
    let submitted: BTreeMap<RunId, String> =
        scene.submitted().iter().map(|(run, one)| (*run, one.order.clone())).collect();
    assert_eq!(submitted.len(), orders.len(), "one request became several runs");
    let mut verdicts = Vec::new();
    for (run, order) in &submitted {
        let entries = scene.runs.load(*run, 1).await.expect("the store answers");
        let ledger = Ledger::of(&scene.caller.aws, order).await.expect("the ledger answers");
        let verdict = judge(&entries, ledger);
        if !verdict.is_sound() {
            println!("{run} {order}: {ledger:?} {verdict:?}\n{entries:#?}");
        }
        verdicts.push(verdict);
    }
    print(scene, &verdicts);
    let count = |of: fn(&Verdict) -> usize| verdicts.iter().map(of).sum::<usize>();
    assert!(verdicts.iter().all(Verdict::is_sound), "journals and ledger do not agree");
    let ends = ["completed", "cancelled"];
    assert!(verdicts.iter().all(|verdict| ends.contains(&verdict.outcome.as_str())), "a run ended otherwise");
    let completed = |verdict: &&Verdict| verdict.outcome == "completed" && verdict.failed_calls == 0;
    assert!(verdicts.iter().filter(completed).all(|verdict| verdict.did_both), "a completed run lacks an effect");
    assert!(count(|verdict| verdict.intents) > orders.len(), "hardly anything was done");
}

fn print(scene: &Scene, verdicts: &[Verdict]) {
    let count = |of: fn(&Verdict) -> usize| verdicts.iter().map(of).sum::<usize>();
    let blown = scene.blown();
    let row = |what: &str, value: String| println!("| {what} | {value} |");
    println!("| | |\n|---|---|");
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for verdict in verdicts {
        *ends.entry(&verdict.outcome).or_default() += 1;
    }
    row("runs", format!("{} in {:.0} s", verdicts.len(), scene.began.elapsed().as_secs_f64()));
    row("ended", list(&ends));
    row("function processes killed", list(&blown.killed));
    row("stacks killed", blown.stacks.to_string());
    row("sweeps · failed", format!("{} · {}", blown.sweeps[0], blown.sweeps[1]));
    row(
        "workers frozen beyond their lease",
        format!("{}; runs moved on by themselves after it {}", blown.frozen, scene.watch.thawed_in_time()),
    );
    let clocks = if scene.clocks.is_some() { blown.jumps.to_string() } else { "none: no `libfaketime`".to_owned() };
    row("clocks moved", clocks);
    row("disks full", format!("{}, {} requests refused", blown.full_disks, scene.proxy.refused_by_store()));
    let injected = scene.proxy.injected();
    let faults: BTreeMap<&str, u64> =
        Fault::ALL.into_iter().filter_map(|fault| Some((fault.name(), *injected.get(&fault)?))).collect();
    row("requests to AWS", scene.proxy.requests().to_string());
    row("faults injected", format!("{}: {}", faults.values().sum::<u64>(), list(&faults)));
    row(
        "intents · calls given up after all attempts",
        format!("{} · {}", count(|one| one.intents), count(|one| one.failed_calls)),
    );
    let [lost, duplicated, denied] = [count(|one| one.lost), count(|one| one.duplicated), count(|one| one.denied)];
    row("effects lost · duplicated · denied by the journal", format!("{lost} · {duplicated} · {denied}"));
    row("in doubt · wrongly so", format!("{} · {}", count(|one| one.doubts), count(|one| one.wrong_doubts)));
    row("runs that got on unseen", unseen(scene).to_string());
    for (blow, name) in [
        (Blow::Killed, "its worker was killed"),
        (Blow::StackKilled, "the stack was killed"),
        (Blow::Frozen, "its worker was frozen"),
    ] {
        row(&format!("until a run got on of which {name}"), spread(scene, blow));
    }
}

/// Runs that are over although nobody was seen to move them on: the stack died with that answer.
fn unseen(scene: &Scene) -> usize {
    scene.watch.still_held_up().len()
}

fn list<K: std::fmt::Display, V: std::fmt::Display>(of: &BTreeMap<K, V>) -> String {
    of.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

fn spread(scene: &Scene, blow: Blow) -> String {
    let recoveries = scene.watch.recoveries().into_iter();
    let mut spans: Vec<Duration> = recoveries.filter(|(of, _)| *of == blow).map(|(_, span)| span).collect();
    spans.sort();
    let Some(last) = spans.len().checked_sub(1) else { return "no such run".to_owned() };
    let at = |percent: usize| spans[last * percent / 100].as_secs_f64();
    format!("{} runs, p50 {:.1} s, p95 {:.1} s, max {:.1} s", spans.len(), at(50), at(95), at(100))
}
