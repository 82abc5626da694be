use std::{cell::RefCell, collections::BTreeSet};

use super::*;

const EXAMPLE: &str = include_str!("../../../.env.example");

/// The smallest configuration that is whole.
fn required(name: &str) -> Option<String> {
    let value = match name {
        "ENVIRONMENT" => "dev",
        "RELEASE" => "r1",
        "RUNS_TABLE" => "runs",
        "IDEMPOTENCY_TABLE" => "idempotency",
        "CONTROLS_TABLE" => "controls",
        "MEMORY_TABLE" => "memory",
        "DESK_TABLE" => "desk",
        "STEP_QUEUE_URL" => "http://127.0.0.1:4566/000000000000/steps",
        "STEP_DEAD_LETTER_QUEUE_URL" => "http://127.0.0.1:4566/000000000000/steps-dead",
        "APPROVAL_SECRET" => "windlass/approval",
        "APPROVAL_PUBLIC_SECRET" => "windlass/approval-public",
        "TASKS" => "refund",
        _ => return None,
    };
    Some(value.to_owned())
}

fn with<'a>(changes: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| {
        let changed = changes.iter().find(|(changed, _)| *changed == name);
        changed.map_or_else(|| required(name), |(_, value)| Some((*value).to_owned()))
    }
}

/// `NAME=value` lines of `.env.example`; those commented out with `#` right before the name are the optional ones.
fn example() -> Vec<(&'static str, &'static str)> {
    let named = |line: &'static str| {
        let (name, value) = line.strip_prefix('#').unwrap_or(line).split_once('=')?;
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        // Quoted as a shell and `windlass local` read them.
        is_name.then_some((name, value.trim_matches('\'')))
    };
    EXAMPLE.lines().filter_map(named).collect()
}

#[test]
fn the_required_variables_are_enough() {
    let config = Config::parse(required).expect("it is whole");
    assert_eq!(config.runtime.environment, Environment::Dev);
    assert_eq!(config.limits.run, Limits::default());
    assert_eq!(config.storage.run_retention, 90 * DAY);
    assert_eq!(config.policy.approval_expires_after, 3 * DAY);
    assert_eq!(config.http.tenant_claim, "tenant");
    assert!(
        matches!(config.http.limits.tenant, crate::door::rate::Limit::Rate(_)),
        "limits are off only when that is said"
    );
}

#[test]
fn an_empty_environment_is_reported_variable_by_variable() {
    let errors = Config::parse(|_| None).expect_err("nothing is set");
    let named: Vec<&str> = errors.problems.iter().map(|problem| problem.variable).collect();
    let wanted: Vec<&str> =
        VARIABLES.iter().filter(|variable| variable.default == Fallback::Required).map(|one| one.name).collect();
    assert_eq!(named, wanted);
    assert!(errors.to_string().contains("`RUNS_TABLE` is required and not set; hint: set it to the name"), "{errors}");
}

#[test]
fn models_that_do_not_fit_into_an_invocation_are_refused() {
    let (local, slow) = (("MODEL_BASE_URL", "http://127.0.0.1:1"), ("MODEL_TIMEOUT_SECONDS", "50"));
    let first = [("MODEL", "openai:a"), local, slow];
    assert!(Config::parse(with(&first)).is_ok());
    let two = [&first[..], &[("MODEL_FALLBACK", "bedrock:b")]].concat();
    let longer = [&two[..], &[("STEP_TIMEOUT_SECONDS", "110")]].concat();
    assert!(Config::parse(with(&longer)).is_ok());
    let problems = Config::parse(with(&two)).expect_err("110 s do not fit into 60").to_string();
    let says = "`MODEL_TIMEOUT_SECONDS` is 50: 2 models with 50 s each and 10 s besides do not fit into the 60 s of an invocation";
    assert!(problems.contains(says), "{problems}");
    let script = [slow, ("MODEL_TIMEOUT_SECONDS", "600")];
    assert!(Config::parse(with(&script[1..])).is_ok(), "a script takes no time");
}

