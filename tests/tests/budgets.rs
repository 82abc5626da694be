//! Sixteen runs of one actor at once, on real processes with a model that has its price, against a budget for five of them.

use std::time::Duration;

use serde_json::json;
use windlass::{
    aws::{Accounts, clients::Clients},
    budgets::{Account, Budgets as _},
    clock::{Clock as _, SystemClock},
    run::entry::Event,
};
use windlass_operator::stack::Options;
use windlass_tests::{
    local_kit::{Kit, binaries},
    model_server::{Format, ModelServer, TOKENS},
};

const RUNS: usize = 16;

/// A refund asks the model four times.
const ANSWERS_PER_RUN: u64 = 4;

/// In US dollars per million tokens; the tests below count in millionths of a dollar, so these are also prices of a token.
const INPUT_PRICE: f64 = 0.5;
const OUTPUT_PRICE: f64 = 1.5;

const WITHIN: Duration = Duration::from_secs(180);

/// What one answer of the model costs, in millionths of a US dollar.
fn price_of_an_answer() -> u64 {
    (TOKENS.0 as f64 * INPUT_PRICE + TOKENS.1 as f64 * OUTPUT_PRICE).ceil() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_runs_at_once_spend_no_more_than_the_budget_for_five() {
    let server = ModelServer::start(Format::OpenAi, &[]).await;
    let budget = 5 * ANSWERS_PER_RUN * price_of_an_answer();
    let prices = format!(r#"{{"openai:test":{{"input":{INPUT_PRICE},"output":{OUTPUT_PRICE}}}}}"#);
    let mut options = Options::new(binaries().await).with_environment(|variable| match variable {
        "MODEL" => Some("openai:test".to_owned()),
        "MODEL_BASE_URL" => Some(server.url.clone()),
        "MODEL_PRICES" => Some(prices.clone()),
        "MODEL_OUTPUT_TOKENS_MAX" => Some("100".to_owned()),
        _ => None,
    });
    options.env.insert("BUDGET_ACTOR_DAY_MICRO_USD".to_owned(), budget.to_string());
    let kit = Kit::start(&options).await;
    let orders = kit.seed("B", RUNS).await;
    let account = Account::at(SystemClock.now(), &"acme".parse().expect("a tenant"), &"ada".parse().expect("an actor"));
    let mut runs = Vec::new();
    for order in &orders {
        let payload = json!({ "order": order, "amount_cents": 1_000 });
        let answer = kit.submit(order, "refund", payload).await;
        runs.push(answer.body["run_id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned());
    }
    let (mut completed, mut refusals) = (0, Vec::new());
    for run in &runs {
        // Nobody else wakes a run that waits until calls under way have settled.
        let began = tokio::time::Instant::now();
        let ended = loop {
            kit.sweep().await;
            let shown = kit.run(run).await.body;
            if shown["outcome"].is_object() {
                break shown;
            }
            assert!(began.elapsed() < WITHIN, "not over: {shown}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        match ended["status"].as_str() {
            Some("completed") => completed += 1,
            Some("limit_reached") => refusals.push(ended["outcome"].clone()),
            _ => panic!("{ended}"),
        }
    }
    let accounts = Accounts::new(Clients::at(&kit.address.aws).dynamodb(), "windlass-controls");
    let balance = accounts.balance(&account).await.expect("the account is read");
    let served = server.asked().len() as u64 * price_of_an_answer();
    println!(
        "{RUNS} runs at once, budget {budget} millionths of a US dollar: the model's own count is {served}, the account's {}; \
         {completed} completed, {} refused:\n  {}",
        balance.settled.micro_usd,
        refusals.len(),
        refusals.first().map_or_else(String::new, ToString::to_string)
    );
    assert!(served <= budget, "{served} spent of {budget}");
    assert_eq!(
        (balance.settled.micro_usd, balance.reserved.micro_usd),
        (served, 0),
        "the account is as the model counts"
    );
    assert!((1..=5).contains(&completed) && completed + refusals.len() == RUNS);
    for refusal in &refusals {
        let text = refusal.to_string();
        assert!(text.contains("the budget of `ada` for ") && text.contains(&account.renews_at().to_string()), "{text}");
    }
    for (order, run) in orders.iter().zip(&runs) {
        let journal = kit.entries(run).await;
        let events = || journal.iter().flat_map(|entry| &entry.events);
        let undone = events().filter(|event| matches!(event, Event::Compensated { .. })).count();
        let is_refused = events().any(|event| matches!(event, Event::Abandoned { .. }));
        assert!(undone == 0 || is_refused, "{order}: {undone} refunds undone");
    }
    kit.stack.shutdown().await;
}
