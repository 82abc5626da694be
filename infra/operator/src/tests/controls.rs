//! `windlass controls` and `windlass prompts`.

use expect_test::expect;
use windlass::journal::HeadStatus;

use super::world::World;

#[tokio::test]
async fn a_change_is_shown_as_a_difference_kept_with_who_and_why_and_can_be_reverted() {
    let world = World::new();
    let mut said = world.types("controls show").await;
    for command in [
        "controls set tool.refund=off policy=approve --why incident --by olga",
        "controls set tool.refund=on flag.letters=25%,acme --why fixed --by olga --dry-run",
        "controls set tool.refund=on flag.letters=25%,acme --why fixed --by olga --expect 1",
        "controls set policy=none --why late --by olga --expect 1",
        "controls set policy=approve --why again --by olga",
        "controls set modle=off --why typo --by olga",
        "controls set tool.refnd=off --why typo --by olga",
        "controls history",
        "controls revert 1 --why back --by olga",
        "controls show",
    ] {
        said.push_str(&format!("> {command}\n{}", world.types(command).await));
    }
    expect![[r#"
        SETTING  VALUE
        ! never changed: everything is on
        > controls set tool.refund=off policy=approve --why incident --by olga
        + policy=approve
        + tool.refund=off
        ! version 1
        > controls set tool.refund=on flag.letters=25%,acme --why fixed --by olga --dry-run
        + flag.letters=25%,acme
        - tool.refund=off
        ! version 1
        > controls set tool.refund=on flag.letters=25%,acme --why fixed --by olga --expect 1
        + flag.letters=25%,acme
        - tool.refund=off
        ! version 2
        > controls set policy=none --why late --by olga --expect 1
        ! error: the controls are at version 2, not 1
        ! hint: look again with `windlass controls show`
        exit 1
        > controls set policy=approve --why again --by olga
        ! error: version 2 already says so
        ! hint: see what is in force with `windlass controls show`
        exit 1
        > controls set modle=off --why typo --by olga
        ! error: there is no setting `modle`
        ! hint: `windlass controls set --help` lists the settings
        exit 1
        > controls set tool.refnd=off --why typo --by olga
        ! error: the release knows no tool `refnd`; did you mean `refund`?
        ! hint: correct it, or add --anyway for a name of another release or of an MCP server
        exit 1
        > controls history
        VERSION  AT                        BY    CHANGED                                    WHY
        2        2026-09-21T14:13:20.000Z  olga  flag.letters=25%,acme tool.refund=default  fixed
        1        2026-09-21T14:13:20.000Z  olga  policy=approve tool.refund=off             incident
        0
        > controls revert 1 --why back --by olga
        - flag.letters=25%,acme
        + tool.refund=off
        ! version 3
        > controls show
        SETTING      VALUE
        policy       approve
        tool.refund  off
        ! version 3 by olga at 2026-09-21T14:13:20.000Z: back
    "#]]
    .assert_eq(&said);
    let trail = world.ports.plans.audit_trail(10).await.expect("memory");
    let lines: Vec<String> =
        trail.iter().map(|line| format!("{} {} {}", line.action, line.subject, line.detail)).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[2], "controls.change v1 policy: default -> approve, tool.refund: default -> off; why: incident");
}

/// Whose credentials cannot be told writes nothing: a line that names nobody would be as good as none.
#[tokio::test]
async fn every_line_of_the_audit_trail_names_whose_credentials_wrote_it_or_nothing_is_changed() {
    let mut world = World::new();
    world.types("controls set model=off --why incident --by mallory").await;
    let trail = world.ports.plans.audit_trail(10).await.expect("memory");
    let named: Vec<_> = trail.iter().map(|line| (line.by.as_str(), line.principal.as_deref())).collect();
    assert_eq!(
        named,
        [("mallory", Some("arn:aws:iam::111122223333:user/olga"))],
        "the name is typed, the principal is not"
    );
    world.caller_is_unknown();
    expect![[r#"
        ! error: the controls are unavailable: it is not known whose credentials these are: STS does not answer
        ! hint: check --endpoint-url, region and credentials; a local stack that has ended leaves `.windlass/local.json` behind
        exit 1
    "#]].assert_eq(&world.types("controls set model=on --why fixed --by mallory").await);
    assert_eq!(world.ports.controls.read().await.expect("memory").version, 1);
}

#[tokio::test]
async fn lifting_a_switch_wakes_what_is_held() {
    let world = World::new();
    let run = world.accepted().await;
    world.types("controls set model=off --why incident --by olga").await;
    world.work(run, vec![], HeadStatus::Held { reason: "the model is switched off".to_owned() }).await;
    let said = world.types("controls set model=on --why fixed --by olga").await;
    assert!(said.contains("1 held runs were woken"), "{said}");
    assert_eq!(world.queue.receive(10).len(), 1);
}

#[tokio::test]
async fn runs_of_before_a_restore_are_held_listed_released_and_woken() {
    let world = World::new();
    let (first, second) = (world.accepted().await, world.accepted().await);
    world.clock.advance(std::time::Duration::from_secs(1));
    let held = || HeadStatus::Held { reason: "the tables were restored".to_owned() };
    let mut said = String::new();
    for command in [
        "restore begin --why drill --by olga --before 2126-01-01T00:00:00Z".to_owned(),
        "restore begin --why drill --by olga".to_owned(),
        "controls revert 0 --why typo --by olga".to_owned(),
        format!("restore release {first} --why 'not paid yet' --by olga"),
        "runs list --held".to_owned(),
        "restore end --why 'all looked at' --by olga".to_owned(),
        format!("restore release {second} --why late --by olga"),
    ] {
        if command.contains("release") {
            world.work(first, vec![], held()).await;
            world.work(second, vec![], held()).await;
        }
        said.push_str(&format!("> {command}\n{}", world.types(&command).await));
    }
    expect![[r#"
        > restore begin --why drill --by olga --before 2126-01-01T00:00:00Z
        ! error: 2126-01-01T00:00:00.000Z has not come yet; runs that are taken on until then would be held as well
        ! hint: leave --before out to hold every run of before now
        exit 2
        > restore begin --why drill --by olga
        + restored=2026-09-21T14:13:23.000Z
        ! version 1
        > controls revert 0 --why typo --by olga
        ! error: version 1 already says so
        ! hint: see what is in force with `windlass controls show`
        exit 1
        > restore release 01M3250VZ835X03CDRZCQ0SGFQ --why 'not paid yet' --by olga
        + restored.01M3250VZ835X03CDRZCQ0SGFQ=released
        ! version 2
        > runs list --held
        RUN                         STATUS  TENANT  ACTOR  TASK    CREATED                   DUE                       CLAIMS  CAUSE
        01M3250WYG8WX5V4NW2A31GNZB  held    acme    ada    refund  2026-09-21T14:13:22.000Z  2026-09-21T15:13:23.000Z  1       the tables were restored
        01M3250VZ835X03CDRZCQ0SGFQ  held    acme    ada    refund  2026-09-21T14:13:21.000Z  2026-09-21T15:13:23.000Z  1       the tables were restored
        > restore end --why 'all looked at' --by olga
        - restored=2026-09-21T14:13:23.000Z
        - restored.01M3250VZ835X03CDRZCQ0SGFQ=released
        ! version 3; 2 held runs were woken
        > restore release 01M3250WYG8WX5V4NW2A31GNZB --why late --by olga
        ! error: `restored.01M3250WYG8WX5V4NW2A31GNZB` takes released or held, while `restored` is set, not `released`
        ! hint: `windlass controls set --help` lists the settings
        exit 1
    "#]].assert_eq(&said);
}

#[tokio::test]
async fn prompts_are_saved_compared_used_and_rolled_back() {
    let world = World::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prompt.txt");
    let mut said = String::new();
    for text in ["Be kind.\nBe brief.\n", "Be kind.\nBe very brief.\n"] {
        std::fs::write(&file, text).expect("it is written");
        said.push_str(&world.types(&format!("prompts save refund {} --note n --by olga", file.display())).await);
    }
    for command in [
        "prompts diff refund 1 2",
        "prompts use refund 3 --why evals --by olga",
        "prompts use refund 1 --why evals --by olga",
        "prompts use refund 2 --why evals --by olga",
        "prompts list refund",
        "prompts rollback refund --why chatty --by olga",
        "prompts show refund 1",
    ] {
        said.push_str(&format!("> {command}\n{}", world.types(command).await));
    }
    expect![[r#"
        saved v1@ea2062cf73e3 of `refund`
        saved v2@9074e727b80b of `refund`
        > prompts diff refund 1 2
        - Be brief.
        + Be very brief.
        > prompts use refund 3 --why evals --by olga
        ! error: there is no version 3 of the prompt of `refund`
        ! hint: list versions with `windlass prompts list TASK`
        exit 2
        > prompts use refund 1 --why evals --by olga
        + route.refund.prompt=1
        ! version 1
        > prompts use refund 2 --why evals --by olga
        - route.refund.prompt=1
        + route.refund.prompt=2
        ! version 2
        > prompts list refund
        VERSION          IN USE  AT                        BY    BYTES  NOTE
        v2@9074e727b80b  yes     2026-09-21T14:13:20.000Z  olga  24     n
        v1@ea2062cf73e3          2026-09-21T14:13:20.000Z  olga  19     n
        > prompts rollback refund --why chatty --by olga
        - route.refund.prompt=2
        + route.refund.prompt=1
        ! version 3
        > prompts show refund 1
        Be kind.
        Be brief.

        ! v1@ea2062cf73e3 of `refund` by olga at 2026-09-21T14:13:20.000Z: n
    "#]]
    .assert_eq(&said);
}
