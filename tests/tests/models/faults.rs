use std::time::{Duration, Instant};

use serde_json::json;
use windlass::{
    config,
    run::{
        entry::{Event, Plan, StopReason},
        state::Phase,
    },
};
use windlass_providers::assembly::assemble;
use windlass_tests::{
    model_server::{Fault, Format, ModelServer, TOKENS},
    refund_desk::{RefundDesk, Rested},
};

use crate::support::{KEY, model, only, ports, refund, route};

/// One refund with these faults, by a model that has this long for each answer.
async fn refunded(format: Format, faults: &[Fault], timeout: Duration) -> (RefundDesk, ModelServer, Rested) {
    let server = ModelServer::start(format, faults).await;
    let desk = RefundDesk::default();
    let config = config::Model { timeout, ..only(route(&server, format)) };
    let rested = desk.run(model(&config), refund()).await;
    (desk, server, rested)
}

const PATIENT: Duration = Duration::from_secs(10);

fn is_refunded_once(desk: &RefundDesk, rested: &Rested, what: &str) {
    let outcome = rested.outcome();
    assert_eq!(outcome.reason, StopReason::Completed, "{what}: {outcome:?}");
    assert_eq!(outcome.response["refunded_cents"], 1_200, "{what}: {outcome:?}");
    assert_eq!(outcome.response["customer_informed"], true, "{what}");
    let records = desk.ledger.records();
    assert_eq!((records.refunds.len(), records.letters.len()), (1, 1), "{what}");
}

fn problems(rested: &Rested) -> Vec<&str> {
    let problems = rested.events().filter_map(|event| match event {
        Event::Planned { plan: Plan::Malformed { problem }, .. } => Some(problem.as_str()),
        _ => None,
    });
    problems.collect()
}

#[tokio::test]
async fn each_wire_format_carries_a_refund_to_its_end_with_tokens_and_cost() {
    for format in Format::ALL {
        let (desk, server, rested) = refunded(format, &[], PATIENT).await;
        is_refunded_once(&desk, &rested, format.prefix());
        let name = format!("{}:test", format.prefix());
        assert_eq!(rested.models(), [name.as_str(); 4]);
        let totals = rested.state.totals;
        assert_eq!(totals.tokens, 4 * (TOKENS.0 + TOKENS.1));
        assert_eq!(totals.cost_micro_usd, 4 * (1_000 / 2 + 50 * 3 / 2));
        let asked = server.asked();
        assert_eq!(asked.len(), 4);
        for one in &asked {
            assert_eq!(one.path, format.path());
            assert_eq!(format.key_of(&one.headers), Some("sk-test-key"));
            assert!(!one.body.to_string().contains("sk-test-key"));
        }
        assert!(asked[0].body["tools"].is_array() || asked[0].body["toolConfig"]["tools"].is_array());
    }
}

#[tokio::test]
async fn several_calls_of_one_plan_are_made_and_their_results_come_back_together() {
    for format in Format::ALL {
        let server = ModelServer::start(format, &[]).await;
        let desk = RefundDesk::default();
        let payload = json!({ "orders": ["A-1001", "A-1002", "A-9999"] });
        let rested = desk.run(model(&only(route(&server, format))), payload).await;
        assert_eq!(rested.outcome().response, json!({ "looked_up": 3, "total_cents": 8_400 }), "{format:?}");
        assert_eq!((rested.state.totals.steps, rested.state.calls.len()), (2, 3));
    }
}

#[tokio::test]
async fn a_provider_that_asks_us_to_wait_is_asked_again_no_sooner() {
    for format in Format::ALL {
        let started = Instant::now();
        let fault = Fault::Status(429, vec![("retry-after", "1")]);
        let (desk, server, rested) = refunded(format, &[fault], PATIENT).await;
        is_refunded_once(&desk, &rested, format.prefix());
        assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
        assert_eq!(server.asked().len(), 5);
    }
}

