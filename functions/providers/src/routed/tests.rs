use std::{collections::VecDeque, sync::Mutex};

use serde_json::json;
use windlass::{agent::model::Pricing, clock::Timestamp, memory::ManualClock};

use super::*;
use crate::{
    breaker::{FAILING_FOR, FAILURES_MAX, OPEN_FOR},
    conversation::tests::{question, request},
};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Between two questions, so that enough failures in a row take long enough to open a breaker.
const PAUSE: Duration = FAILING_FOR.checked_div(FAILURES_MAX - 1).expect("it is not zero");

/// What a model does next.
#[derive(Debug, Clone)]
enum Move {
    Answer,
    Unavailable(Duration),
    Refuse,
    Misconfigured,
    Unreachable,
    Break,
    Babble,
    Hang,
}

/// What a question takes at most here.
const WORST: Usage = Usage { input_tokens: 700, output_tokens: 300, cost_micro_usd: 42, pricing: Pricing::Known };

/// Does what it is told, the last thing for ever.
struct Told {
    name: &'static str,
    moves: Mutex<VecDeque<Move>>,
}

fn told(name: &'static str, moves: &[Move]) -> Arc<dyn Model> {
    Arc::new(Told { name, moves: Mutex::new(moves.iter().cloned().collect()) })
}

#[async_trait]
impl Model for Told {
    fn name(&self) -> &str {
        self.name
    }
    fn timeout(&self) -> Duration {
        TIMEOUT
    }
    fn worst_case(&self, _: &Question<'_>) -> Usage {
        WORST
    }
    async fn answer(&self, _: Question<'_>) -> Result<Answer, ModelError> {
        let next = {
            let mut moves = self.moves.lock().expect("nobody panicked");
            if moves.len() > 1 { moves.pop_front() } else { moves.front().cloned() }
        };
        match next.expect("it was told something") {
            Move::Answer => {
                let proposal = Proposal::Respond(json!({}));
                Ok(Answer { proposal, usage: Usage::default(), model: self.name.to_owned(), lost: Lost::default() })
            }
            Move::Unavailable(retry_after) => Err(ModelError::Unavailable { message: "busy".into(), retry_after }),
            Move::Refuse => Err(ModelError::Refused { message: "too long".into() }),
            Move::Misconfigured => Err(ModelError::Misconfigured { message: "no key".into() }),
            Move::Unreachable => Err(ModelError::Unreachable { message: "nobody listens".into() }),
            Move::Break => Err(ModelError::Unanswered { message: "it broke off".into(), lost: Lost::one(WORST) }),
            Move::Babble => Err(ModelError::Malformed { message: "babble".into() }),
            Move::Hang => std::future::pending().await,
        }
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_millis(1_768_000_000_000)))
}

/// Asks, moving the clock on whenever everything waits for it.
async fn ask(routed: &Routed, clock: &ManualClock) -> Result<Answer, ModelError> {
    ask_routed(routed, clock, None).await
}

async fn ask_routed(routed: &Routed, clock: &ManualClock, model: Option<&str>) -> Result<Answer, ModelError> {
    ask_after(routed, clock, model, 0).await
}

/// Asks for a run whose last questions failed so often.
async fn ask_after(
    routed: &Routed,
    clock: &ManualClock,
    model: Option<&str>,
    failures: u32,
) -> Result<Answer, ModelError> {
    let request = request(json!({}));
    let mut answer = routed.answer(Question { model, failures, ..question(&request, &[], &[]) });
    loop {
        if let std::task::Poll::Ready(answer) = futures::poll!(&mut answer) {
            return answer;
        }
        clock.set(clock.next_wake().expect("something is waited for"));
    }
}

fn model_of(answer: Result<Answer, ModelError>) -> String {
    answer.expect("an answer").model
}