#[test]
fn an_answer_that_cannot_come_in_time_is_refused_and_the_default_fits() {
    let model = [("MODEL", "openai:a"), ("MODEL_BASE_URL", "http://127.0.0.1:1")];
    let of = |more: &[(&'static str, &'static str)]| Config::parse(with(&[&model[..], more].concat()));
    let tokens = |more: &[(&'static str, &'static str)]| of(more).map(|config| config.model.output_tokens_max);
    assert_eq!(tokens(&[]), Ok(1_250));
    assert_eq!(tokens(&[("MODEL_TIMEOUT_SECONDS", "2")]), Ok(100));
    let slow = [("MODEL_TIMEOUT_SECONDS", "300"), ("STEP_TIMEOUT_SECONDS", "400")];
    assert_eq!(tokens(&slow), Ok(4_096));
    assert_eq!(tokens(&[("MODEL_OUTPUT_TOKENS_MAX", "1250")]), Ok(1_250));
    let problems = of(&[("MODEL_OUTPUT_TOKENS_MAX", "4096")]).expect_err("it takes 82 s").to_string();
    let says = "`MODEL_OUTPUT_TOKENS_MAX` is 4096: at 50 tokens a second 1250 can come within the 25 s";
    assert!(problems.contains(says), "{problems}");
    assert!(Config::parse(with(&[("MODEL_OUTPUT_TOKENS_MAX", "200000")])).is_ok(), "a script takes no time");
}

