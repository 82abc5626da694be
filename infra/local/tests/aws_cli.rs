//! The AWS command line as a client, from PyPI into a virtual environment of the test's own; without PyPI the test says so and ends.

#[path = "support/releases.rs"]
mod releases;
mod support;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use support::spec;
use tempfile::TempDir;
use windlass_local::{ManualClock, Stack, StackSpec};

/// The version that the test is written for.
const COMMAND_LINE: &str = "awscli==1.46.2";

/// When the stack's clock stands.
const START: Duration = Duration::from_secs(1_800_000_000);

/// The `aws` program; why there is none, otherwise.
fn install(folder: &Path) -> Result<PathBuf, String> {
    let environment = folder.join("venv");
    let python = environment.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| {
        let ran = Command::new(program).args(arguments).stdout(Stdio::null()).output();
        match ran {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    run(Path::new("python3"), &["-m", "venv", &environment.display().to_string()])?;
    run(&python, &["-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "10", COMMAND_LINE])?;
    Ok(environment.join("bin/aws"))
}

/// The program with the stack that it talks to.
#[derive(Clone)]
struct Aws {
    program: PathBuf,
    url: String,
    folder: PathBuf,
}

impl Aws {
    async fn run(&self, line: &str) -> Output {
        let (aws, line) = (self.clone(), line.to_owned());
        let run = move || {
            let mut command = Command::new(&aws.program);
            command.args(line.split(' ')).current_dir(&aws.folder).env_clear().env("HOME", &aws.folder);
            for (name, value) in [
                ("AWS_ENDPOINT_URL", aws.url.as_str()),
                ("AWS_ACCESS_KEY_ID", "local"),
                ("AWS_SECRET_ACCESS_KEY", "local"),
                ("AWS_DEFAULT_REGION", "us-east-1"),
                ("AWS_DEFAULT_OUTPUT", "json"),
                ("AWS_PAGER", ""),
            ] {
                command.env(name, value);
            }
            command.output().expect("the command line runs")
        };
        tokio::task::spawn_blocking(run).await.expect("it ends")
    }

    async fn answer(&self, line: &str) -> Value {
        let output = self.run(line).await;
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        if output.stdout.is_empty() { Value::Null } else { serde_json::from_slice(&output.stdout).expect("JSON") }
    }

    async fn refusal(&self, line: &str) -> String {
        let output = self.run(line).await;
        assert!(!output.status.success(), "{line}");
        String::from_utf8_lossy(&output.stderr).trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_can_be_rehearsed_with_the_command_line() {
    let folder = TempDir::new().expect("a folder");
    let program = match install(folder.path()) {
        Ok(program) => program,
        Err(problem) => {
            println!("skipped: there is no `{COMMAND_LINE}` to be had: {problem}");
            return;
        }
    };
    let clock = Arc::new(ManualClock::at(START));
    let stack = Stack::start(StackSpec { clock: clock.clone(), ..spec() }).await.expect("the stack starts");
    let aws = Aws { program, url: stack.aws_url(), folder: folder.path().to_owned() };

    versions_and_aliases(&aws).await;
    // Two failures of version 2 behind `live`.
    std::fs::write(aws.folder.join("fail.json"), r#"{"error":"no"}"#).expect("a file");
    for _ in 0..2 {
        let failed = aws.answer("lambda invoke --function-name echo:live --payload file://fail.json out.json").await;
        assert_eq!((&failed["FunctionError"], &failed["ExecutedVersion"]), (&json!("Unhandled"), &json!("2")));
    }
    metrics_and_alarms(&aws, &clock).await;
    stack.shutdown().await;
}

async fn versions_and_aliases(aws: &Aws) {
    std::fs::write(aws.folder.join("package.zip"), releases::package("r2")).expect("a file");
    let uploaded = aws.answer("lambda update-function-code --function-name echo --zip-file fileb://package.zip").await;
    assert_eq!(uploaded["Version"], "$LATEST");
    aws.answer("lambda wait function-updated --function-name echo").await;
    let published = aws.answer("lambda publish-version --function-name echo --description r2").await;
    assert_eq!((&published["Version"], &published["CodeSha256"]), (&json!("2"), &uploaded["CodeSha256"]));
    let candidate = "lambda create-alias --function-name echo --name candidate --function-version 2";
    assert_eq!(aws.answer(candidate).await["FunctionVersion"], "2");
    assert!(aws.refusal(candidate).await.contains("(ResourceConflictException)"));
    let seen = aws.answer("lambda get-alias --function-name echo --name live").await;
    let revision = seen["RevisionId"].as_str().expect("a revision");
    let weighted = format!(
        "lambda update-alias --function-name echo --name live --revision-id {revision} --routing-config \
         AdditionalVersionWeights={{2=0.1}}"
    );
    assert_eq!(aws.answer(&weighted).await["RoutingConfig"], json!({ "AdditionalVersionWeights": { "2": 0.1 } }));
    let stale = aws.refusal(&weighted).await;
    assert!(stale.contains("(PreconditionFailedException)"), "{stale}");
    let done = "lambda update-alias --function-name echo --name live --function-version 2 --routing-config {}";
    assert_eq!(aws.answer(done).await["FunctionVersion"], "2");
    let listed = aws.answer("lambda list-versions-by-function --function-name echo --query Versions[].Version").await;
    assert_eq!(listed, json!(["$LATEST", "1", "2"]));
    let listed = aws.answer("lambda list-aliases --function-name echo --query Aliases[].Name").await;
    assert_eq!(listed, json!(["candidate", "live"]));
    let got = aws.answer("lambda get-function --function-name echo:candidate").await;
    assert_eq!(got["Configuration"]["Version"], "2");
    aws.answer("lambda delete-alias --function-name echo --name candidate").await;
    let gone = aws.refusal("lambda get-alias --function-name echo --name candidate").await;
    assert!(gone.contains("(ResourceNotFoundException)"), "{gone}");
}

async fn metrics_and_alarms(aws: &Aws, clock: &ManualClock) {
    let dimensions = "Name=FunctionName,Value=echo Name=Resource,Value=echo:live Name=ExecutedVersion,Value=2";
    let put = format!(
        "cloudwatch put-metric-alarm --alarm-name echo-errors --namespace AWS/Lambda --metric-name Errors --dimensions \
         {dimensions} --statistic Sum --period 60 --evaluation-periods 1 --threshold 2 --comparison-operator \
         GreaterThanOrEqualToThreshold --treat-missing-data notBreaching"
    );
    aws.answer(&put).await;
    clock.advance(Duration::from_secs(60));
    let described = aws.answer("cloudwatch describe-alarms --alarm-names echo-errors").await;
    let alarm = &described["MetricAlarms"][0];
    assert_eq!((&alarm["StateValue"], &alarm["Threshold"]), (&json!("ALARM"), &json!(2.0)));
    // It shows times as they come.
    assert_eq!(alarm["StateTransitionedTimestamp"].as_f64(), Some(START.as_secs_f64() + 60.0));

    let named = |value: &Value| value.as_object().expect("a name and a value").clone();
    let metric = json!({ "Namespace": "AWS/Lambda", "MetricName": "Errors", "Dimensions": [
        named(&json!({ "Name": "FunctionName", "Value": "echo" })),
        named(&json!({ "Name": "Resource", "Value": "echo:live" })),
        named(&json!({ "Name": "ExecutedVersion", "Value": "2" })),
    ]});
    let query = json!([{ "Id": "errors", "MetricStat": { "Metric": metric, "Period": 60, "Stat": "Sum" } }]);
    std::fs::write(aws.folder.join("query.json"), query.to_string()).expect("a file");
    let (from, until) = (START.as_secs(), START.as_secs() + 60);
    let range = format!("--start-time {from} --end-time {until}");
    let got = aws.answer(&format!("cloudwatch get-metric-data --metric-data-queries file://query.json {range}")).await;
    assert_eq!(got["MetricDataResults"][0]["Values"], json!([2.0]));
    assert_eq!(got["MetricDataResults"][0]["Timestamps"], json!([START.as_secs()]));

    aws.answer("cloudwatch put-metric-data --namespace Kit --metric-name Took --value 7 --unit Milliseconds").await;
    let listed = aws.answer("cloudwatch list-metrics --namespace Kit --query Metrics[].MetricName").await;
    assert_eq!(listed, json!(["Took"]));
    aws.answer("cloudwatch set-alarm-state --alarm-name echo-errors --state-value OK --state-reason drill").await;
    let described = aws.answer("cloudwatch describe-alarms --query MetricAlarms[0].StateReason").await;
    assert_eq!(described, json!("drill"));
    aws.answer("cloudwatch delete-alarms --alarm-names echo-errors").await;
    let gone =
        aws.refusal("cloudwatch set-alarm-state --alarm-name echo-errors --state-value OK --state-reason r").await;
    assert!(gone.contains("(ResourceNotFound)"), "{gone}");
    let of_aws = aws.refusal("cloudwatch put-metric-data --namespace AWS/Lambda --metric-name Errors --value 1").await;
    assert!(of_aws.contains("(InvalidParameterValue)"), "{of_aws}");
}
