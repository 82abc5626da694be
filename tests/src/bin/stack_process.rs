//! The local stack as a process of its own, for tests that kill it: what `windlass local --data … --json` runs, with function binaries and
//! variables of the test's choosing.
//!
//! `stack_process '{"data": …, "binaries": …, "api_port": …, "aws_port": …, "step_concurrency_max": …, "env": {…}}'`

use std::path::PathBuf;

use serde_json::Value;
use windlass_operator::{
    console::{Console, Paint},
    local::{self, Json},
    signals::Signals,
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
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut console = Console::new(&mut out, &mut err, Paint::Plain);
    let mut signals = Signals::listen().expect("signals come");
    let stop = async || {
        signals.next().await;
    };
    local::run(&options, &http(), &file, Json::Yes, &mut console, stop).await.expect("the stack starts");
}
