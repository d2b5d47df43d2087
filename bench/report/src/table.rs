//! A layout on a terminal.

use comfy_table::{
    Cell as TableCell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle, presets,
};

use crate::layout::{Entry, Layout};

/// A rule below the headings and nothing else: every column counts on a terminal.
const STYLE: TableStyle = presets::NOTHING.header_separator(LineStyle::none().fill('─').junction('─'));

/// Prints a layout for a terminal of this many columns; `None` leaves the table as wide as it is. The caption, if there
/// is one, stands below.
pub fn render(layout: &Layout, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(layout.headings.iter().copied().map(TableCell::new));
    for row in &layout.rows {
        table.add_row(row.iter().map(cell));
    }
    table.column_iter_mut().for_each(|column| _ = column.set_padding((0, 1)));
    let table = table.trim_fmt();
    if layout.caption.is_empty() { table + "\n" } else { format!("{table}\n{}\n", layout.caption) }
}

fn cell(entry: &Entry) -> TableCell {
    let text = if entry.detail.is_empty() {
        entry.value.clone()
    } else {
        format!("{}\n{}", entry.value, entry.detail)
    };
    let alignment = if entry.is_number { CellAlignment::Right } else { CellAlignment::Left };
    TableCell::new(text).set_alignment(alignment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_golden, sample_run};

    #[test]
    fn the_table_looks_as_it_always_did() {
        let table = render(&Layout::of(&sample_run()), None);
        assert_golden("table.txt", &table);
    }

    #[test]
    fn a_narrow_terminal_gets_narrow_lines() {
        let table = render(&Layout { caption: String::new(), ..Layout::of(&sample_run()) }, Some(120));
        let widest = table.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(120), "{table}");
    }
}
