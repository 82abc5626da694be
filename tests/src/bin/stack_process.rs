//! The local stack as a process of its own, for tests that kill it: what `windlass local --data … --json` runs, with function binaries and
//! variables of the test's choosing.
//!
//! `stack_process '{"data": …, "binaries": …, "api_port": …, "aws_port": …, "step_concurrency_max": …, "env": {…}}'`

use std::path::PathBuf;

use serde_json::Value;
use windlass_operator::{
    local::{self, Json},
    stack::Options,
};
use windlass_tests::caller::http;

#[tokio::main]
async fn main() {
    let settings = std::env::args().nth(1).expect("the settings");
    let settings: Value = serde_json::from_str(&settings).expect("the settings are JSON");
    let path = |name: &str| PathBuf::from(settings[name].as_str().expect("a path"));
    let port = |name: &str| settings[name].as_u64().and_then(|port| u16::try_from(port).ok());
    let env = settings["env"].as_object().into_iter().flatten();
    let data = path("data");
    let file = data.join("address.json");
    let options = Options {
        data: Some(data),
        api_port: port("api_port"),
        aws_port: port("aws_port"),
        step_concurrency_max: settings["step_concurrency_max"].as_u64().map_or(4, |most| most as usize),
        env: env.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect(),
        ..Options::new(path("binaries"))
    };
    let stays = std::future::pending();
    local::run(&options, &http(), &file, Json::Yes, &mut std::io::stdout(), stays).await.expect("the stack starts");
}
