//! `windlass approvals`: shown and decided through the HTTP API, as whoever the token names.

use std::path::Path;

use serde_json::{Value, json};
use windlass::ids::ApprovalId;

use crate::{
    api::{Api, ApiError},
    cli::{ApprovalCommand, Decide, Happened},
    console::Console,
    failure::Failure,
    stack::public_keys,
    table::{Table, cut},
};

/// The most pages of one list: 50 runs each.
const PAGES_MAX: usize = 200;

/// The most characters of a reason in a list.
const REASON_CHARS_MAX: usize = 60;

/// Carries out a command.
///
/// # Errors
/// When it fails.
pub async fn run(
    command: &ApprovalCommand,
    api: &dyn Api,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    match command {
        ApprovalCommand::List => list(api, json, console).await,
        ApprovalCommand::Show { approval } => show(*approval, api, json, console).await,
        ApprovalCommand::Approve(decide) => {
            decided(decide, json!({ "decision": "approved" }), api, json, console).await
        }
        ApprovalCommand::Deny(decide) => decided(decide, json!({ "decision": "denied" }), api, json, console).await,
        ApprovalCommand::Happened(Happened { decide, result, failed }) => {
            decided(decide, happened(result.as_ref(), failed.as_deref()), api, json, console).await
        }
        ApprovalCommand::NotHappened(decide) => {
            decided(decide, json!({ "decision": "not_happened" }), api, json, console).await
        }
        ApprovalCommand::PublicKeys { file } => public_halves(file, console),
    }
}

/// Prints the public halves of the keys in `file`, which are no secret.
///
/// # Errors
/// When it holds no keys.
pub fn public_halves(file: &Path, console: &mut Console<'_>) -> Result<(), Failure> {
    let unusable = |problem: String| Failure::Usage {
        message: format!("`{}`: {problem}", file.display()),
        hint: "write the keys in the form that `.env.example` shows",
    };
    let keys = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
    let public = public_keys(keys.trim()).map_err(|problem| unusable(problem.to_string()))?;
    Ok(console.line(public)?)
}

async fn list(api: &dyn Api, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let Listed { approvals, unreadable, next } = all(api).await?;
    if json {
        return Ok(console.json(&json!({ "approvals": approvals, "unreadable": unreadable, "next": next }))?);
    }
    let mut table = Table::new(&["APPROVAL", "TOOL", "QUESTION", "ROLE", "EXPIRES", "YOURS", "REASON"]);
    for approval in &approvals {
        table.row([
            text(&approval["id"]),
            text(&approval["tool"]),
            text(&approval["subject"]),
            text(&approval["role"]),
            text(&approval["expires_at"]),
            yes_or_no(&approval["may_decide"]).to_owned(),
            cut(&text(&approval["reason"]), REASON_CHARS_MAX),
        ]);
    }
    match table.is_empty() {
        true => console.note("nothing waits for a decision")?,
        false => console.text(table.text(console.paint()))?,
    }
    for run in unreadable {
        console.note(format!("run {} waits and cannot be read: `windlass runs show`", text(&run)))?;
    }
    if next.is_some() {
        console.note(format!("there are more than those of {PAGES_MAX} pages: decide some of these first"))?;
    }
    Ok(())
}

/// What every page says, one after the other.
struct Listed {
    approvals: Vec<Value>,
    unreadable: Vec<Value>,
    /// What is left of the last page that was read.
    next: Option<String>,
}

async fn all(api: &dyn Api) -> Result<Listed, ApiError> {
    let unreadable = || ApiError::Unreadable { problem: "there is no list `approvals` in it".to_owned() };
    let mut listed = Listed { approvals: Vec::new(), unreadable: Vec::new(), next: None };
    let mut path = "/approvals".to_owned();
    for _ in 0..PAGES_MAX {
        let page = api.get(&path).await?;
        listed.approvals.extend(page["approvals"].as_array().ok_or_else(unreadable)?.iter().cloned());
        listed.unreadable.extend(page["unreadable"].as_array().into_iter().flatten().cloned());
        listed.next = page["next"].as_str().map(str::to_owned);
        match &listed.next {
            Some(next) => path = format!("/approvals?after={next}"),
            None => break,
        }
    }
    Ok(listed)
}

