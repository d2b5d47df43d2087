//! What studies found, drawn. The same study gives the same bytes.

use std::{collections::BTreeMap, ops::Range};

use plotters::{coord::Shift, drawing::DrawingAreaErrorKind, prelude::*};

use crate::{
    chart::{COLOURS, ChartError, FONT},
    study::{Findings, GossipRounds, GossipRun, Quartet, Study},
};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 460;

/// The shares of the nodes that lines are drawn for.
const SHARES: [&str; 3] = ["100 %", "99 %", "50 %"];

/// What is drawn of one size of cluster and one way to gossip.
struct Spread<'a> {
    exchange: &'a str,
    nodes: f64,
    /// Rounds to reach each of [`SHARES`].
    rounds: [Quartet; SHARES.len()],
    expected: f64,
}

impl<'a> Spread<'a> {
    fn simulated(row: &'a GossipRounds) -> Self {
        Self {
            exchange: &row.exchange,
            nodes: row.nodes as f64,
            rounds: [row.rounds_to_all, row.rounds_to_most, row.rounds_to_half],
            expected: row.expected_rounds,
        }
    }

    fn of_processes(row: &'a GossipRun) -> Self {
        let interval_ns = row.round_interval_ms as f64 * 1e6;
        let in_rounds = |ns: Quartet| Quartet {
            p05: ns.p05 / interval_ns,
            p50: ns.p50 / interval_ns,
            p95: ns.p95 / interval_ns,
            max: ns.max / interval_ns,
        };
        Self {
            exchange: &row.exchange,
            nodes: row.nodes as f64,
            rounds: [row.ns_to_all, row.ns_to_most, row.ns_to_half].map(in_rounds),
            expected: row.expected_rounds,
        }
    }
}

type Failure = DrawingAreaErrorKind<std::io::Error>;

/// The study as SVG; `None` if a table says all there is.
pub fn draw(study: &Study) -> Result<Option<String>, ChartError> {
    let spreads: Vec<Spread<'_>> = match &study.findings {
        Findings::GossipRounds(rows) => rows.iter().map(Spread::simulated).collect(),
        Findings::GossipRuns(rows) => by_size(rows).map(Spread::of_processes).collect(),
        _ => return Ok(None),
    };
    if spreads.is_empty() {
        return Ok(None);
    }
    let mut svg = String::new();
    draw_rounds(&spreads, &mut svg).map_err(|error| ChartError(error.to_string()))?;
    Ok(Some(svg + "\n"))
}

/// The rows of the cell that compares sizes: the first with several. Repeats would be drawn over each other.
fn by_size(rows: &[GossipRun]) -> impl Iterator<Item = &GossipRun> {
    let first = |row: &&GossipRun| row.round == 1;
    let has_sizes = |row: &&GossipRun| {
        rows.iter().any(|other| {
            (&other.cell, &other.exchange) == (&row.cell, &row.exchange) && other.nodes != row.nodes
        })
    };
    let cell = rows.iter().filter(first).find(has_sizes).map(|row| &row.cell);
    rows.iter().filter(first).filter(move |row| Some(&row.cell) == cell)
}

fn draw_rounds(spreads: &[Spread<'_>], svg: &mut String) -> Result<(), Failure> {
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut by_exchange: BTreeMap<&str, Vec<&Spread<'_>>> = BTreeMap::new();
    spreads.iter().for_each(|spread| by_exchange.entry(spread.exchange).or_default().push(spread));
    let tops = spreads.iter().map(|spread| spread.rounds[0].p95.max(spread.expected));
    let top = tops.fold(1.0, f64::max) * 1.1;
    let areas = root.split_evenly((1, by_exchange.len().max(1)));
    for ((exchange, spreads), area) in by_exchange.iter().zip(&areas) {
        draw_exchange(area, exchange, spreads, 0.0..top)?;
    }
    root.present()
}

/// One way to gossip: rounds to reach 50, 99 and 100 % of n nodes, over log n.
fn draw_exchange(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    exchange: &str,
    spreads: &[&Spread<'_>],
    rounds: Range<f64>,
) -> Result<(), Failure> {
    let nodes =
        |pick: fn(f64, f64) -> f64, start| spreads.iter().map(|spread| spread.nodes).fold(start, pick);
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
    let last: Vec<(f64, f64)> = spreads.iter().map(|spread| (spread.nodes, spread.rounds[0].p95)).collect();
    let first = spreads.iter().rev().map(|spread| (spread.nodes, spread.rounds[0].p05));
    let band: Vec<(f64, f64)> = last.into_iter().chain(first).collect();
    chart.draw_series([Polygon::new(band, COLOURS[0].mix(0.2))])?;
    for ((share, name), colour) in SHARES.into_iter().enumerate().zip(COLOURS) {
        let line: Vec<(f64, f64)> =
            spreads.iter().map(|spread| (spread.nodes, spread.rounds[share].p50)).collect();
        let style = colour.stroke_width(2);
        let drawn = chart.draw_series([PathElement::new(line, style)])?;
        drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    let expected = spreads.iter().map(|spread| (spread.nodes, spread.expected));
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
    use crate::study::tests::{gossip_run, rounds, study};

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
    fn processes_are_drawn_where_sizes_are_compared() {
        let rows = vec![
            gossip_run("deaths", "push-pull", 8),
            gossip_run("spread", "pull", 8),
            gossip_run("spread", "pull", 32),
        ];
        let study = study("20260101T000000Z", Findings::GossipRuns(rows.clone()));
        let svg = draw(&study).unwrap().unwrap();
        assert!(svg.contains("pull") && !svg.contains("push-pull"), "{svg}");
        let one_size =
            crate::study::tests::study("20260101T000000Z", Findings::GossipRuns(rows[..2].to_vec()));
        assert_eq!(draw(&one_size).unwrap(), None);
    }

    #[test]
    fn a_table_of_error_rates_says_all_there_is() {
        assert_eq!(draw(&study("20260101T000000Z", Findings::GossipErrors(vec![]))).unwrap(), None);
    }
}
