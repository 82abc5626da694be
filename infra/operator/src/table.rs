//! Tables for people: aligned columns, no lines, the last column as long as it is.

use crate::console::Paint;

/// A table being filled.
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

const RESET: &str = "\u{1b}[0m";
const DIM: &str = "\u{1b}[2m";

impl Table {
    /// A table with these column heads.
    pub fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. What stands in a cell cannot break the table, or speak to the terminal.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl ToString>) {
        self.rows.push(cells.into_iter().map(|cell| harmless(&cell.to_string())).collect());
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines; a table without heads is a list of names and values.
    pub fn text(&self, paint: Paint) -> String {
        let heads: Vec<String> = self.head.iter().map(ToString::to_string).collect();
        let all = || std::iter::once(&heads).chain(&self.rows);
        let columns = all().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for (index, row) in all().enumerate().filter(|(_, row)| !row.is_empty()) {
            let is_head = index == 0;
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let colour = if is_head { Some(DIM) } else { colour_of(cell) };
                match (paint, colour) {
                    (Paint::Coloured, Some(colour)) => line.push_str(&format!("{colour}{cell}{RESET}")),
                    _ => line.push_str(cell),
                }
                if column + 1 < row.len() {
                    line.push_str(&" ".repeat(widths[column] - cell.chars().count() + 2));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn harmless(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Words that say how something stands are told apart at a glance.
fn colour_of(cell: &str) -> Option<&'static str> {
    match cell {
        "completed" | "recovered" | "approved" | "on time" => Some("\u{1b}[32m"),
        "dead" | "unreadable" | "failed" | "missed" | "denied" => Some("\u{1b}[31m"),
        "awaiting_approval" | "open" | "undecided" | "running" => Some("\u{1b}[33m"),
        _ => None,
    }
}

/// At most `chars` characters of `text`.
pub fn cut(text: &str, chars: usize) -> String {
    match text.chars().count() > chars {
        true => text.chars().take(chars.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_colours_do_not_count() {
        let mut table = Table::new(&["KEY", "STATUS", "CAUSE"]);
        table.row(["a", "dead", "x\u{1b}[31m\ny"]);
        table.row(["lönger", "completed", ""]);
        assert_eq!(
            table.text(Paint::Plain),
            "KEY     STATUS     CAUSE\na       dead       x [31m y\nlönger  completed\n"
        );
        let coloured = table.text(Paint::Coloured);
        assert!(coloured.contains("\u{1b}[31mdead\u{1b}[0m       x"), "{coloured:?}");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!((cut("abcd", 3), cut("abc", 3)), ("ab…".to_owned(), "abc".to_owned()));
    }
}
