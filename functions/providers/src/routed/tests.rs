use std::{collections::VecDeque, sync::Mutex};

use serde_json::json;
use windlass::{clock::Timestamp, memory::ManualClock};

use super::*;
use crate::{
    breaker::{FAILURES_MAX, OPEN_FOR},
    conversation::tests::{question, request},
};

const TIMEOUT: Duration = Duration::from_secs(20);

/// What a model does next.
#[derive(Debug, Clone)]
enum Move {
    Answer,
    Unavailable(Duration),
    Refuse,
    Babble,
    Hang,
}

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
    fn worst_case(&self, _: u64) -> windlass::budgets::Spend {
        windlass::budgets::Spend::default()
    }
    async fn answer(&self, _: Question<'_>) -> Result<Answer, ModelError> {
        let next = {
            let mut moves = self.moves.lock().expect("nobody panicked");
            if moves.len() > 1 { moves.pop_front() } else { moves.front().cloned() }
        };
        match next.expect("it was told something") {
            Move::Answer => {
                let proposal = Proposal::Respond(json!({}));
                Ok(Answer { proposal, usage: Usage::default(), model: self.name.to_owned() })
            }
            Move::Unavailable(retry_after) => Err(ModelError::Unavailable { message: "busy".into(), retry_after }),
            Move::Refuse => Err(ModelError::Refused { message: "no key".into() }),
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
    let request = request(json!({}));
    let mut answer = routed.answer(Question { model, ..question(&request, &[], &[]) });
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
async fn a_model_that_asks_to_be_left_alone_is_and_the_run_hears_how_long() {
    let clock = clock();
    let moves = [Move::Unavailable(Duration::from_secs(9)), Move::Answer];
    let routed = Routed::new(vec![told("a", &moves)], LastResort::Rest, clock.clone());
    for waited in [0, 4] {
        clock.advance(Duration::from_secs(waited));
        let error = ask(&routed, &clock).await.expect_err("it is left alone");
        let ModelError::Unavailable { retry_after, .. } = error else { panic!("{error}") };
        assert_eq!(retry_after, Duration::from_secs(9 - waited));
    }
    clock.advance(Duration::from_secs(5));
    assert_eq!(model_of(ask(&routed, &clock).await), "a");
}

#[tokio::test]
async fn a_refusal_goes_on_to_the_next_and_is_final_when_all_refuse() {
    let clock = clock();
    let routed =
        Routed::new(vec![told("a", &[Move::Refuse]), told("b", &[Move::Answer])], LastResort::Rest, clock.clone());
    assert_eq!(model_of(ask(&routed, &clock).await), "b");
    let routed =
        Routed::new(vec![told("a", &[Move::Refuse]), told("b", &[Move::Refuse])], LastResort::Rest, clock.clone());
    assert!(matches!(ask(&routed, &clock).await, Err(ModelError::Refused { .. })));
    let busy = told("b", &[Move::Unavailable(Duration::ZERO)]);
    let routed = Routed::new(vec![told("a", &[Move::Refuse]), busy], LastResort::Rest, clock.clone());
    assert!(matches!(ask(&routed, &clock).await, Err(ModelError::Unavailable { .. })));
}

#[tokio::test]
async fn an_unusable_answer_is_not_hidden_by_asking_another() {
    let clock = clock();
    let routed =
        Routed::new(vec![told("a", &[Move::Babble]), told("b", &[Move::Answer])], LastResort::Rest, clock.clone());
    assert!(matches!(ask(&routed, &clock).await, Err(ModelError::Malformed { .. })));
}

#[tokio::test]
async fn a_person_takes_over_only_when_every_model_is_left_alone() {
    let clock = clock();
    let busy = || [Move::Unavailable(Duration::ZERO)];
    let routed = Routed::new(vec![told("a", &busy()), told("b", &busy())], LastResort::Person, clock.clone());
    for _ in 1..FAILURES_MAX {
        assert!(matches!(ask(&routed, &clock).await, Err(ModelError::Unavailable { .. })));
    }
    let answer = ask(&routed, &clock).await.expect("a person is named");
    assert_eq!(answer.model, NOBODY);
    assert!(matches!(answer.proposal, Proposal::Respond(response) if response["handed_over_to"] == "person"));
}
