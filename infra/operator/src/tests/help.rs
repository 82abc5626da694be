//! What the command says about itself, and what it does not understand.

use clap::{CommandFactory as _, Parser as _};
use expect_test::expect_file;

use super::world::words;
use crate::{cli::Cli, failure::USAGE};

#[test]
fn every_command_explains_itself_with_examples() {
    let mut text = String::new();
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut open = vec![root];
    while let Some(mut command) = open.pop() {
        let name = command.get_bin_name().unwrap_or("windlass").to_owned();
        let children: Vec<_> = command.get_subcommands().filter(|child| child.get_name() != "help").cloned().collect();
        open.extend(children.iter().rev().map(|child| child.clone().term_width(100)));
        let help = command.render_help().to_string();
        if children.is_empty() {
            assert!(help.contains(&format!("Examples:\n  {name}")), "{name} has no example");
        }
        text.push_str(&format!("## {name}\n\n{}\n\n", help.trim_end()));
    }
    expect_file!["help.txt"].assert_eq(&text);
}

#[test]
fn every_example_can_be_typed() {
    let mut open = vec![Cli::command()];
    let mut examples = 0;
    while let Some(command) = open.pop() {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in after.lines().filter_map(|line| line.strip_prefix("  windlass ")) {
            let mut words = words(line);
            if line.contains("cancel") || line.contains("plan") || line.contains("replay") || line.contains("discard") {
                words.extend(["--by".to_owned(), "olga".to_owned()]);
            }
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            examples += 1;
        }
        open.extend(command.get_subcommands().cloned());
    }
    assert!(examples >= 20, "{examples}");
}

#[test]
fn what_is_not_understood_ends_with_2() {
    for line in [
        "",
        "runs",
        "runs show nothing",
        "runs cancel 01JHD7Z3ZK8V6N5Q4R3S2T1W0X --by olga",
        "runs list --actor ada",
        "runs list --troubled --tenant acme",
        "runs list --limit 0",
        "dead-letters plan --reason x --by olga",
        "dead-letters plan --all --by olga",
        "dead-letters plan --all --key run/x --reason x --by olga",
        "dead-letters replay P --rate 51 --by olga",
        "dead-letters replay P --failures-max 0 --by olga",
        "dead-letters discard message/x --reason x --by 'not an actor'",
        "schedules run expire-approvals",
        "approvals show 01JHD7Z3ZK8V6N5Q4R3S2T1W0X",
    ] {
        let error = Cli::try_parse_from(words(line)).expect_err(line);
        assert_eq!(error.exit_code(), i32::from(USAGE), "{line}");
    }
}
