//! Models of the configuration that the tests want.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use step::refund_desk::script::Script;
use windlass::{
    agent::model::Model,
    clock::SystemClock,
    config::{self, LastResort, Price, Route},
    memory::SecretValues,
};
use windlass_providers::assembly::{Ports, assemble};
use windlass_tests::model_server::{Format, ModelServer};

/// What a million tokens cost here: 0.5 US dollars read, 1.5 written.
pub const PRICE: Price = Price { input_micro_usd: 500_000, output_micro_usd: 1_500_000 };

/// Where the providers' key is.
pub const KEY: &str = "windlass/model-key";

/// A small refund.
pub fn refund() -> Value {
    json!({ "order": "A-1001", "amount_cents": 1_200 })
}

/// The way to a server.
pub fn route(server: &ModelServer, format: Format) -> Route {
    let model = format!("{}:test", format.prefix()).parse().expect("a model's name");
    Route { model, base_url: Some(server.url.clone()), secret: Some(KEY.to_owned()), price: Some(PRICE) }
}

/// One model, patient enough for a slow machine.
pub fn only(first: Route) -> config::Model {
    config::Model {
        first,
        fallback: None,
        last_resort: LastResort::Rest,
        timeout: Duration::from_secs(10),
        output_tokens_max: 1_024,
        cassette: None,
    }
}

/// Ports with a key in their secret store, and the store.
pub fn ports(key: &str) -> (Arc<SecretValues>, Ports) {
    let secrets = Arc::new(SecretValues::new());
    secrets.set(KEY, key);
    let (clock, script) = (Arc::new(SystemClock), Arc::new(Script));
    let ports = Ports { secrets: secrets.clone(), clock, script, aws: None, teller: None };
    (secrets, ports)
}

/// The model of a configuration.
pub fn model(config: &config::Model) -> Arc<dyn Model> {
    assemble(config, &ports("sk-test-key").1).expect("nothing is missing").model
}
