//! A layout as Markdown, and the generated blocks of a Markdown file.
//!
//! A block stands between `<!-- qlab:begin NAME -->` and `<!-- qlab:end NAME -->`, each alone on its line.

use crate::layout::{Entry, Layout};

const BEGIN: &str = "<!-- qlab:begin ";
const END: &str = "<!-- qlab:end ";
const CLOSE: &str = " -->";

/// A layout as a Markdown table with its caption below. Ends with a line break.
pub fn table(layout: &Layout) -> String {
    let headings = layout.headings.iter().map(|heading| escape(heading));
    let is_number = |column: usize| layout.rows.iter().any(|row| row[column].is_number);
    let rules =
        (0..layout.headings.len()).map(|column| if is_number(column) { "---:" } else { "---" }.to_owned());
    let mut lines = vec![line(headings), line(rules)];
    lines.extend(layout.rows.iter().map(|row| line(row.iter().map(entry))));
    if !layout.caption.is_empty() {
        lines.extend([String::new(), escape(&layout.caption)]);
    }
    lines.join("\n") + "\n"
}

fn line(entries: impl Iterator<Item = String>) -> String {
    format!("| {} |", entries.collect::<Vec<_>>().join(" | "))
}

fn entry(entry: &Entry) -> String {
    let value = escape(&entry.value);
    if entry.detail.is_empty() { value } else { format!("{value}<br>{}", escape(&entry.detail)) }
}

/// A heading that may break on a terminal need not break here.
fn escape(text: &str) -> String {
    text.replace("\n/", "/").replace(['\n', '\r'], " ").replace('|', "\\|")
}

/// Why the blocks of a file could not be renewed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BlockError {
    /// A block has no end, or one of another name: put `<!-- qlab:end NAME -->` after it.
    #[error("line {line}: the block {name:?} does not end before the next begins")]
    Unfinished {
        /// Line of its beginning, from 1.
        line: usize,
        /// The block.
        name: String,
    },
    /// An end without a beginning.
    #[error("line {line}: the block {name:?} ends and never began")]
    Unbegun {
        /// Line of the end, from 1.
        line: usize,
        /// The block.
        name: String,
    },
}

/// A Markdown file, cut at its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Block { name: String, body: String },
}

impl Blocks {
    /// Cuts a file at its blocks.
    pub fn parse(text: &str) -> Result<Self, BlockError> {
        let mut pieces = vec![Piece::Text(String::new())];
        let mut begun: Option<(usize, String)> = None;
        for (number, line) in text.split_inclusive('\n').enumerate().map(|(at, line)| (at + 1, line)) {
            match (&begun, marker(line, BEGIN), marker(line, END)) {
                (None, Some(name), _) => {
                    begun = Some((number, name.to_owned()));
                    pieces.push(Piece::Block { name: name.to_owned(), body: String::new() });
                }
                (Some((_, open)), _, Some(name)) if open == name => {
                    begun = None;
                    pieces.push(Piece::Text(String::new()));
                }
                (None, None, Some(name)) => {
                    return Err(BlockError::Unbegun { line: number, name: name.to_owned() });
                }
                (Some(_), None, None) | (None, None, None) => push(&mut pieces, line),
                (Some(_), _, _) => break, // another block's marker: this one does not end
            }
        }
        begun.map_or(Ok(Self { pieces }), |(line, name)| Err(BlockError::Unfinished { line, name }))
    }

    /// The blocks' names and bodies, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Block { name, body } => Some((&name[..], &body[..])),
            Piece::Text(_) => None,
        })
    }

    /// The file with the bodies that `body` gives for the names.
    pub fn render(&self, mut body: impl FnMut(&str) -> String) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Block { name, .. } => format!("{BEGIN}{name}{CLOSE}\n{}{END}{name}{CLOSE}\n", body(name)),
        });
        pieces.collect()
    }
}

fn marker<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.trim().strip_prefix(start)?.strip_suffix(CLOSE)
}

fn push(pieces: &mut [Piece], line: &str) {
    match pieces.last_mut().expect("there is always a piece") {
        Piece::Text(text) | Piece::Block { body: text, .. } => text.push_str(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_golden, sample_run};

    const FILE: &str = "# Title\n<!-- qlab:begin a b -->\nold\n<!-- qlab:end a b -->\nmiddle\n\
        <!-- qlab:begin c -->\n<!-- qlab:end c -->\nlast line without a break";

    #[test]
    fn the_markdown_table_looks_as_it_always_did() {
        let table = table(&Layout::of(&sample_run()));
        assert_golden("table.md", &table);
    }

    #[test]
    fn text_around_blocks_stays_as_it_is() {
        let blocks = Blocks::parse(FILE).unwrap();
        assert_eq!(blocks.iter().collect::<Vec<_>>(), [("a b", "old\n"), ("c", "")]);
        let same = blocks.render(|name| if name == "c" { String::new() } else { "old\n".to_owned() });
        assert_eq!(same, FILE);
        assert_eq!(Blocks::parse("").unwrap().render(|_| "x".into()), "");
    }

    #[test]
    fn new_bodies_stand_between_the_same_markers() {
        let new = Blocks::parse(FILE).unwrap().render(|name| format!("new {name}\n"));
        assert!(new.contains("<!-- qlab:begin a b -->\nnew a b\n<!-- qlab:end a b -->\nmiddle\n"), "{new}");
    }

    #[test]
    fn markers_that_do_not_pair_are_named() {
        let parse = |text: &str| Blocks::parse(text).unwrap_err().to_string();
        assert!(parse("x\n<!-- qlab:begin a -->\n").contains("line 2: the block \"a\" does not end"));
        assert!(parse("<!-- qlab:begin a -->\n<!-- qlab:begin b -->\n").contains("\"a\" does not end"));
        assert!(parse("<!-- qlab:begin a -->\n<!-- qlab:end b -->\n").contains("\"a\" does not end"));
        assert!(parse("<!-- qlab:end a -->\n").contains("line 1: the block \"a\" ends and never began"));
    }
}