async fn fetch(approval: ApprovalId, api: &dyn Api) -> Result<Value, ApiError> {
    api.get(&format!("/approvals/{approval}")).await
}

async fn show(approval: ApprovalId, api: &dyn Api, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    let mut shown = fetch(approval, api).await?;
    // Who has the token can decide; it is not for scrollback and logs.
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("token");
    }
    match json {
        true => console.json(&shown)?,
        false => console.text(table(&shown).text(console.paint()))?,
    }
    Ok(())
}

/// What a person says that a call in doubt came to.
fn happened(result: Option<&Value>, failed: Option<&str>) -> Value {
    match (result, failed) {
        (_, Some(message)) => json!({ "decision": "happened_and_failed", "message": message }),
        (Some(result), None) => json!({ "decision": "happened", "result": result }),
        (None, None) => json!({ "decision": "happened" }),
    }
}

/// Shows the exact action, then decides it with the one-time token that came with it.
async fn decided(
    Decide { approval, note }: &Decide,
    mut body: Value,
    api: &dyn Api,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let shown = fetch(*approval, api).await?;
    let Some(token) = shown["token"].as_str() else {
        let why = match (&shown["why_not"], &shown["status"]) {
            (Value::String(why), _) => why.clone(),
            (_, Value::String(status)) => format!("it is {status}"),
            _ => "there is no token for you".to_owned(),
        };
        return Err(ApiError::CannotDecide { approval: approval.to_string(), why }.into());
    };
    console.note(table(&shown).text(console.paint()).trim_end())?;
    body["token"] = json!(token);
    if let Some(note) = note {
        body["note"] = json!(note);
    }
    let answer = api.post(&format!("/approvals/{approval}"), &body).await?;
    match json {
        true => console.json(&answer)?,
        false => console.line(format!("{approval}: {} by {}", text(&answer["status"]), text(&answer["decided_by"])))?,
    }
    Ok(())
}

fn table(shown: &Value) -> Table {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, value: &Value| {
        if !value.is_null() {
            table.row([name.to_owned(), text(value)]);
        }
    };
    row("approval", &shown["id"]);
    row("status", &shown["status"]);
    row(
        "question",
        &match shown["subject"].as_str() {
            Some("permission") => json!("may it be done?"),
            Some("doubt") => json!("was it done?"),
            _ => Value::Null,
        },
    );
    row("tool", &shown["action"]["tool"]);
    row("arguments", &shown["action"]["arguments"]);
    row("digest", &shown["digest"]);
    row("role", &shown["role"]);
    row("reason", &shown["reason"]);
    let evidence = &shown["evidence"];
    row("effect", &evidence["effect"]);
    row("idempotency key", &evidence["idempotency_key"]);
    row("attempts", &evidence["attempts"]);
    row("last attempt", &evidence["attempted_at"]);
    row("seen", &evidence["seen"]);
    for earlier in shown["earlier"].as_array().into_iter().flatten() {
        row("before", &json!(before(earlier)));
    }
    row("asked", &shown["requested_at"]);
    row("expires", &shown["expires_at"]);
    row("decided by", &shown["decided_by"]);
    row("decided at", &shown["decided_at"]);
    row("not yours", &shown["why_not"]);
    table
}

/// An earlier decision about the same tool, in words.
fn before(earlier: &Value) -> String {
    let what = if earlier["same_action"] == true { "the same action" } else { "another action" };
    let by = earlier["by"].as_str().unwrap_or("time");
    let note = earlier["note"].as_str().map_or(String::new(), |note| format!(": {note}"));
    format!("{what} {} by {by} at {}{note}", text(&earlier["verdict"]), text(&earlier["at"]))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn yes_or_no(value: &Value) -> &'static str {
    if value == true { "yes" } else { "no" }
}
