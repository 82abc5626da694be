//! Microseconds a byte that redaction takes, by alphabet, and how many bytes it looks at for each.
//!
//! ```text
//! cargo run --profile proof -p windlass --example redaction_time
//! ```

use std::{hint::black_box, time::Instant};

use windlass::redaction::{Redaction, looked_at};

/// As large as a payload may be.
const TEXT_BYTES: usize = 64 * 1024;

/// How often each text is redacted; the quickest counts.
const TIMES: usize = 5;

/// Alphabets that made rules look far, and ordinary text.
const ALPHABETS: [&str; 34] = [
    "a word ",
    "a:",
    "A+",
    "1-",
    "a.",
    "@",
    "a@",
    "a@b.",
    "a@b.cc ",
    "([{<",
    "a)]}",
    "a",
    "4",
    "aяß漢1",
    "[redacted:",
    "a%40",
    "eyJ-",
    "pin:",
    "dob:",
    "1 ",
    "4111 1111 1111 1111 ",
    "1:2:3:4:5:6:7:8:",
    "g1:2:3:4:5:6:7:",
    "1:1.",
    "A.b:",
    "a=",
    ":",
    "::0",
    ":-",
    "AB12-",
    "078-05-1120-",
    "555 010 4477 ",
    "+44 20 7946 0958 ",
    "a@b.cc.4111111111111111-",
];

fn main() {
    println!("{:<24} {:>10} {:>8}", "alphabet", "µs a byte", "looks");
    for part in ALPHABETS {
        let text = part.repeat(TEXT_BYTES / part.len());
        let once = || {
            let began = Instant::now();
            black_box(Redaction::STRICT.text(black_box(&text)));
            began.elapsed()
        };
        let took = (0..TIMES).map(|_| once()).min().unwrap_or_default();
        let bytes = text.len() as f64;
        println!(
            "{:<24} {:>10.3} {:>8.1}",
            format!("{part:?}"),
            took.as_secs_f64() * 1e6 / bytes,
            looked_at(&text) as f64 / bytes
        );
    }
}
