//! `windlass policy`.

use clap::Parser as _;
use expect_test::expect;

use super::world::words;
use crate::{
    cli::Cli,
    command::{explain, run},
    console::{Console, Paint},
    release,
};

/// What a command line writes to both sides, and its exit code.
fn typed(line: &str) -> (String, u8) {
    let cli = Cli::try_parse_from(words(line)).expect("it is understood");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console::new(&mut out, &mut err, Paint::Plain);
    let result = futures::executor::block_on(run(&cli, release(), &mut console));
    let code = result.err().map_or(0, |failure| explain(&failure, &mut console));
    (String::from_utf8([out, err].concat()).expect("text"), code)
}

#[test]
fn the_built_in_rules_fit_the_tools_of_every_environment() {
    for environment in ["dev", "staging", "production"] {
        let (said, code) = typed(&format!("policy check --environment {environment}"));
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("rules fit"), "{said}");
    }
}

#[test]
fn a_call_is_explained_with_the_rule_that_decides() {
    for (line, decision, rule) in [
        (r#"--tool refund --arguments '{"order":"A-1","amount_cents":5000}'"#, "allow", "small-refund"),
        (r#"--tool refund --arguments '{"order":"A-1","amount_cents":5001}'"#, "require approval", "large-refund"),
        (r#"--tool refund --arguments '{"order":"A-1"}'"#, "deny", "none"),
        (r#"--tool refund --arguments '{"order":"A-1","amount_cents":1}' --tighten deny"#, "deny", "small-refund"),
        (
            r#"--tool write_to_customer --arguments '{"order":"A-1","text":"x"}' --tighten approve"#,
            "require approval",
            "write",
        ),
        (r#"--tool look_up_order --arguments '{"order":"A-1"}' --tighten deny"#, "allow", "look-up"),
        (r#"--tool refund --arguments '{"order":"A-1","amount_cents":1200.0}'"#, "allow", "small-refund"),
        (
            r#"--tool refund --arguments '{"order":"A-1","amount_cents":4000}' --before 'refund={"order":"A-1","amount_cents":1001}'"#,
            "require approval",
            "small-refund, split-refund",
        ),
        (
            r#"--tool refund --arguments '{"order":"A-1","amount_cents":4000}' --planned 'refund={"order":"A-1","amount_cents":1001}'"#,
            "require approval",
            "small-refund, split-refund",
        ),
        (
            r#"--tool refund --arguments '{"order":"A-1","amount_cents":4000}' --window refunded=1001"#,
            "require approval",
            "small-refund, split-refund",
        ),
        (
            r#"--tool refund --arguments '{"order":"A-1","amount_cents":4000}' --role auditor"#,
            "deny",
            "auditors-look-only",
        ),
        ("--tool burn_down", "deny", "none"),
        ("--tool drill_step --environment production --arguments '{\"bytes\":1}'", "deny", "none"),
    ] {
        let (said, code) = typed(&format!("policy explain {line}"));
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(&format!("decision  {decision}\n")), "{line}\n{said}");
        assert!(said.contains(&format!("rules     {rule}\n")), "{line}\n{said}");
    }
}

#[test]
fn a_file_with_a_mistake_is_named_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.cedar");
    std::fs::write(&file, "@id(\"x\")\npermit (principal, action == Action::\"refnd\", resource);\n").expect("written");
    let (said, code) = typed(&format!("policy check {}", file.display()));
    assert_eq!(code, 1);
    let said = said.replace(&folder.path().display().to_string(), "DIR");
    expect![[r#"
        error: the policy cannot be taken on
        DIR/mine.cedar:2: for policy `x`, unrecognized action `Action::"refnd"`; hint: did you mean `Action::"refund"`?
        hint: mend the lines named; the step function does not start with them
    "#]]
    .assert_eq(&said);
    let (said, code) = typed("policy check nowhere.cedar");
    assert_eq!(code, 1);
    assert!(said.contains("nowhere.cedar: cannot be read"), "{said}");
}

#[test]
fn tools_of_a_server_are_read_from_its_listing() {
    let folder = tempfile::tempdir().expect("a folder");
    let listing = folder.path().join("tools.json");
    let schema = r#"{"type":"object","properties":{"id":{"type":"string"},"email":{"type":"string"}},
        "anyOf":[{"required":["id"]},{"required":["email"]}]}"#;
    std::fs::write(&listing, format!(r#"{{"tools":[{{"name":"find","inputSchema":{schema}}}]}}"#)).expect("written");
    let file = folder.path().join("mine.cedar");
    let rule = "@id(\"one\") permit (principal, action == Action::\"shop/find\", resource) when { context.run[\"shop/find\"].count < 2 };";
    let drills = "@id(\"id\") forbid (principal, action == Action::\"shop/find\", resource) when { context.arguments has email };";
    std::fs::write(&file, format!("{rule}\n{drills}\n")).expect("written");
    let with = format!("{} --tools shop={}", file.display(), listing.display());
    let (said, code) = typed(&format!("policy check {with}"));
    assert_eq!(code, 0, "{said}");
    for (line, decision) in [
        (r#"--tool shop/find --arguments '{"id":"7"}'"#, "allow"),
        (r#"--tool shop/find --arguments '{"email":"a@b.example"}'"#, "deny"),
        (
            r#"--tool shop/find --arguments '{"id":"7"}' --before 'shop/find={"id":"7"}' --before 'shop/find={"id":"8"}'"#,
            "deny",
        ),
    ] {
        let (said, code) = typed(&format!("policy explain {with} {line}"));
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(&format!("decision  {decision}\n")), "{line}\n{said}");
    }
    let (said, code) = typed(&format!("policy check {with}x"));
    assert!(code != 0 && said.contains("cannot be read"), "{said}");
}
