//! The timeline of a contradiction as SVG.

use std::fmt::{self, Write};

use super::Escaped;
use crate::witness::{Witness, WitnessOperation};

/// Sizes in pixels.
const COLUMN: usize = 96;
const LANE: usize = 36;
const MARGIN_LEFT: usize = 110;
const MARGIN_TOP: usize = 24;
/// An arrow leads this far beyond the last moment.
const BEYOND: usize = 60;
/// A letter is narrower than this.
const LETTER: usize = 8;
/// Half the height of the stroke at an end of a bar.
const END_HALF: usize = 6;

/// The longest text over a bar, in characters; the whole one is in the table and under the mouse.
const TEXT_MAX: usize = 48;

/// Draws the witness.
pub(super) fn write_drawing(page: &mut String, witness: &Witness) -> fmt::Result {
    let moments = witness.moments();
    let bars: Vec<Bar<'_>> =
        witness.operations.iter().map(|operation| Bar::new(operation, &moments)).collect();
    let (processes, lanes) = lanes(&bars);
    let height = MARGIN_TOP + LANE * (lanes.iter().max().map_or(0, |last| last + 1)) + LANE / 2;
    let width = bars.iter().map(|bar| bar.space_end).max().unwrap_or(0).max(x(moments.len())) + BEYOND;
    write!(page, "<div class=\"drawing\">\n<svg width=\"{width}\" height=\"{height}\" role=\"img\">\n")?;
    for (column, moment) in moments.iter().enumerate() {
        write_moment(page, x(column), *moment, height)?;
    }
    for (process, lane) in processes {
        writeln!(page, "<text x=\"4\" y=\"{}\">process {process}</text>", y(lane) + 4)?;
    }
    for (place, (bar, lane)) in bars.iter().zip(lanes).enumerate() {
        bar.write(page, y(lane), place == witness.impossible)?;
    }
    page.write_str("</svg>\n</div>\n")
}

fn x(column: usize) -> usize {
    MARGIN_LEFT + COLUMN * column
}

fn y(lane: usize) -> usize {
    MARGIN_TOP + LANE * lane + LANE * 3 / 4
}

fn write_moment(page: &mut String, x: usize, moment_ns: u64, height: usize) -> fmt::Result {
    write!(page, "<line class=\"moment\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{height}\"/>", MARGIN_TOP - 6)?;
    writeln!(page, "<text class=\"time\" x=\"{x}\" y=\"12\" text-anchor=\"middle\">{moment_ns}</text>")
}

/// An operation on its way into the drawing.
struct Bar<'a> {
    operation: &'a WitnessOperation,
    start: usize,
    end: usize,
    text: String,
    /// Where the next bar of the same lane may start.
    space_end: usize,
}

impl<'a> Bar<'a> {
    fn new(operation: &'a WitnessOperation, moments: &[u64]) -> Self {
        let column = |moment_ns: u64| x(moments.partition_point(|other| *other < moment_ns));
        let start = column(operation.invoke_ns);
        let end = operation.complete_ns.map_or(x(moments.len()), column);
        let deed = operation.deed();
        let mut text: String = deed.chars().take(TEXT_MAX).collect();
        if text.len() < deed.len() {
            text.push('…');
        }
        let text_end = start + LETTER * (text.chars().count() + 2);
        Bar { operation, start, end, text, space_end: end.max(text_end) }
    }

    fn write(&self, page: &mut String, y: usize, is_impossible: bool) -> fmt::Result {
        let Bar { operation, start, end, text, .. } = self;
        let (class, mark) = if is_impossible { (" class=\"impossible\"", "✗ ") } else { ("", "") };
        let dashes = if operation.complete_ns.is_none() { " open" } else { "" };
        let whole = operation.to_string();
        write!(page, "<g{class}><title>{}</title>", Escaped(&whole))?;
        write!(page, "<text x=\"{}\" y=\"{}\">{mark}{}</text>", start + 2, y - 9, Escaped(text))?;
        write!(page, "<line class=\"bar{dashes}\" x1=\"{start}\" x2=\"{end}\" y1=\"{y}\" y2=\"{y}\"/>")?;
        write_end(page, *start, y)?;
        match operation.complete_ns {
            Some(_) => write_end(page, *end, y)?,
            None => write_arrow(page, *end, y)?,
        }
        page.write_str("</g>\n")
    }
}

fn write_end(page: &mut String, x: usize, y: usize) -> fmt::Result {
    let (top, bottom) = (y - END_HALF, y + END_HALF);
    write!(page, "<line class=\"end\" x1=\"{x}\" x2=\"{x}\" y1=\"{top}\" y2=\"{bottom}\"/>")
}

fn write_arrow(page: &mut String, x: usize, y: usize) -> fmt::Result {
    let (top, bottom, tip) = (y - END_HALF, y + END_HALF, x + 2 * END_HALF);
    write!(page, "<path class=\"end\" fill=\"none\" d=\"M{x} {top}L{tip} {y}L{x} {bottom}\"/>")
}

/// The processes with their first lanes, and the lane of each bar: those of a process one below the other, as few as keep
/// bars and their texts apart.
fn lanes(bars: &[Bar<'_>]) -> (Vec<(u32, usize)>, Vec<usize>) {
    let mut processes: Vec<u32> = bars.iter().map(|bar| bar.operation.process).collect();
    processes.sort_unstable();
    processes.dedup();
    let (mut firsts, mut lanes) = (Vec::new(), vec![0; bars.len()]);
    let mut next = 0;
    for process in processes {
        firsts.push((process, next));
        let mut ends: Vec<usize> = Vec::new();
        for (bar, lane) in bars.iter().zip(&mut lanes).filter(|(bar, _)| bar.operation.process == process) {
            let free = ends.iter().position(|end| *end < bar.start).unwrap_or(ends.len());
            ends.resize(ends.len().max(free + 1), 0);
            ends[free] = bar.space_end;
            *lane = next + free;
        }
        next += ends.len();
    }
    (firsts, lanes)
}
