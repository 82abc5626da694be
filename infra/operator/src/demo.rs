//! `windlass demo`: the kit doing its job on this machine, drawn as it happens.

use std::{
    io::{BufRead, Write},
    time::Duration,
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::{
    aws_endpoint::{AwsEndpoint, Effects, EndpointError},
    cost::Cost,
    functions::checkout,
    journal_lines,
    local::{self, Address, Json, LocalError},
    scenario::{self, Scenario, ScenarioDecision, ScenarioError},
    stack::{DESK_TABLE, Options},
};

/// How often the journal is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// How long a scenario may take, the person's thinking apart.
const SCENARIO_MAX: Duration = Duration::from_secs(60);

/// The demo did not show what it is there to show.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The stack did not start.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The scenarios could not be read.
    #[error(transparent)]
    Scenarios(#[from] ScenarioError),
    /// The AWS endpoint failed.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The HTTP API could not be reached.
    #[error("the HTTP API: {0}")]
    Api(#[from] reqwest::Error),
    /// The HTTP API said something unexpected.
    #[error("the HTTP API answered {status} to `{request}`: {answer}")]
    Unexpected {
        /// What was asked.
        request: String,
        /// Its status.
        status: u16,
        /// Its answer.
        answer: String,
    },
    /// A journal is not one.
    #[error("the journal of run `{run}`: {source}")]
    Journal {
        /// The run.
        run: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A scenario took too long.
    #[error("`{title}` did not end within {} s", SCENARIO_MAX.as_secs())]
    TooSlow {
        /// The scenario.
        title: String,
    },
    /// A scenario ended otherwise than it should.
    #[error("`{title}` ended with {found}; it should have ended with {wanted}")]
    Otherwise {
        /// The scenario.
        title: String,
        /// What was found.
        found: String,
        /// What was wanted.
        wanted: String,
    },
    /// Nothing can be shown or asked any more.
    #[error("the terminal: {0}")]
    Terminal(#[from] std::io::Error),
}

/// Who answers the approvals.
pub enum Approver {
    /// The scenario's own decision, without asking.
    Scenario,
    /// Whoever types these lines.
    Person(mpsc::Receiver<String>),
}

impl Approver {
    /// Whoever types into `input`. It is read by a thread of its own, so that the command can be stopped while it asks.
    pub fn typing(input: impl BufRead + Send + 'static) -> Approver {
        let (sender, lines) = mpsc::channel(1);
        // Ends with its input, or with the first line that nobody waits for.
        std::thread::spawn(move || {
            input.lines().map_while(Result::ok).try_for_each(|line| sender.blocking_send(line)).ok();
        });
        Approver::Person(lines)
    }
}

/// What a scenario came to, for machines.
#[derive(Debug, Serialize)]
struct Shown {
    title: String,
    run_id: String,
    outcome: String,
    refunds: usize,
    letters: usize,
    entries: usize,
    milliseconds: u64,
}

struct Stage<'a> {
    http: reqwest::Client,
    address: Address,
    endpoint: AwsEndpoint,
    json: Json,
    out: &'a mut (dyn Write + Send),
}

/// Runs every scenario of `events/scenarios/` on a fresh stack.
///
/// # Errors
/// When one does not end as it says.
pub async fn run(
    options: &Options,
    http: &reqwest::Client,
    json: Json,
    mut approver: Approver,
    out: &mut (dyn Write + Send),
) -> Result<(), DemoError> {
    let started = Instant::now();
    let (stack, address) = local::start(options, http).await?;
    let endpoint = AwsEndpoint::new(http.clone(), &address.aws);
    let mut stage = Stage { http: http.clone(), address, endpoint, json, out };
    let before = stack.meter();
    let result = stage.show(&mut approver, started.elapsed()).await;
    let cost = Cost::of(&stack.meter().since(&before), DESK_TABLE);
    stack.shutdown().await;
    stage.sum_up(&result?, cost)?;
    Ok(())
}

impl Stage<'_> {
    fn say(&mut self, line: &str) -> std::io::Result<()> {
        if self.json == Json::No {
            writeln!(self.out, "{line}")?;
            self.out.flush()?;
        }
        Ok(())
    }

    async fn show(&mut self, approver: &mut Approver, start_up: Duration) -> Result<Vec<Shown>, DemoError> {
        let (api, aws) = (self.address.api.clone(), self.address.aws.clone());
        self.say(&format!(
            "four functions poll after {} ms: HTTP API {api}, AWS endpoint {aws}",
            start_up.as_millis()
        ))?;
        let mut shown = Vec::new();
        for (scenario, number) in scenario::load(&checkout().join("events/scenarios"))?.iter().zip(1..) {
            self.say(&format!("\n{number}. {}", scenario.title))?;
            shown.push(self.play(scenario, number, approver).await?);
        }
        Ok(shown)
    }

    async fn play(&mut self, scenario: &Scenario, number: usize, approver: &mut Approver) -> Result<Shown, DemoError> {
        let began = Instant::now();
        let body = json!(scenario.request);
        let started = self.submit(&body, &format!("demo-{number}")).await?;
        let run = started["run_id"].as_str().unwrap_or_default().to_owned();
        self.say(&format!(
            "   POST /runs {body}\n   202 run {run}, trace {}",
            started["trace_id"].as_str().unwrap_or("?")
        ))?;
        let (mut entries, mut thought) = (0, Duration::ZERO);
        let (outcome, took) = loop {
            if began.elapsed().saturating_sub(thought) > SCENARIO_MAX {
                return Err(DemoError::TooSlow { title: scenario.title.clone() });
            }
            entries += self.draw(&run, entries).await?;
            let state = self.get(&format!("/runs/{run}")).await?;
            match state["status"].as_str().unwrap_or_default() {
                "awaiting_approval" => {
                    entries += self.draw(&run, entries).await?;
                    thought += self.decide(&state, scenario, approver).await?;
                }
                "ready" | "waiting" | "stopping" => sleep(LOOK_EVERY).await,
                over => break (over.to_owned(), began.elapsed()),
            }
        };
        entries += self.draw(&run, entries).await?;
        let order = scenario.request.payload["order"].as_str().unwrap_or_default();
        let Effects { refunds, letters } = self.endpoint.effects(order).await?;
        self.say(&format!(
            "   {outcome} after {} ms: {} made, {} sent",
            took.as_millis(),
            counted(refunds, "refund"),
            counted(letters, "letter")
        ))?;
        let found = (outcome.as_str(), refunds, letters);
        // A person may decide otherwise than the scenario: then only the end is held to it.
        let wanted = (scenario.outcome.as_str(), scenario.refunds, scenario.letters);
        if found.0 != wanted.0 || (found != wanted && matches!(approver, Approver::Scenario)) {
            let (found, wanted) = (format!("{found:?}"), format!("{wanted:?}"));
            return Err(DemoError::Otherwise { title: scenario.title.clone(), found, wanted });
        }
        let milliseconds = took.as_millis() as u64;
        Ok(Shown { title: scenario.title.clone(), run_id: run, outcome, refunds, letters, entries, milliseconds })
    }

    /// Draws the entries that are new and says how many there were.
    async fn draw(&mut self, run: &str, drawn: usize) -> Result<usize, DemoError> {
        let journal = self.get(&format!("/runs/{run}/journal")).await?;
        let entries = journal["entries"].as_array().cloned().unwrap_or_default();
        let new = entries.len().saturating_sub(drawn);
        for (entry, seq) in entries.into_iter().zip(1..).skip(drawn) {
            let entry =
                serde_json::from_value(entry).map_err(|source| DemoError::Journal { run: run.to_owned(), source })?;
            for line in journal_lines::lines(seq, &entry) {
                self.say(&line)?;
            }
        }
        Ok(new)
    }

    async fn decide(
        &mut self,
        state: &Value,
        scenario: &Scenario,
        approver: &mut Approver,
    ) -> Result<Duration, DemoError> {
        let id = state["escalation"][0]["id"].as_str().unwrap_or_default().to_owned();
        let approval = self.get_as_approver(&format!("/approvals/{id}")).await?;
        let asked = Instant::now();
        let decision = match approver {
            Approver::Scenario => scenario.decision.unwrap_or(ScenarioDecision::Denied),
            Approver::Person(lines) => ask(self.out, &approval, lines).await?,
        };
        let thought = asked.elapsed();
        let word = json!(decision);
        self.say(&format!("   POST /approvals/{id} {word} as `fin`"))?;
        let body = json!({ "decision": word, "token": approval["token"] });
        let path = format!("/approvals/{id}");
        let url = format!("{}{path}", self.address.api);
        let request = self.http.post(url).bearer_auth(&self.address.tokens.approver);
        answer(&path, request.header("content-type", "application/json").body(body.to_string())).await?;
        Ok(thought)
    }

    async fn submit(&self, body: &Value, key: &str) -> Result<Value, DemoError> {
        let request = self.http.post(format!("{}/runs", self.address.api));
        let request = request.bearer_auth(&self.address.tokens.submitter).header("idempotency-key", key);
        answer("POST /runs", request.header("content-type", "application/json").body(body.to_string())).await
    }

    async fn get(&self, path: &str) -> Result<Value, DemoError> {
        let request = self.http.get(format!("{}{path}", self.address.api));
        answer(path, request.bearer_auth(&self.address.tokens.submitter)).await
    }

    async fn get_as_approver(&self, path: &str) -> Result<Value, DemoError> {
        let request = self.http.get(format!("{}{path}", self.address.api));
        answer(path, request.bearer_auth(&self.address.tokens.approver)).await
    }

    fn sum_up(&mut self, shown: &[Shown], cost: Cost) -> Result<(), DemoError> {
        let total = |part: fn(&Shown) -> usize| shown.iter().map(part).sum::<usize>();
        let (runs, entries) = (shown.len(), total(|one| one.entries));
        if self.json == Json::Yes {
            writeln!(self.out, "{}", json!({ "scenarios": shown, "cost": cost, "usd": cost.usd() + cost.logs_usd() }))?;
            return Ok(());
        }
        self.say(&format!(
            "\n{runs} runs in {entries} journal entries: {} made, {} sent, none twice",
            counted(total(|one| one.refunds), "refund"),
            counted(total(|one| one.letters), "letter")
        ))?;
        self.say(&format!(
            "{} write units, {} read units, {} queue requests and {} KB of logs, reads of this demo included: {:.6} USD on AWS",
            cost.write_units,
            cost.read_units,
            cost.queue_requests,
            cost.log_bytes.div_ceil(1_000),
            cost.usd() + cost.logs_usd()
        ))?;
        Ok(())
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Asks until it is answered; the end of the input is no.
async fn ask(
    out: &mut (dyn Write + Send),
    approval: &Value,
    lines: &mut mpsc::Receiver<String>,
) -> std::io::Result<ScenarioDecision> {
    let action = &approval["action"];
    let tool = action["tool"].as_str().unwrap_or("?");
    write!(out, "   permit `{tool}` {} as finance? [y/N] ", action["arguments"])?;
    out.flush()?;
    while let Some(typed) = lines.recv().await {
        match typed.trim().to_lowercase().as_str() {
            "y" | "yes" => return Ok(ScenarioDecision::Approved),
            "n" | "no" | "" => return Ok(ScenarioDecision::Denied),
            _ => write!(out, "   that is neither `y` nor `n`: permit it? [y/N] ")?,
        }
        out.flush()?;
    }
    writeln!(out)?;
    Ok(ScenarioDecision::Denied)
}

async fn answer(what: &str, request: reqwest::RequestBuilder) -> Result<Value, DemoError> {
    let too_slow = || DemoError::TooSlow { title: what.to_owned() };
    let answer = timeout(SCENARIO_MAX, request.send()).await.map_err(|_| too_slow())??;
    let (status, text) = (answer.status(), answer.text().await?);
    match serde_json::from_str(&text) {
        Ok(value) if status.is_success() => Ok(value),
        _ => Err(DemoError::Unexpected { request: what.to_owned(), status: status.as_u16(), answer: text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(typed: &'static str) -> (ScenarioDecision, String) {
        let Approver::Person(mut lines) = Approver::typing(typed.as_bytes()) else { panic!("somebody types") };
        let approval = json!({ "action": { "tool": "refund", "arguments": { "order": "A-1" } } });
        let mut out = Vec::new();
        let decision = ask(&mut out, &approval, &mut lines).await.expect("a terminal");
        (decision, String::from_utf8(out).expect("text"))
    }

    #[tokio::test]
    async fn a_question_is_asked_again_until_it_is_answered_and_the_end_of_the_input_is_no() {
        let question = "   permit `refund` {\"order\":\"A-1\"} as finance? [y/N] ";
        let again = "   that is neither `y` nor `n`: permit it? [y/N] ";
        for (typed, decision) in [
            ("y\n", ScenarioDecision::Approved),
            (" YES \n", ScenarioDecision::Approved),
            ("\n", ScenarioDecision::Denied),
            ("no\n", ScenarioDecision::Denied),
        ] {
            assert_eq!(asked(typed).await, (decision, question.to_owned()), "{typed:?}");
        }
        assert_eq!(asked("yy\nja\ny\n").await, (ScenarioDecision::Approved, format!("{question}{again}{again}")));
        assert_eq!(asked("").await, (ScenarioDecision::Denied, format!("{question}\n")));
        assert_eq!(asked("maybe").await, (ScenarioDecision::Denied, format!("{question}{again}\n")));
    }
}
