use std::time::Duration;

use serde_json::json;
use windlass_operator::{
    aws_endpoint::Effects,
    local,
    stack::{MODEL_KEY, Options},
};
use windlass_tests::{
    local_kit::{Kit, binaries, http},
    model_server::{Fault, Format, ModelServer},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_functions_that_ship_refund_with_a_model_behind_http_that_stumbles() {
    for format in [Format::OpenAi, Format::Anthropic] {
        let faults = [Fault::Status(429, vec![("retry-after", "1")]), Fault::MalformedCall, Fault::Cut];
        let server = ModelServer::start(format, &faults).await;
        let name = format!("{}:test", format.prefix());
        let prices = format!(r#"{{"{name}":{{"input":0.5,"output":1.5}}}}"#);
        server.accept_only("sk-planted-0123456789");
        let options = Options::new(binaries().await).with_environment(|variable| match variable {
            "MODEL" => Some(name.clone()),
            "MODEL_BASE_URL" => Some(server.url.clone()),
            "MODEL_PRICES" => Some(prices.clone()),
            "MODEL_SECRET" => Some("windlass/model-key".to_owned()),
            MODEL_KEY => Some("sk-planted-0123456789".to_owned()),
            _ => None,
        });
        let kit = Kit::start(&options).await;
        let payload = json!({ "order": "A-1001", "amount_cents": 1_200 });
        let run = kit.submit("model-1", "refund", payload).await.body["run_id"].as_str().expect("an id").to_owned();
        let ended = kit.until(&run, &["completed", "failed"], Duration::from_secs(30)).await;
        assert_eq!(ended["outcome"]["reason"], "completed", "{ended}");
        let effects = kit.aws.effects("A-1001").await.expect("the ledger answers");
        assert_eq!(effects, Effects { refunds: 1, letters: 1 });
        assert_eq!(server.asked().len(), 7, "four answers, three of them at the second attempt");
        println!("{name}: {ended}");
        kit.stack.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_key_the_step_function_does_not_poll_and_says_which_secret_is_missing() {
    let options = Options::new(binaries().await).with_environment(|variable| match variable {
        "MODEL" => Some("anthropic:test".to_owned()),
        "MODEL_SECRET" => Some("windlass/model-key".to_owned()),
        _ => None,
    });
    let error = local::start(&options, &http()).await.err().expect("it does not start").to_string();
    assert!(error.contains("`step`") && error.contains("secret `windlass/model-key` does not exist"), "{error}");
    assert!(error.contains("hint:"), "{error}");
}