#[tokio::test]
async fn a_provider_that_breaks_down_hangs_up_or_dawdles_is_asked_again() {
    for format in Format::ALL {
        for fault in [
            Fault::Status(500, vec![]),
            Fault::Status(503, vec![("retry-after-ms", "20")]),
            Fault::Status(529, vec![]),
            Fault::Cut,
            Fault::Slow(Duration::from_secs(30)),
        ] {
            let patience = if matches!(fault, Fault::Slow(_)) { Duration::from_millis(400) } else { PATIENT };
            let what = format!("{format:?} {fault:?}");
            let (desk, server, rested) = refunded(format, std::slice::from_ref(&fault), patience).await;
            is_refunded_once(&desk, &rested, &what);
            assert_eq!(server.asked().len(), 5, "{what}");
            let is_lost = matches!(fault, Fault::Cut | Fault::Slow(_));
            let (totals, answers) = (rested.state.totals, 4 * (TOKENS.0 + TOKENS.1));
            assert_eq!(totals.steps, if is_lost { 5 } else { 4 }, "{what}");
            // What was sent and not answered counts at its worst: a token for each byte, and the longest answer.
            let sent = server.asked()[0].body.to_string().len() as u64 + 1_024;
            let counted = if is_lost { answers + sent..answers + sent + 1_000 } else { answers..answers + 1 };
            assert!(counted.contains(&totals.tokens), "{what}: {totals:?}, {counted:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_recorded_and_the_model_is_told() {
    for format in Format::ALL {
        for (fault, says, is_counted) in [
            (Fault::MalformedCall, "the arguments of `refund`", true),
            (Fault::UnknownTool, "there is no tool `erase_everything`", true),
            (Fault::TooLong, "cut off", true),
            (Fault::UnknownShape, "unknown shape", false),
            (Fault::NotJson, "not JSON", false),
            (Fault::Endless, "longer than 262144 bytes", false),
        ] {
            let what = format!("{format:?} {fault:?}");
            let (desk, server, rested) = refunded(format, std::slice::from_ref(&fault), PATIENT).await;
            is_refunded_once(&desk, &rested, &what);
            let problems = problems(&rested);
            assert!(problems.len() == 1 && problems[0].contains(says), "{what}: {problems:?}");
            let told = server.asked()[1].body["messages"].to_string();
            assert!(told.contains("Your last answer could not be used") && told.contains(says), "{what}: {told}");
            let later = server.asked()[2].body["messages"].to_string();
            assert!(!later.contains("could not be used"), "{what}");
            // Where the answer does not say what it took, the worst counts.
            let (tokens, answers) = (rested.state.totals.tokens, 5 * (TOKENS.0 + TOKENS.1));
            assert!(if is_counted { tokens == answers } else { tokens > answers }, "{what}: {tokens}");
        }
    }
}

#[tokio::test]
async fn a_question_that_is_refused_ends_the_run_with_the_reason() {
    for format in Format::ALL {
        let too_long = match format {
            Format::OpenAi => "This model's maximum context length is 8192 tokens",
            Format::Anthropic => "prompt is too long: 210000 tokens > 200000 maximum",
            Format::Bedrock => "Input is too long for requested model.",
        };
        for (fault, says) in [
            (Fault::Complains(400, too_long.to_owned()), "HTTP 400: "),
            (Fault::Status(413, vec![]), "HTTP 413: as injected"),
            (Fault::Declined, "refused the request"),
        ] {
            let (desk, server, rested) = refunded(format, std::slice::from_ref(&fault), PATIENT).await;
            let StopReason::Failed { message } = &rested.outcome().reason else { panic!("{fault:?}") };
            assert!(message.contains(says), "{message}");
            assert_eq!(server.asked().len(), 1);
            assert_eq!(desk.ledger.records().refunds.len(), 0);
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_deployment_holds_the_run_and_undoes_nothing() {
    for format in Format::ALL {
        for (fault, says) in [
            (Fault::Status(400, vec![]), "HTTP 400: as injected"),
            (Fault::Status(401, vec![]), "HTTP 401"),
            (Fault::Status(402, vec![]), "HTTP 402"),
            (Fault::Status(403, vec![]), "HTTP 403"),
            (Fault::Status(404, vec![]), "HTTP 404"),
            (Fault::Status(302, vec![("location", "http://127.0.0.1:1/")]), "HTTP 302"),
            (Fault::Complains(400, "credit balance too low".to_owned()), "credit balance"),
        ] {
            let faults = [Fault::Slow(Duration::ZERO), Fault::Slow(Duration::ZERO), fault];
            let (desk, server, rested) = refunded(format, &faults, PATIENT).await;
            let held = rested.state.held.as_ref().unwrap_or_else(|| panic!("{faults:?}: {:?}", rested.state.phase));
            assert!(held.reason.contains(says), "{held:?}");
            assert!(rested.state.abandoned.is_none(), "{:?}", rested.state.abandoned);
            assert_eq!((server.asked().len(), desk.ledger.records().refunds.len()), (3, 1), "{format:?} {faults:?}");
        }
    }
}

#[tokio::test]
async fn a_provider_that_does_not_count_is_not_free() {
    for format in Format::ALL {
        let (desk, _, rested) = refunded(format, &[Fault::Uncounted], PATIENT).await;
        is_refunded_once(&desk, &rested, format.prefix());
        assert!(rested.state.totals.tokens > 3 * (TOKENS.0 + TOKENS.1) + 300, "{:?}", rested.state.totals);
    }
}

#[tokio::test]
async fn a_rotated_key_is_fetched_anew_and_a_wrong_one_holds_the_run_without_being_quoted() {
    for format in Format::ALL {
        let server = ModelServer::start(format, &[]).await;
        server.accept_only("sk-new-key");
        let (secrets, mut ports) = ports("sk-old-key");
        // The cache asks the store again no sooner than ten seconds after it last did, so the time is moved by hand.
        let clock = std::sync::Arc::new(windlass::memory::ManualClock::at(windlass::clock::Timestamp::from_millis(0)));
        ports.clock = clock.clone();
        let assembled = assemble(&only(route(&server, format)), &ports).expect("nothing is missing");
        assembled.keys[0].get().await.expect("the old key");
        clock.advance(Duration::from_secs(11));
        let wrong = RefundDesk::default().run(assembled.model.clone(), refund()).await;
        let held = wrong.state.held.as_ref().expect("it is held");
        assert!(held.reason.contains("HTTP 401") && !held.reason.contains("sk-"), "{held:?}");
        secrets.set(KEY, "sk-new-key");
        clock.advance(Duration::from_secs(11));
        let desk = RefundDesk::default();
        is_refunded_once(&desk, &desk.run(assembled.model, refund()).await, format.prefix());
    }
}

#[tokio::test]
async fn a_provider_that_stays_away_lets_the_run_rest() {
    let faults = vec![Fault::Status(503, vec![]); 16];
    let (desk, server, rested) = refunded(Format::OpenAi, &faults, PATIENT).await;
    assert!(matches!(rested.state.phase, Phase::Waiting { .. }), "{:?}", rested.state.phase);
    assert!((5..=6).contains(&server.asked().len()), "a turn asks a few times: {}", server.asked().len());
    assert_eq!(desk.ledger.records().refunds.len(), 0);
}
