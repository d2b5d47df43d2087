//! What studies found, drawn. The same study gives the same bytes.

use std::{collections::BTreeMap, ops::Range};

use plotters::{coord::Shift, drawing::DrawingAreaErrorKind, prelude::*};

use crate::{
    chart::{COLOURS, ChartError, FONT},
    study::{Findings, GossipRounds, Quartet, Study},
};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 460;

/// How the rounds to reach a share of the nodes are read off a row.
type Read = fn(&GossipRounds) -> Quartet;

const SHARES: [(&str, Read); 3] = [
    ("100 %", |row| row.rounds_to_all),
    ("99 %", |row| row.rounds_to_most),
    ("50 %", |row| row.rounds_to_half),
];

type Failure = DrawingAreaErrorKind<std::io::Error>;

/// The study as SVG; `None` if a table says all there is.
pub fn draw(study: &Study) -> Result<Option<String>, ChartError> {
    let Findings::GossipRounds(rows) = &study.findings else { return Ok(None) };
    let mut svg = String::new();
    draw_rounds(rows, &mut svg).map_err(|error| ChartError(error.to_string()))?;
    Ok(Some(svg + "\n"))
}

fn draw_rounds(rows: &[GossipRounds], svg: &mut String) -> Result<(), Failure> {
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut by_exchange: BTreeMap<&str, Vec<&GossipRounds>> = BTreeMap::new();
    rows.iter().for_each(|row| by_exchange.entry(&row.exchange).or_default().push(row));
    let top = rows.iter().map(|row| row.rounds_to_all.p95.max(row.expected_rounds)).fold(1.0, f64::max) * 1.1;
    let areas = root.split_evenly((1, by_exchange.len().max(1)));
    for ((exchange, rows), area) in by_exchange.iter().zip(&areas) {
        draw_exchange(area, exchange, rows, 0.0..top)?;
    }
    root.present()
}

/// One way to gossip: rounds to reach 50, 99 and 100 % of n nodes, over log n.
fn draw_exchange(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    exchange: &str,
    rows: &[&GossipRounds],
    rounds: Range<f64>,
) -> Result<(), Failure> {
    let nodes = |pick: fn(f64, f64) -> f64, start| rows.iter().map(|row| row.nodes as f64).fold(start, pick);
    let range = nodes(f64::min, f64::INFINITY) * 0.9..nodes(f64::max, 1.0) * 1.1;
    let mut builder = ChartBuilder::on(area);
    builder.margin(10).x_label_area_size(36).y_label_area_size(44).caption(exchange, (FONT, 18));
    let mut chart = builder.build_cartesian_2d(range.log_scale(), rounds)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc("nodes")
        .y_desc("rounds")
        .x_label_formatter(&|nodes| format!("{nodes:.0}"))
        .label_style((FONT, 13))
        .draw()?;
    let last: Vec<(f64, f64)> = rows.iter().map(|row| (row.nodes as f64, row.rounds_to_all.p95)).collect();
    let first = rows.iter().rev().map(|row| (row.nodes as f64, row.rounds_to_all.p05));
    let band: Vec<(f64, f64)> = last.into_iter().chain(first).collect();
    chart.draw_series([Polygon::new(band, COLOURS[0].mix(0.2))])?;
    for ((name, read), colour) in SHARES.into_iter().zip(COLOURS) {
        let line: Vec<(f64, f64)> = rows.iter().map(|row| (row.nodes as f64, read(row).p50)).collect();
        let style = colour.stroke_width(2);
        let drawn = chart.draw_series([PathElement::new(line, style)])?;
        drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    let expected = rows.iter().map(|row| (row.nodes as f64, row.expected_rounds));
    let drawn = chart.draw_series([PathElement::new(expected.collect::<Vec<_>>(), BLACK)])?;
    drawn.label("100 %, expected").legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], BLACK));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 13))
        .draw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::tests::{rounds, study};

    #[test]
    fn rounds_are_drawn_for_each_exchange_with_what_is_expected_and_always_alike() {
        let rows = ["pull", "push"].into_iter().flat_map(|way| [32, 10_000].map(|nodes| rounds(way, nodes)));
        let study = study("20260101T000000Z", Findings::GossipRounds(rows.collect()));
        let svg = draw(&study).unwrap().unwrap();
        assert_eq!(svg.matches("expected").count(), 2, "{svg}");
        assert!(["pull", "push", "99 %"].iter().all(|word| svg.contains(word)));
        assert_eq!(draw(&study).unwrap().unwrap(), svg);
    }

    #[test]
    fn a_table_of_error_rates_says_all_there_is() {
        assert_eq!(draw(&study("20260101T000000Z", Findings::GossipErrors(vec![]))).unwrap(), None);
    }
}
