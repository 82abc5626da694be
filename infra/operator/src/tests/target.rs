//! Where commands connect to.

use std::path::Path;

use clap::Parser as _;

use crate::{
    cli::{Cli, Command},
    target::{Aws, TargetError, api, aws},
};

const LOCAL: &str = r#"{"api":"http://127.0.0.1:4000/","aws":"http://127.0.0.1:4566",
    "tokens":{"submitter":"s","approver":"a","operator":"o"}}"#;

fn cli(file: &Path, args: &[&str]) -> Cli {
    let file = file.to_str().expect("UTF-8");
    let words = ["windlass", "approvals", "list", "--local-file", file];
    Cli::try_parse_from(words.iter().chain(args)).expect("it can be parsed")
}

fn api_of(cli: &Cli) -> Result<(String, String), TargetError> {
    let Command::Approvals(approvals) = &cli.command else { panic!("approvals were typed") };
    api(&cli.options, &approvals.api).map(|target| (target.url, target.token))
}

#[test]
fn what_is_said_counts_then_the_local_stack_then_aws() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("local.json");
    assert_eq!(aws(&cli(&file, &[]).options, None).expect("nothing is wrong"), Aws::Environment);
    std::fs::write(&file, LOCAL).expect("it can be written");
    let local = Aws::Local("http://127.0.0.1:4566".to_owned());
    assert_eq!(aws(&cli(&file, &[]).options, None).expect("nothing is wrong"), local);
    let said = Aws::Plain("http://127.0.0.1:9999".to_owned());
    let args = ["--endpoint-url", "http://127.0.0.1:9999"];
    assert_eq!(aws(&cli(&file, &args).options, None).expect("nothing is wrong"), said);
    let tls = ["--endpoint-url", "https://dynamodb.example"];
    assert!(matches!(aws(&cli(&file, &tls).options, None), Err(TargetError::Tls { .. })));
    let from_environment = aws(&cli(&file, &tls).options, Some("https://dynamodb.example"));
    assert_eq!(from_environment.expect("the SDK finds it"), Aws::Environment);
}

#[test]
fn a_damaged_file_is_an_error_and_not_a_reason_to_go_to_aws() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("local.json");
    std::fs::write(&file, "{").expect("it can be written");
    assert!(matches!(aws(&cli(&file, &[]).options, None), Err(TargetError::File { .. })));
}

#[test]
fn the_local_token_goes_to_the_local_stack_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("local.json");
    assert!(matches!(api_of(&cli(&file, &[])), Err(TargetError::NoApi)));
    std::fs::write(&file, LOCAL).expect("it can be written");
    let local = ("http://127.0.0.1:4000".to_owned(), "a".to_owned());
    assert_eq!(api_of(&cli(&file, &[])).expect("the file says"), local);
    let elsewhere = ["--api-url", "https://api.example/"];
    assert!(matches!(api_of(&cli(&file, &elsewhere)), Err(TargetError::NoToken)));
    let with_token = ["--api-url", "https://api.example/", "--token", "t"];
    let said = ("https://api.example".to_owned(), "t".to_owned());
    assert_eq!(api_of(&cli(&file, &with_token)).expect("both were said"), said);
}
