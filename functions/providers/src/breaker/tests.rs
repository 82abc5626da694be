use windlass::{
    memory::ManualClock,
    redaction::Redactions,
    telemetry::{Collected, Narrator},
};

use super::*;

fn breaker() -> (Arc<ManualClock>, Breaker) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_768_000_000_000)));
    (clock.clone(), Breaker::new("m", clock))
}

fn tenant(name: &str) -> Tenant {
    name.parse().expect("a tenant")
}

fn permit(breaker: &Breaker) -> Permit<'_> {
    permit_of(breaker, "acme")
}

fn permit_of<'b>(breaker: &'b Breaker, name: &str) -> Permit<'b> {
    match breaker.admit(&tenant(name)) {
        Admission::Granted(permit) => permit,
        Admission::Denied { until } => panic!("open until {until}"),
    }
}

fn is_open(breaker: &Breaker) -> bool {
    open_until(breaker, "acme").is_some()
}

fn open_until(breaker: &Breaker, name: &str) -> Option<Timestamp> {
    match breaker.admit(&tenant(name)) {
        Admission::Granted(permit) => {
            permit.refused();
            None
        }
        Admission::Denied { until } => Some(until),
    }
}

/// Failures with a pause before each, so that enough of them in a row take long enough.
fn fail(clock: &ManualClock, breaker: &Breaker, times: u32, wait: Duration) {
    for _ in 0..times {
        clock.advance(FAILING_FOR / (FAILURES_MAX - 1));
        permit(breaker).failed(wait);
    }
}

#[test]
fn failures_in_a_row_open_it_and_one_answer_between_them_does_not() {
    let (clock, breaker) = breaker();
    fail(&clock, &breaker, FAILURES_MAX - 1, Duration::ZERO);
    permit(&breaker).answered();
    fail(&clock, &breaker, FAILURES_MAX - 1, Duration::ZERO);
    assert_eq!(breaker.counters().opened, 0);
    fail(&clock, &breaker, 1, Duration::ZERO);
    assert!(is_open(&breaker));
}

#[test]
fn a_few_failures_at_one_moment_are_chance_and_stop_nobody() {
    let (clock, breaker) = breaker();
    let permits: Vec<Permit<'_>> = (0..3 * FAILURES_MAX).map(|_| permit(&breaker)).collect();
    permits.into_iter().for_each(|permit| permit.failed(Duration::from_secs(25)));
    assert_eq!(breaker.counters().opened, 0);
    clock.advance(FAILING_FOR);
    permit(&breaker).failed(Duration::ZERO);
    assert_eq!(breaker.counters().opened, 1, "no answer in all that time");
}

#[test]
fn one_request_probes_when_the_time_is_over_and_its_outcome_decides() {
    let (clock, breaker) = breaker();
    fail(&clock, &breaker, FAILURES_MAX, Duration::ZERO);
    clock.advance(OPEN_FOR - Duration::from_millis(1));
    assert!(is_open(&breaker));
    clock.advance(Duration::from_millis(1));
    let probe = permit(&breaker);
    assert!(is_open(&breaker), "a second one may not probe");
    probe.failed(Duration::ZERO);
    assert!(is_open(&breaker), "one failure is enough now");
    clock.advance(OPEN_FOR);
    permit(&breaker).answered();
    permit(&breaker).answered();
    let counters = breaker.counters();
    assert_eq!((counters.answered, counters.failed, counters.opened), (2, u64::from(FAILURES_MAX) + 1, 2));
    assert_eq!(counters.turned_away, 3);
}

#[test]
fn one_request_that_is_asked_to_wait_does_not_close_the_model_to_others() {
    let (_, breaker) = breaker();
    permit(&breaker).failed(Duration::from_secs(25));
    assert!(!is_open(&breaker));
}

#[test]
fn what_a_provider_asks_for_is_kept_once_it_keeps_failing_and_a_minute_at_most() {
    for (asked, kept) in [(7, 7), (3_600, 60)] {
        let (clock, breaker) = breaker();
        fail(&clock, &breaker, FAILURES_MAX, Duration::from_secs(asked));
        assert_eq!(open_until(&breaker, "acme"), Some(clock.now() + Duration::from_secs(kept)));
    }
}

#[test]
fn a_probe_that_fails_after_it_was_asked_to_wait_is_one_failure_and_not_five() {
    let (clock, breaker) = breaker();
    fail(&clock, &breaker, FAILURES_MAX, Duration::from_secs(7));
    clock.advance(Duration::from_secs(7));
    permit(&breaker).failed(Duration::ZERO);
    fail(&clock, &breaker, FAILURES_MAX - 2, Duration::ZERO);
    assert_eq!(breaker.counters().opened, 1);
    fail(&clock, &breaker, 1, Duration::ZERO);
    assert_eq!(breaker.counters().opened, 2);
}

