//! A journal's entries as lines for people.

use serde_json::Value;

/// The most characters of one detail.
const DETAIL_CHARS_MAX: usize = 76;

/// One line for each event of an entry as the API shows it: `seq`, `at` and `events`.
pub fn lines(entry: &Value) -> Vec<String> {
    let seq = entry["seq"].as_u64().unwrap_or_default();
    let time = entry["at"].as_str().and_then(|at| at.get(11..23)).unwrap_or("            ");
    let events = entry["events"].as_array().cloned().unwrap_or_default();
    let mut lines = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        let place = if index == 0 { format!("{seq:>4}  {time}") } else { " ".repeat(18) };
        let name = event["event"].as_str().unwrap_or("?").replace('_', " ");
        lines.push(format!("{place}  {name:<21} {}", detail(event)).trim_end().to_owned());
    }
    lines
}

fn detail(event: &Value) -> String {
    let text = |name: &str| plain(&event[name]);
    let call = || format!("call {}", event["call"]);
    let detail = match event["event"].as_str().unwrap_or_default() {
        "accepted" => {
            let request = &event["request"];
            format!("{} {} by {}", plain(&request["task"]), request["payload"], plain(&request["actor"]))
        }
        "planned" => plan(&event["plan"]),
        "policy_decided" => {
            let decision = &event["decision"];
            format!("{} {}: {}", call(), plain(&decision["decision"]).replace('_', " "), plain(&decision["reason"]))
        }
        "approval_requested" => {
            format!("{} needs `{}` until {}", action(&event["action"]), text("role"), text("expires_at"))
        }
        "approval_decided" => match &event["by"] {
            Value::Null => text("verdict"),
            by => format!("{} by {}", text("verdict"), plain(by)),
        },
        "tool_attempted" => format!("{}, attempt {} ({})", call(), event["attempt"], text("effect")),
        "tool_returned" | "compensated" => {
            let outcome = &event["outcome"];
            let what = if outcome["value"].is_null() { plain(&outcome["message"]) } else { plain(&outcome["value"]) };
            format!("{} {} {what}", call(), plain(&outcome["outcome"]))
        }
        "compensation_attempted" => format!("{}, attempt {}", call(), event["attempt"]),
        "responded" => event["response"].to_string(),
        "stopped" | "abandoned" => {
            let reason = &event["reason"];
            let more =
                ["message", "limit", "cause"].iter().map(|name| plain(&reason[*name])).find(|more| !more.is_empty());
            format!("{} {}", plain(&reason["reason"]), more.unwrap_or_default())
        }
        "waited" => format!("until {}: {}", text("until"), text("reason")),
        "cancelled" => format!("by {} {}", text("by"), text("reason")),
        "replayed" => format!("by {}, plan {}", text("by"), text("plan")),
        _ => String::new(),
    };
    shortened(detail.trim_end())
}

fn plan(plan: &Value) -> String {
    match plan["kind"].as_str().unwrap_or_default() {
        "call" => {
            let calls = plan["calls"].as_array().cloned().unwrap_or_default();
            let calls: Vec<String> = calls.iter().map(|call| format!("{}: {}", call["id"], action(call))).collect();
            calls.join(", ")
        }
        "answer" => "an answer".to_owned(),
        "wait" => format!("wait until {}", plain(&plan["until"])),
        _ => plain(&plan["problem"]),
    }
}

fn action(action: &Value) -> String {
    format!("{} {}", plain(&action["tool"]), action["arguments"])
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= DETAIL_CHARS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(DETAIL_CHARS_MAX - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_event_has_a_line_and_the_first_has_the_place_and_the_time() {
        let entry = json!({
            "seq": 3, "at": "2026-01-09T23:06:40.123Z", "events": [
                { "event": "tool_returned", "call": 1, "attempt": 1,
                  "outcome": { "outcome": "succeeded", "value": { "order": "A-1" } } },
                { "event": "stopped", "reason": { "reason": "dead", "cause": "x".repeat(100) } },
            ],
        });
        // A bar, since a snapshot forgets the indentation that all its lines share.
        let barred: Vec<String> = lines(&entry).into_iter().map(|line| format!("|{line}")).collect();
        expect_test::expect![[r#"
            |   3  23:06:40.123  tool returned         call 1 succeeded {"order":"A-1"}
            |                    stopped               dead xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"#]].assert_eq(&barred.join("\n"));
    }
}
