//! A story's text: commands, what is expected to be printed below them, and everything else as it stands.

use super::StoryError;
use super::command::Command;
use super::reader;

/// Bytes of a story.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Begins a line that a command is expected to print.
const PRINTED: char = '|';
/// Begins what is for people only.
const COMMENT: char = '#';

/// A line that is not a printed one.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: usize,
    /// As it stands, without spaces at its end.
    pub(crate) text: &'a str,
    /// What it says; `None` for empty lines and comments.
    pub(crate) command: Option<Command>,
    /// What it is expected to print, without the mark.
    pub(crate) expected: Vec<&'a str>,
}

/// Reads a whole story.
pub(crate) fn read(text: &str) -> Result<Vec<Line<'_>>, StoryError> {
    if text.len() > TEXT_BYTES_MAX {
        let what = format!("a story of {} bytes is longer than {TEXT_BYTES_MAX}", text.len());
        return Err(StoryError::Unreadable { line: 1, column: 1, what });
    }
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (number, text) in (1..).zip(text.lines()) {
        let text = text.trim_end();
        let Some(printed) = text.strip_prefix(PRINTED) else {
            lines.push(Line { number, text, command: command(number, text)?, expected: Vec::new() });
            continue;
        };
        match lines.last_mut() {
            Some(line) if line.command.is_some() => {
                line.expected.push(printed.strip_prefix(' ').unwrap_or(printed))
            }
            _ => {
                let what = "what is printed stands right below the command that prints it".to_owned();
                return Err(StoryError::Unreadable { line: number, column: 1, what });
            }
        }
    }
    Ok(lines)
}

/// Adds a line and what it printed to a text.
pub(crate) fn write(text: &mut String, line: &str, printed: impl IntoIterator<Item = impl AsRef<str>>) {
    text.push_str(line);
    text.push('\n');
    for printed in printed {
        let printed = printed.as_ref();
        text.push(PRINTED);
        text.push_str(if printed.is_empty() { "" } else { " " });
        text.push_str(printed);
        text.push('\n');
    }
}

fn command(line: usize, text: &str) -> Result<Option<Command>, StoryError> {
    let said = text.split(COMMENT).next().unwrap_or_default();
    if said.trim().is_empty() {
        return Ok(None);
    }
    reader::command(said).map(Some).map_err(|error| StoryError::Unreadable {
        line,
        column: error.column,
        what: error.what,
    })
}