#[test]
fn a_failure_of_a_request_from_before_it_opened_neither_prolongs_it_nor_decides_a_probe() {
    let (clock, breaker) = breaker();
    let (early, late) = (permit(&breaker), permit(&breaker));
    fail(&clock, &breaker, FAILURES_MAX, Duration::ZERO);
    let opened_until = clock.now() + OPEN_FOR;
    clock.advance(OPEN_FOR / 2);
    early.failed(Duration::ZERO);
    assert_eq!(open_until(&breaker, "acme"), Some(opened_until));
    clock.advance(OPEN_FOR / 2);
    let probe = permit(&breaker);
    late.failed(Duration::ZERO);
    probe.answered();
    assert!(!is_open(&breaker));
    assert_eq!(breaker.counters().opened, 1);
}

#[test]
fn a_request_without_an_answer_or_that_is_given_up_is_no_outage_and_does_not_block_the_probe() {
    let (clock, breaker) = breaker();
    (0..3 * FAILURES_MAX).for_each(|_| permit(&breaker).unanswered());
    (0..3 * FAILURES_MAX).for_each(|_| drop(permit(&breaker)));
    assert!(!is_open(&breaker));
    fail(&clock, &breaker, FAILURES_MAX, Duration::ZERO);
    clock.advance(OPEN_FOR);
    drop(permit(&breaker));
    permit(&breaker).answered();
    assert!(!is_open(&breaker));
    assert_eq!(breaker.counters().unanswered, u64::from(6 * FAILURES_MAX) + 1);
}

#[test]
fn one_tenants_failures_leave_others_alone_and_a_lost_connection_is_everybodys() {
    let (clock, breaker) = breaker();
    fail(&clock, &breaker, FAILURES_MAX, Duration::ZERO);
    assert!(is_open(&breaker) && open_until(&breaker, "globex").is_none());
    for _ in 0..FAILURES_MAX {
        clock.advance(FAILING_FOR / (FAILURES_MAX - 1));
        permit_of(&breaker, "globex").unreachable();
    }
    assert!(open_until(&breaker, "initech").is_some());
    clock.advance(OPEN_FOR);
    permit_of(&breaker, "initech").answered();
    assert!(open_until(&breaker, "globex").is_none());
}

#[test]
fn a_late_answer_does_not_close_a_breaker_that_opened_meanwhile() {
    let (clock, breaker) = breaker();
    let late = permit(&breaker);
    fail(&clock, &breaker, FAILURES_MAX, Duration::ZERO);
    late.answered();
    assert!(is_open(&breaker));
}

#[test]
fn every_request_and_every_change_is_told_as_a_metric() {
    let (clock, breaker) = breaker();
    let kept = Arc::new(Collected::default());
    let narrator = Narrator { environment: "dev", redactions: Arc::new(Redactions::default()) };
    let teller = Teller::telling(kept.clone(), narrator, "r1".parse().expect("a release"));
    let breaker = breaker.told_by(teller.clone());
    fail(&clock, &breaker, FAILURES_MAX, Duration::ZERO);
    assert!(is_open(&breaker));
    clock.advance(OPEN_FOR);
    permit(&breaker).refused();
    permit(&breaker).answered();
    permit(&breaker).unanswered();
    assert_eq!(kept.lines().len(), 2, "what the breaker does is told at once");
    teller.flush();
    let told = kept.lines().into_iter().map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
        let defined = &line["_aws"]["CloudWatchMetrics"][0];
        let name = defined["Metrics"][0]["Name"].as_str().expect("a name").to_owned();
        assert_eq!((&line["Model"], &line["Release"]), (&"m".into(), &"r1".into()));
        assert!(!defined["Dimensions"].to_string().contains("Model"), "{defined}");
        format!("{name} {} {}", line["Outcome"].as_str().unwrap_or_default(), line[&name])
    });
    let failed = vec!["1.0"; FAILURES_MAX as usize].join(",");
    let wanted = [
        "BreakerOpened  1.0",
        "BreakerClosed  1.0",
        &format!("ModelRequests failed [{failed}]"),
        "ModelRequests turned_away 1.0",
        "ModelRequests refused 1.0",
        "ModelRequests answered 1.0",
        "ModelRequests unanswered 1.0",
    ];
    assert_eq!(told.collect::<Vec<_>>(), wanted);
}

#[test]
fn a_refusal_is_no_failure() {
    let (_, breaker) = breaker();
    (0..2 * FAILURES_MAX).for_each(|_| permit(&breaker).refused());
    assert!(!is_open(&breaker));
}
