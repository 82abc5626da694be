use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    Candidate, CitedAnswers, Freshness, SEARCH_SOURCES, SearchSources, Source, SourceKind,
    citations::{CitationProblem, check_citations, fallback},
    filter::{EVIDENCE_MAX, Omission, OmissionReason, Packet, Reading, filter},
    shown_in,
};
use crate::{
    agent::{
        model::{Answer, Lost, Model, ModelError, Proposal, Question, Usage},
        tool::{CallContext, Effect, Tool as _},
    },
    clock::Timestamp,
    ids::{CallId, RunId, TraceId},
    memory::{ManualClock, SeededRandom, Shelf, Sources, Text},
    run::{
        request::RunRequest,
        state::{Call, CallStatus},
    },
};

static NO_FLAGS: std::collections::BTreeSet<crate::ids::FlagName> = std::collections::BTreeSet::new();

/// The result of a future that waits for nothing.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

const NOW: Timestamp = Timestamp::from_millis(1_768_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn source(label: &str, group: &str) -> Source {
    Source {
        id: label.to_lowercase().parse().expect("an id"),
        title: format!("About {label}"),
        version: "3".to_owned(),
        freshness: Freshness { as_of: NOW - DAY, valid_until: None },
        owner: "desk".to_owned(),
        acl_group: group.parse().expect("a group"),
        citation_label: label.parse().expect("a label"),
        kind: SourceKind::Policy,
    }
}

fn stale(source: Source) -> Source {
    Source { freshness: Freshness { as_of: NOW - DAY * 2, valid_until: Some(NOW) }, ..source }
}

fn candidate(source: Source, relevance: u8) -> Candidate {
    Candidate { source, text: "Refunds take five days".to_owned(), relevance }
}

fn reading(groups: &[&str]) -> Reading {
    Reading {
        groups: groups.iter().map(|group| group.parse().expect("a group")).collect(),
        kinds: [SourceKind::Policy].into(),
    }
}

fn labels(packet: &Packet) -> Vec<&str> {
    packet.evidence.iter().map(|one| one.source.citation_label.as_str()).collect()
}

/// Two sources to use, one for finance only, one out of date, one of another kind.
fn shelf() -> Vec<Candidate> {
    vec![
        candidate(source("HB-2", "public"), 40),
        candidate(source("HB-1", "public"), 90),
        candidate(source("FIN-1", "finance"), 95),
        candidate(stale(source("HB-0", "public")), 80),
        candidate(Source { kind: SourceKind::Record, ..source("LOG-1", "public") }, 70),
    ]
}

#[test]
fn only_what_the_reader_may_see_and_what_still_holds_becomes_evidence() {
    let packet = filter(shelf(), &reading(&["public"]), NOW);
    assert_eq!(labels(&packet), ["HB-1", "HB-2"]);
    let omitted = |label: &str| packet.omitted(&label.parse().expect("a label"));
    assert_eq!(omitted("FIN-1"), Some(OmissionReason::Forbidden));
    assert_eq!(omitted("HB-0"), Some(OmissionReason::Stale { since: NOW }));
    assert_eq!(omitted("LOG-1"), Some(OmissionReason::WrongKind));
    assert_eq!(omitted("HB-1"), None);
}

#[test]
fn a_group_opens_its_sources_and_no_group_opens_none() {
    assert_eq!(labels(&filter(shelf(), &reading(&["public", "finance"]), NOW)), ["FIN-1", "HB-1", "HB-2"]);
    assert_eq!(labels(&filter(shelf(), &reading(&["finance"]), NOW)), ["FIN-1"]);
    let none = filter(shelf(), &reading(&[]), NOW);
    assert!(none.evidence.is_empty() && none.is_weak());
    assert!(none.omissions.iter().all(|Omission { reason, .. }| *reason == OmissionReason::Forbidden));
}

#[test]
fn a_source_is_good_until_the_moment_it_is_not() {
    let before = filter(shelf(), &reading(&["public"]), NOW - Duration::from_millis(1));
    assert_eq!(labels(&before), ["HB-1", "HB-0", "HB-2"]);
}

#[test]
fn a_packet_is_bounded() {
    let many = (0..20).map(|number| {
        let text = "x".repeat(100_000);
        Candidate { text, ..candidate(source(&format!("S-{number}"), "public"), 50) }
    });
    let packet = filter(many.collect(), &reading(&["public"]), NOW);
    assert_eq!(packet.evidence.len(), EVIDENCE_MAX);
    assert!(packet.evidence.iter().all(|one| one.text.len() <= 4_000));
    assert_eq!(packet.omitted(&"S-19".parse().expect("a label")), Some(OmissionReason::NoRoom));
}

#[test]
fn an_answer_is_held_to_its_packet() {
    let packet = filter(shelf(), &reading(&["public"]), NOW);
    let missing = |label: &str| CitationProblem::Missing { label: label.to_owned() };
    let stale = CitationProblem::Stale { label: "HB-0".parse().expect("a label"), since: NOW };
    let forbidden = CitationProblem::Forbidden { label: "FIN-1".parse().expect("a label") };
    for (answer, wanted) in [
        (json!({ "answer": "Five days.", "citations": ["HB-1"] }), Ok(1)),
        (json!({ "answer": "Five days [HB-1], or so [HB-2]." }), Ok(2)),
        (json!({ "answer": "Five [or six] days [see below].", "citations": ["HB-2"] }), Ok(1)),
        (json!({ "answer": "Five days." }), Err(CitationProblem::Uncited)),
        (json!({ "answer": "Five days.", "citations": [] }), Err(CitationProblem::Uncited)),
        (json!({ "answer": "Five days.", "citations": "HB-1" }), Err(CitationProblem::Uncited)),
        (json!({ "answer": "Five days.", "citations": [1] }), Err(CitationProblem::Uncited)),
        (json!(null), Err(CitationProblem::Uncited)),
        (json!({ "answer": "Five days.", "citations": ["HB-1", "HB-99"] }), Err(missing("HB-99"))),
        (json!({ "answer": "Five days.", "citations": ["LOG-1"] }), Err(missing("LOG-1"))),
        (json!({ "answer": "Five days.", "citations": ["hb-1"] }), Err(missing("hb-1"))),
        (json!({ "answer": "Five days.", "citations": ["HB-1", "HB-0"] }), Err(stale.clone())),
        (json!({ "answer": "Five days [HB-0].", "citations": ["HB-1"] }), Err(stale)),
        (json!({ "answer": "Five days.", "citations": ["FIN-1"] }), Err(forbidden.clone())),
        (json!({ "answer": { "parts": ["Five [FIN-1]"] }, "citations": ["HB-1"] }), Err(forbidden)),
    ] {
        let found = check_citations(&answer, &packet).map(|labels| labels.len());
        assert_eq!(found, wanted, "{answer}");
    }
}

#[test]
fn a_fallback_lists_approved_sources_only() {
    let packet = filter(shelf(), &reading(&["public"]), NOW);
    let said = fallback(&packet, "because").to_string();
    assert!(said.contains("HB-1") && said.contains("HB-2"));
    for hidden in ["FIN-1", "HB-0", "LOG-1"] {
        assert!(!said.contains(hidden), "{said}");
    }
}

/// Says what it is told to.
struct Says(Value);

#[async_trait]
impl Model for Says {
    fn name(&self) -> &str {
        "says"
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn worst_case(&self, _: &Question<'_>) -> Usage {
        Usage::default()
    }

    async fn answer(&self, _question: Question<'_>) -> Result<Answer, ModelError> {
        let proposal = Proposal::Respond(self.0.clone());
        Ok(Answer { proposal, usage: Usage::default(), model: "says".to_owned(), lost: Lost::default() })
    }
}

fn index() -> Sources {
    let texts = shelf().into_iter().map(|one| Text { source: one.source, text: one.text });
    let shelf = Shelf {
        everybody: ["public".parse().expect("a group")].into(),
        groups: [("fin".parse().expect("an actor"), ["finance".parse().expect("a group")].into())].into(),
        sources: texts.collect(),
    };
    let mut sources = Sources::default();
    sources.set("acme".parse().expect("a tenant"), shelf);
    sources
}

fn search(tenant: &str, actor: &str, query: &str) -> Call {
    let clock = Arc::new(ManualClock::at(NOW));
    let kinds = [SourceKind::Policy].into();
    let tool = SearchSources::new(Arc::new(index()), clock.clone(), kinds).expect("it is named well");
    let context = CallContext {
        tenant: tenant.parse().expect("a tenant"),
        actor: actor.parse().expect("an actor"),
        run: RunId::generate(clock.as_ref(), &SeededRandom::new(1)),
        trace: TraceId::generate(&SeededRandom::new(1)),
        call: CallId(1),
        idempotency_key: "1".to_owned(),
        flags: BTreeSet::new(),
    };
    let arguments = json!({ "query": query });
    assert_eq!(tool.check(&arguments), Ok(()));
    let value = block_on(tool.call(&context, &arguments)).expect("it answers");
    Call {
        id: CallId(1),
        step: 1,
        tool: SEARCH_SOURCES.parse().expect("a tool"),
        arguments,
        redaction: Default::default(),
        echo: None,
        status: CallStatus::Succeeded { value },
        effect: Effect::Read,
        compensable: false,
        attempts: 1,
        failures: 0,
        approvals: 0,
        reminded: 0,
        approved_as: Default::default(),
        detail: Default::default(),
        suspected: Vec::new(),
        attempted_at: None,
        failing: None,
        denied: None,
        authorization: Default::default(),
    }
}

fn answered(actor: &str, calls: &[Call], index: Sources, says: Value, now: Timestamp) -> Value {
    let task: crate::ids::Task = "policy-question".parse().expect("a task");
    let request = RunRequest {
        tenant: "acme".parse().expect("a tenant"),
        actor: actor.parse().expect("an actor"),
        task: task.clone(),
        payload: json!({}),
        roles: Default::default(),
    };
    let question = Question {
        model: None,
        flags: &NO_FLAGS,
        run: RunId::generate(&ManualClock::at(NOW), &SeededRandom::new(1)),
        trace: TraceId::generate(&SeededRandom::new(1)),
        request: &request,
        calls,
        steps: 1,
        problem: None,
        failures: 0,
        instructions: "",
        tools: &[],
        now,
    };
    let model = CitedAnswers {
        inner: Arc::new(Says(says)),
        index: Arc::new(index),
        tasks: BTreeSet::from([task]),
        kinds: [SourceKind::Policy].into(),
    };
    match block_on(model.answer(question)).expect("it answers").proposal {
        Proposal::Respond(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_model_never_sees_what_the_reader_may_not() {
    let seen = |tenant: &str, actor: &str| {
        let call = search(tenant, actor, "how long do refunds take");
        let shown: Vec<String> =
            shown_in(std::slice::from_ref(&call)).into_iter().map(|one| one.label.to_string()).collect();
        (shown, format!("{:?}", call.status))
    };
    let (shown, all) = seen("acme", "ada");
    assert_eq!(shown, ["HB-2", "HB-1"]);
    assert!(!all.contains("FIN-1") && !all.contains("HB-0"), "{all}");
    assert!(seen("acme", "fin").0.contains(&"FIN-1".to_owned()));
    assert!(seen("globex", "fin").0.is_empty(), "another tenant's sources");
}

#[test]
fn an_answer_that_cites_what_it_may_not_is_replaced_by_the_list_of_sources() {
    let calls = [search("acme", "ada", "how long do refunds take")];
    let says = |labels: &[&str]| json!({ "answer": "Five days", "citations": labels });
    let good = says(&["HB-1"]);
    assert_eq!(answered("ada", &calls, index(), good.clone(), NOW), good);
    for (citations, because) in [
        (&["HB-1", "HB-0"][..], "out of date"),
        (&["FIN-1"], "may not see"),
        (&["HB-99"], "not among its sources"),
        (&[], "cites no source"),
    ] {
        let answer = answered("ada", &calls, index(), says(citations), NOW);
        assert!(answer["because"].as_str().is_some_and(|why| why.contains(because)), "{answer}");
        assert_eq!(answer["sources"].as_array().map(Vec::len), Some(2), "{answer}");
        assert!(!answer.to_string().contains("FIN-1"), "{answer}");
    }
    let unsearched = answered("ada", &[], index(), good, NOW);
    assert_eq!(
        (unsearched["fallback"].as_str(), unsearched["sources"].as_array().map(Vec::len)),
        (Some("sources"), Some(0))
    );
}

#[test]
fn a_source_that_was_withdrawn_after_the_search_blocks_the_answer() {
    let calls = [search("acme", "fin", "how long do refunds take")];
    let says = json!({ "answer": "Five days", "citations": ["FIN-1"] });
    assert_eq!(answered("fin", &calls, index(), says.clone(), NOW), says);
    // The same journal, read for somebody who has left the group.
    assert_eq!(answered("ada", &calls, index(), says.clone(), NOW)["fallback"], "sources");
    assert_eq!(answered("fin", &calls, Sources::default(), says, NOW)["fallback"], "sources");
}

#[test]
fn weak_evidence_carries_no_answer() {
    let calls = [search("acme", "ada", "refunds for zeppelins moored above mountains")];
    let answer = answered("ada", &calls, index(), json!({ "answer": "Yes", "citations": ["HB-1"] }), NOW);
    assert_eq!(answer["because"], "the sources do not carry an answer");
}