#[test]
fn each_bad_value_is_named_with_what_is_wrong_and_one_hint() {
    for (name, value, says) in [
        ("MODEL", "gpt", "is `gpt`; hint: use `script`, `anthropic:NAME`, `openai:NAME` or `bedrock:ID`"),
        ("MODEL_BASE_URL", "127.0.0.1:11434", "is not a URL"),
        ("MODEL_SECRET", "sk-{}", "is not a secret's name"),
        ("MODEL_TIMEOUT_SECONDS", "0", "out of range; hint: use 1 to 600"),
        ("MODEL_OUTPUT_TOKENS_MAX", "0", "out of range"),
        ("MODEL_PRICES", "cheap", r#"is not of the form {"openai:NAME""#),
        ("MODEL_FALLBACK", "openai:", "is `openai:`"),
        ("MODEL_LAST_RESORT", "give up", "use `rest`, `person`"),
        ("MODEL_CASSETTE", "play:x", "is `play:x`; hint: use `record:FOLDER` or `replay:FOLDER`"),
        ("ENVIRONMENT", "prod", "is `prod`; hint: use `dev`, `staging`, `production`"),
        ("ENVIRONMENT", "", "is empty; hint: set it to `dev`"),
        ("RELEASE", "a#b", "has characters"),
        ("SERVICE_NAME", " ", "is empty; hint: set it, or remove it for the default `windlass`"),
        ("SERVICE_NAME", "a\nb", "control characters"),
        ("LOG_LEVEL", "INFO", "is `INFO`"),
        ("RUNS_TABLE", "ab", "is not a table name"),
        ("MEMORY_TABLE", "a b c", "is not a table name"),
        ("STEP_QUEUE_URL", "steps", "is not a URL"),
        ("STEP_QUEUE_URL", "https://", "is not a URL"),
        ("STEP_DEAD_LETTER_QUEUE_URL", "https://user:secret@host/x", "is not a URL"),
        ("SOURCES_FILE", "", "is empty; hint: set it, or remove it"),
        ("RUN_RETENTION_DAYS", "0", "is `0`, which is out of range; hint: use 1 to 3650"),
        ("RUN_RETENTION_DAYS", "3651", "out of range"),
        ("RUN_RETENTION_DAYS", "-1", "not a whole number"),
        ("RUN_RETENTION_DAYS", "7", "a run would be deleted while it goes on"),
        ("IDEMPOTENCY_RETENTION_HOURS", "1.5", "not a whole number"),
        ("IDEMPOTENCY_RETENTION_HOURS", "8760", "a deleted run"),
        ("POLICY_FILE", "", "is empty; hint: set it, or remove it"),
        ("TOKENS_MAX", "99999999999999999999", "not a whole number"),
        ("APPROVAL_EXPIRES_AFTER_SECONDS", "59", "out of range; hint: use 60 to 604800"),
        ("APPROVAL_EXPIRES_AFTER_SECONDS", "604801", "out of range"),
        ("APPROVAL_SECRET", "{\"current\":\"k1\"}", "is not a secret's name"),
        ("TASKS", ",", "names no task; hint: set it to the tasks"),
        ("TASKS", "refund,a#b", "has a name, the 2. of them, that is none"),
        ("MCP_SERVERS", "", "is empty; hint: set it, or remove it"),
        ("MCP_SERVERS_SECRET", "[{}]", "is not a secret's name"),
        ("MCP_TOOLS_DIGEST", "", "is empty"),
        ("STEPS_MAX", "0", "out of range"),
        ("TOKENS_MAX", "many", "is `many`, which is not a whole number"),
        ("COST_MAX_MICRO_USD", "0", "out of range"),
        ("WALL_TIME_MAX_SECONDS", "259200", "a run would end before its approvals do"),
        ("WALL_TIME_MAX_SECONDS", "2592001", "out of range"),
        ("STRIKES_MAX", "21", "out of range; hint: use 1 to 20"),
        ("TENANT_CLAIM", "", "is empty"),
        ("POLICY_FILE", "", "is empty; hint: set it, or remove it"),
        ("STEP_QUEUE_URL", "ftp://x", "is not a URL"),
        ("TENANT_RATE_LIMIT", "60/10", "is not a limit"),
        ("ACTOR_RATE_LIMIT", "none", "is not a limit"),
        ("BACKLOG_MAX", "0", "is not a bound"),
        ("LOG_FORMAT", "xml", "is `xml`; hint: use `json`, `text`"),
        ("DRILLS", "yes", "is `yes`; hint: use `off`, `on`"),
        ("EVAL_DATASET_VERSION", "", "is empty"),
    ] {
        let errors = Config::parse(with(&[(name, value)])).expect_err(name);
        let [problem] = errors.problems.as_slice() else { panic!("{name}={value} gave {errors}") };
        let blamed = if says.contains("deleted run") { "IDEMPOTENCY_RETENTION_HOURS" } else { name };
        assert_eq!(problem.variable, blamed, "{errors}");
        assert!(problem.to_string().contains(says), "{name}={value} gave {problem}");
        assert_eq!(problem.to_string().matches("hint:").count(), 1);
    }
}

#[test]
fn a_provider_outside_of_this_machine_needs_tls_a_key_and_a_price() {
    let remote = ("MODEL_BASE_URL", "http://models.example.com/v1");
    let price = ("MODEL_PRICES", r#"{"openai:x":{"input":1,"output":2}}"#);
    let named = |changes: &[(&str, &str)]| match Config::parse(with(changes)) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.problems.iter().map(|problem| problem.variable).collect(),
    };
    let model = ("MODEL", "openai:x");
    let production = ("ENVIRONMENT", "production");
    assert_eq!(named(&[model]), ["MODEL_SECRET"]);
    assert_eq!(named(&[model, remote]), Vec::<&str>::new());
    assert_eq!(named(&[model, ("MODEL_CASSETTE", "replay:x")]), Vec::<&str>::new());
    assert_eq!(named(&[model, remote, production]), ["MODEL_BASE_URL", "MODEL_PRICES"]);
    assert_eq!(named(&[model, price, production, ("MODEL_BASE_URL", "http://127.0.0.1:8/v1")]), Vec::<&str>::new());
    assert_eq!(named(&[model, price, production]), ["MODEL_SECRET"]);
    let budget = ("BUDGET_ACTOR_DAY_MICRO_USD", "1000000");
    assert_eq!(named(&[model, remote, budget]), ["MODEL_PRICES"], "a budget of dollars means nothing without a price");
    let fallback = ("MODEL_FALLBACK", "anthropic:y");
    assert_eq!(named(&[fallback, production]), ["MODEL_FALLBACK_SECRET", "MODEL_PRICES"]);
    assert_eq!(named(&[production, ("MODEL_CASSETTE", "replay:x")]), ["MODEL_CASSETTE"]);
    assert_eq!(named(&[model, ("MODEL_SECRET", "k"), ("ENVIRONMENT", "prod")]), ["ENVIRONMENT"]);
}

#[test]
fn every_problem_is_reported_at_once() {
    let changes = [("ENVIRONMENT", "prod"), ("STRIKES_MAX", "x"), ("RUNS_TABLE", ""), ("LOG_FORMAT", "")];
    let errors = Config::parse(with(&changes)).expect_err("four are wrong");
    let named: Vec<&str> = errors.problems.iter().map(|problem| problem.variable).collect();
    assert_eq!(named, ["ENVIRONMENT", "RUNS_TABLE", "STRIKES_MAX", "LOG_FORMAT"]);
    assert_eq!(errors.to_string().lines().count(), 4);
}

#[test]
fn what_may_be_a_secret_in_the_wrong_place_is_not_quoted() {
    for name in ["APPROVAL_SECRET", "RUNS_TABLE", "STEP_QUEUE_URL", "RELEASE", "MODEL_BASE_URL"] {
        let errors = Config::parse(with(&[(name, "hunter2 #hunter2")])).expect_err(name);
        assert!(!errors.to_string().contains("hunter2"), "{errors}");
    }
}

#[test]
fn the_table_names_exactly_what_is_read() {
    let asked = RefCell::new(BTreeSet::new());
    let _ = Config::parse(|name| {
        asked.borrow_mut().insert(name.to_owned());
        required(name)
    });
    let listed: BTreeSet<String> = VARIABLES.iter().map(|variable| variable.name.to_owned()).collect();
    assert_eq!(asked.into_inner(), listed);
    assert_eq!(listed.len(), VARIABLES.len(), "a variable is listed twice");
}

#[test]
fn the_example_file_names_exactly_the_variables_with_their_defaults_and_is_valid() {
    let example = example();
    let named: Vec<&str> = example.iter().map(|(name, _)| *name).collect();
    let listed: Vec<&str> = VARIABLES.iter().map(|variable| variable.name).collect();
    assert_eq!(named, listed);
    for variable in VARIABLES {
        let value = example.iter().find(|(name, _)| *name == variable.name).map(|(_, value)| *value);
        if let Fallback::Value(default) = variable.default {
            assert_eq!(value, Some(default), "{}", variable.name);
        }
        assert!(EXAMPLE.contains(variable.meaning), "{}: {}", variable.name, variable.meaning);
    }
    // One of two ways to say the same.
    let example: Vec<_> = example.into_iter().filter(|(name, _)| *name != "MCP_SERVERS_SECRET").collect();
    if let Err(errors) = Config::parse(with(&example)) {
        panic!("{errors}");
    }
}

#[test]
fn drills_are_there_only_when_they_are_switched_on_and_never_outside_of_development() {
    let drills = |changes: &[(&str, &str)]| Config::parse(with(changes)).map(|config| config.tools.drills);
    assert_eq!(drills(&[]), Ok(DrillTools::Off), "development alone has none");
    assert_eq!(drills(&[("DRILLS", "on")]), Ok(DrillTools::On));
    for environment in ["staging", "production"] {
        let refused = drills(&[("ENVIRONMENT", environment), ("DRILLS", "on")]).expect_err("it is refused");
        assert!(refused.to_string().contains("`on` outside of `dev`"), "{refused}");
    }
}

#[test]
fn equal_configurations_have_equal_digests_and_others_do_not() {
    let digest = |changes: &[(&str, &str)]| Config::parse(with(changes)).expect("it is whole").summary().digest.clone();
    assert_eq!(digest(&[]), digest(&[("STEPS_MAX", "64")]));
    assert_ne!(digest(&[]), digest(&[("STEPS_MAX", "65")]));
    assert_ne!(digest(&[]), digest(&[("TENANT_CLAIM", "org")]));
    let config = Config::parse(required).expect("it is whole");
    assert!(config.summary().to_string().starts_with("release r1 in dev, configuration "));
}