#[tokio::test]
async fn the_second_answers_while_the_first_does_not_and_the_first_again_once_it_is_back() {
    let clock = clock();
    let mut moves = vec![Move::Unavailable(Duration::ZERO); FAILURES_MAX as usize];
    moves.push(Move::Answer);
    let routed = Routed::new(vec![told("a", &moves), told("b", &[Move::Answer])], LastResort::Rest, clock.clone());
    for _ in 0..FAILURES_MAX + 3 {
        clock.advance(PAUSE);
        assert_eq!(model_of(ask(&routed, &clock).await), "b");
    }
    let [(_, first), (_, second)] = routed.counters()[..] else { panic!("two models") };
    assert_eq!((first.failed, first.turned_away, first.opened), (u64::from(FAILURES_MAX), 3, 1));
    assert_eq!(second.answered, u64::from(FAILURES_MAX) + 3);
    clock.advance(OPEN_FOR);
    assert_eq!(model_of(ask(&routed, &clock).await), "a");
}

#[tokio::test]
async fn a_question_that_is_routed_to_a_model_is_asked_of_it_first_and_of_the_others_after_it() {
    let clock = clock();
    let moves = [Move::Answer, Move::Unavailable(Duration::ZERO)];
    let routed = Routed::new(vec![told("a", &[Move::Answer]), told("b", &moves)], LastResort::Rest, clock.clone());
    assert!(routed.can_ask("a") && routed.can_ask("b") && !routed.can_ask("c"));
    assert_eq!(model_of(ask_routed(&routed, &clock, Some("b")).await), "b");
    assert_eq!(model_of(ask_routed(&routed, &clock, Some("b")).await), "a", "b does not answer any more");
}

#[tokio::test]
async fn a_model_that_hangs_is_left_when_its_own_time_is_over_and_there_is_time_for_the_next() {
    let clock = clock();
    let started = clock.now();
    let routed =
        Routed::new(vec![told("a", &[Move::Hang]), told("b", &[Move::Answer])], LastResort::Rest, clock.clone());
    assert_eq!(model_of(ask(&routed, &clock).await), "b");
    assert_eq!(clock.now().since(started), TIMEOUT);
    assert!(routed.timeout() > 2 * TIMEOUT);
}

#[tokio::test]
async fn one_that_asks_to_wait_is_believed_by_its_run_and_left_alone_by_others_once_it_keeps_asking() {
    let clock = clock();
    let mut moves = vec![Move::Unavailable(Duration::from_secs(9)); FAILURES_MAX as usize];
    moves.push(Move::Answer);
    let routed = Routed::new(vec![told("a", &moves)], LastResort::Rest, clock.clone());
    for _ in 0..FAILURES_MAX {
        clock.advance(PAUSE);
        let error = ask(&routed, &clock).await.expect_err("it is busy");
        assert!(matches!(error, ModelError::Unavailable { retry_after, .. } if retry_after == Duration::from_secs(9)));
    }
    clock.advance(Duration::from_secs(4));
    let error = ask(&routed, &clock).await.expect_err("it is left alone");
    assert!(matches!(error, ModelError::TurnedAway { retry_after, .. } if retry_after == Duration::from_secs(5)));
    clock.advance(Duration::from_secs(5));
    assert_eq!(model_of(ask(&routed, &clock).await), "a");
}

#[tokio::test]
async fn a_refusal_goes_on_to_the_next_and_is_final_only_when_all_refuse() {
    let clock = clock();
    let of = |first: Move, second: Move| {
        let models = vec![told("a", &[first]), told("b", &[second])];
        Routed::new(models, LastResort::Rest, clock.clone())
    };
    let busy = Move::Unavailable(Duration::ZERO);
    assert_eq!(model_of(ask(&of(Move::Refuse, Move::Answer), &clock).await), "b");
    assert!(matches!(ask(&of(Move::Refuse, Move::Refuse), &clock).await, Err(ModelError::Refused { .. })));
    for second in [busy.clone(), Move::Unreachable] {
        let error = ask(&of(Move::Refuse, second), &clock).await;
        assert!(matches!(error, Err(ModelError::Unavailable { .. })), "{error:?}");
    }
    for (first, second) in [(Move::Misconfigured, Move::Refuse), (Move::Misconfigured, Move::Misconfigured)] {
        let error = ask(&of(first, second), &clock).await;
        assert!(matches!(error, Err(ModelError::Misconfigured { .. })), "{error:?}");
    }
    let error = ask(&of(Move::Misconfigured, busy), &clock).await;
    assert!(matches!(error, Err(ModelError::Unavailable { .. })), "{error:?}");
}

