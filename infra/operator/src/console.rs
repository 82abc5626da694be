//! Where a command writes: data to one side, messages to the other.

use std::io::{self, Write};

use serde::Serialize;

/// Standard output and standard error, or two buffers.
pub struct Console<'a> {
    out: &'a mut (dyn Write + Send),
    err: &'a mut (dyn Write + Send),
    paint: Paint,
}

/// Whether words are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// They are.
    Coloured,
    /// They are not.
    Plain,
}

impl Paint {
    /// Colours only on a terminal, and not when `NO_COLOR` says so (<https://no-color.org>).
    pub fn of(is_terminal: bool, no_color: Option<&str>) -> Paint {
        match (is_terminal, no_color) {
            (true, None | Some("")) => Paint::Coloured,
            _ => Paint::Plain,
        }
    }
}

impl<'a> Console<'a> {
    /// Data goes to `out`, messages to `err`.
    pub fn new(out: &'a mut (dyn Write + Send), err: &'a mut (dyn Write + Send), paint: Paint) -> Self {
        Self { out, err, paint }
    }

    /// Where data goes.
    pub fn out(&mut self) -> &mut (dyn Write + Send) {
        self.out
    }

    /// Writes a line of data.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{}", text.as_ref())
    }

    /// Writes data as it is.
    pub fn text(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        self.out.write_all(text.as_ref().as_bytes())
    }

    /// Writes a value as indented JSON.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        self.line(text)
    }

    /// Writes a value as one line of JSON.
    pub fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        self.line(text)
    }

    /// Writes a message.
    pub fn note(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.err, "{}", text.as_ref())
    }

    /// Whether words are coloured.
    pub const fn paint(&self) -> Paint {
        self.paint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_without_no_color() {
        assert_eq!(Paint::of(true, None), Paint::Coloured);
        assert_eq!(Paint::of(true, Some("")), Paint::Coloured);
        assert_eq!(Paint::of(true, Some("1")), Paint::Plain);
        assert_eq!(Paint::of(false, None), Paint::Plain);
    }
}
