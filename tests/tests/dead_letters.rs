//! A message that is not ours and a run that kills its worker every time: both end where `dead-letters list` shows them with a
//! cause, and the second, once mended, is replayed to its end. With the command that ships, against the local stack.

use std::{path::Path, process::Command, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use windlass_operator::stack::Options;
use windlass_tests::local_kit::{Kit, binaries};

/// Three claims, each of which waits until the lease of the one before is over (30 s), and room.
const DEAD_WITHIN: Duration = Duration::from_secs(180);

/// Runs the `windlass` command and reads what it prints as JSON.
fn windlass(binaries: &Path, aws: &str, arguments: &[&str]) -> Value {
    let output = Command::new(binaries.join("windlass"))
        .args(arguments)
        .args(["--json", "--endpoint-url", aws])
        .env("USER", "ops")
        .output()
        .expect("the command runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "windlass {arguments:?}: {} {err}{out}", output.status);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("windlass {arguments:?}: {error}: {out}"))
}

fn letter<'a>(listed: &'a Value, origin: &str) -> Option<&'a Value> {
    let letters = listed.as_array().or_else(|| listed["dead_letters"].as_array())?;
    letters.iter().find(|letter| letter["origin"]["origin"] == origin || letter["origin"] == origin)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_message_and_a_deadly_run_are_listed_with_their_causes_and_the_run_is_replayed_once_mended() {
    let binaries = binaries().await;
    let env = [("STRIKES_MAX".to_owned(), "1".to_owned())].into();
    let kit = Kit::start(&Options { env, ..Options::new(binaries.clone()) }).await;
    let aws = kit.address.aws.clone();
    kit.arm("crash", true).await;
    kit.enqueue("hello, is this the right queue?").await;
    let run = kit.submit("deadly-1", "drill/crash", json!({ "drill": "crash" })).await.body["run_id"].clone();
    let run = run.as_str().expect("a run id").to_owned();
    let wake_up = json!({ "type": "wake_up", "run": run }).to_string();

    let began = Instant::now();
    loop {
        let listed = windlass(&binaries, &aws, &["dead-letters", "list"]);
        if letter(&listed, "message").is_some() && letter(&listed, "run").is_some() {
            break;
        }
        assert!(began.elapsed() < DEAD_WITHIN, "not dead yet: {listed}");
        // A wake-up more or less harms nobody; the sweep's would come after a minute.
        kit.enqueue(&wake_up).await;
        sleep(Duration::from_secs(5)).await;
    }
    let listed = windlass(&binaries, &aws, &["dead-letters", "list"]);
    let (message, dead) = (letter(&listed, "message").expect("listed"), letter(&listed, "run").expect("listed"));
    println!("message: {}\nrun:     {}", message["cause"], dead["cause"]);
    assert!(message["cause"].as_str().is_some_and(|cause| cause.contains("not a step queue message")), "{message}");
    assert!(dead["cause"].as_str().is_some_and(|cause| cause.contains("`drill_crash`")), "{dead}");
    assert_eq!(kit.run(&run).await.body["status"], "dead");

    // Mended.
    kit.arm("crash", false).await;
    let fingerprint = dead["fingerprint"].as_str().expect("a fingerprint");
    let dry = windlass(
        &binaries,
        &aws,
        &["dead-letters", "plan", "--fingerprint", fingerprint, "--dry-run", "--reason", "mended"],
    );
    println!("dry run: {dry}");
    assert_eq!(kit.run(&run).await.body["status"], "dead", "a dry run changed something");
    let plan = windlass(&binaries, &aws, &["dead-letters", "plan", "--fingerprint", fingerprint, "--reason", "mended"]);
    let id = plan["plan"].as_str().expect("a plan id").to_owned();
    let report = windlass(&binaries, &aws, &["dead-letters", "replay", &id]);
    println!("replayed: {report}");
    let ended = kit.until(&run, &["completed"], Duration::from_secs(60)).await;
    assert_eq!(ended["response"]["survived"], true);
    let events = kit.events(&run).await;
    assert_eq!(events.iter().filter(|event| *event == "replayed").count(), 1);
    windlass(&binaries, &aws, &["dead-letters", "replay", &id]);
    assert_eq!(kit.events(&run).await, events, "a plan was replayed twice");
    kit.stack.shutdown().await;
}
