//! Temporary.
use windlass_operator::*;
#[tokio::main]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let binaries = functions::build().await.expect("build");
    let mut options = stack::Options::new(binaries);
    options.logs = windlass_local::Logs::Directory("/tmp/wl-logs".into());
    let result = if std::env::args().any(|a| a == "demo") {
        demo::run(&options, &http, local::Json::No, demo::Approver::Scenario, &mut std::io::stdout())
            .await
            .map_err(|e| e.to_string())
    } else {
        local::run(
            &options,
            &http,
            std::path::Path::new(".windlass/local.json"),
            local::Json::Yes,
            &mut std::io::stdout(),
            async {
                let _ = tokio::signal::ctrl_c().await;
            },
        )
        .await
        .map_err(|e| e.to_string())
    };
    if let Err(e) = result {
        eprintln!("{e}");
        std::process::exit(1)
    }
}