#[tokio::test]
async fn what_was_sent_and_not_answered_is_paid_for_whoever_answers_in_the_end() {
    let clock = clock();
    let of = |moves: [Move; 2]| {
        let [first, second] = moves;
        Routed::new(vec![told("a", &[first]), told("b", &[second])], LastResort::Rest, clock.clone())
    };
    for first in [Move::Hang, Move::Break] {
        let answer = ask(&of([first, Move::Answer]), &clock).await.expect("an answer");
        assert_eq!((answer.model.as_str(), answer.lost), ("b", Lost::one(WORST)));
    }
    for (moves, questions) in [
        ([Move::Hang, Move::Break], 2),
        ([Move::Break, Move::Refuse], 1),
        ([Move::Misconfigured, Move::Hang], 1),
        ([Move::Break, Move::Unavailable(Duration::ZERO)], 1),
    ] {
        match ask(&of(moves.clone()), &clock).await {
            Err(ModelError::Unanswered { lost, .. }) => {
                assert_eq!(lost, Lost { questions, usage: WORST.times(questions) }, "{moves:?}");
            }
            other => panic!("{moves:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn long_answers_of_one_do_not_close_the_model_to_anybody() {
    let clock = clock();
    let mut moves = vec![Move::Hang; 3 * FAILURES_MAX as usize];
    moves.push(Move::Answer);
    let routed = Routed::new(vec![told("a", &moves)], LastResort::Person, clock.clone());
    for _ in 0..3 * FAILURES_MAX {
        assert!(matches!(ask(&routed, &clock).await, Err(ModelError::Unanswered { .. })));
    }
    assert_eq!(model_of(ask(&routed, &clock).await), "a");
}

#[tokio::test]
async fn an_unusable_answer_is_not_hidden_by_asking_another() {
    let clock = clock();
    let routed =
        Routed::new(vec![told("a", &[Move::Babble]), told("b", &[Move::Answer])], LastResort::Rest, clock.clone());
    assert!(matches!(ask(&routed, &clock).await, Err(ModelError::Malformed { .. })));
}

#[tokio::test]
async fn a_person_takes_over_only_after_asking_and_when_it_is_more_than_a_moments_trouble() {
    let clock = clock();
    let routed = |wait: u64| {
        let busy = [Move::Unavailable(Duration::from_secs(wait))];
        Routed::new(vec![told("a", &busy), told("b", &busy)], LastResort::Person, clock.clone())
    };
    let is_handed_over = |answer: Result<Answer, ModelError>| match answer {
        Ok(answer) => {
            assert_eq!(answer.model, NOBODY);
            assert!(matches!(answer.proposal, Proposal::Respond(response) if response["handed_over_to"] == "person"));
            true
        }
        Err(error) => {
            assert!(matches!(error, ModelError::Unavailable { .. } | ModelError::TurnedAway { .. }), "{error}");
            false
        }
    };
    assert!(is_handed_over(ask(&routed(600), &clock).await), "both said that it takes long");
    for (failures, wanted) in [(0, false), (1, false), (2, true)] {
        assert_eq!(is_handed_over(ask_after(&routed(0), &clock, None, failures).await), wanted, "{failures}");
    }
    let left_alone = routed(0);
    for _ in 0..FAILURES_MAX {
        clock.advance(PAUSE);
        assert!(!is_handed_over(ask(&left_alone, &clock).await));
    }
    let error = ask_after(&left_alone, &clock, None, 9).await;
    assert!(matches!(error, Err(ModelError::TurnedAway { .. })), "nobody was asked: {error:?}");
}
