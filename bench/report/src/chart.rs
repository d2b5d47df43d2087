//! What faults did, drawn: throughput and p99 (p50 where slices are too small for that) over time, with the faults as shaded spans.
//!
//! A figure for each cell with faults, a colour for each system. Lines are medians over repeats, the band around the throughput
//! is their range. The same run gives the same bytes.

use std::collections::BTreeMap;

use plotters::{
    coord::{
        Shift,
        ranged1d::{Ranged, ValueFormatter},
        types::RangedCoordf64,
    },
    prelude::*,
};

use crate::{Cell, FaultEffect, Slice, rows::Spread};

/// Pixels of one figure.
const WIDTH: u32 = 960;
const HEIGHT: u32 = 560;
/// Pixels of its upper part, which shows throughput.
const THROUGHPUT_HEIGHT: u32 = 340;
pub(crate) const FONT: &str = "sans-serif";
/// Colours of systems, in the order of their names; more systems begin again.
pub(crate) const COLOURS: [RGBColor; 5] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 95, 14),
    RGBColor(44, 140, 60),
    RGBColor(140, 80, 180),
    RGBColor(120, 100, 80),
];
const FAULT_COLOUR: RGBColor = RGBColor(200, 30, 30);

/// Why a chart could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the chart cannot be drawn: {0}")]
pub struct ChartError(pub(crate) String);

/// The figures of all cells with faults, as SVG; `None` if there are none or no slices were kept.
pub fn recovery(cells: &[Cell], slices: &[Slice]) -> Result<Option<String>, ChartError> {
    let figures = figures(cells, slices);
    if figures.is_empty() {
        return Ok(None);
    }
    let mut svg = String::new();
    draw(&figures, &mut svg).map_err(|error| ChartError(error.to_string()))?;
    Ok(Some(svg + "\n"))
}

/// What one figure shows.
struct Figure<'a> {
    cell: &'a str,
    /// By system.
    series: BTreeMap<&'a str, Vec<Point>>,
    spans: Vec<Span<'a>>,
    /// The end of the window, in seconds.
    end_s: f64,
}

/// One slice over all repeats.
struct Point {
    /// Its middle, in seconds from the beginning of the window.
    at_s: f64,
    throughput_per_s: Spread,
    /// Median over repeats, in milliseconds; `None` where no repeat has enough samples.
    p50_ms: Option<f64>,
    /// The same.
    p99_ms: Option<f64>,
}

/// A quantile, by its name.
type Quantile = (&'static str, fn(&Point) -> Option<f64>);

impl Figure<'_> {
    /// What its lower part shows: p99, if most slices have one.
    fn quantile(&self) -> Quantile {
        let points = || self.series.values().flatten();
        let with_p99 = points().filter(|point| point.p99_ms.is_some()).count();
        if 2 * with_p99 >= points().count() {
            ("p99, ms", |point| point.p99_ms)
        } else {
            ("p50, ms", |point| point.p50_ms)
        }
    }
}

/// A fault, from its first strike to its last end in any repeat.
struct Span<'a> {
    kind: &'a str,
    from_s: f64,
    to_s: f64,
}

fn figures<'a>(cells: &'a [Cell], slices: &'a [Slice]) -> Vec<Figure<'a>> {
    let mut by_cell: BTreeMap<&str, BTreeMap<&str, Vec<&Slice>>> = BTreeMap::new();
    for slice in slices {
        by_cell.entry(&slice.cell).or_default().entry(&slice.system).or_default().push(slice);
    }
    let figure = |(cell, systems): (&'a str, BTreeMap<&'a str, Vec<&Slice>>)| {
        let spans = spans(cells, cell);
        let ends_ms =
            systems.values().flatten().map(|slice| slice.at_ms.saturating_add_unsigned(slice.length_ms));
        let end_s = ends_ms.max().unwrap_or(0) as f64 / 1000.0;
        let series = systems.into_iter().map(|(system, slices)| (system, points(&slices))).collect();
        (!spans.is_empty() && end_s > 0.0).then_some(Figure { cell, series, spans, end_s })
    };
    by_cell.into_iter().filter_map(figure).collect()
}

fn points(slices: &[&Slice]) -> Vec<Point> {
    let mut by_time: BTreeMap<i64, Vec<&Slice>> = BTreeMap::new();
    slices.iter().for_each(|slice| by_time.entry(slice.at_ms).or_default().push(slice));
    let point = |(at_ms, repeats): (i64, Vec<&Slice>)| {
        let median_ms = |of: fn(&Slice) -> Option<u64>| {
            Spread::of(repeats.iter().filter_map(|slice| of(slice)).map(|ns| ns as f64 / 1e6))
                .map(|spread| spread.median)
        };
        Some(Point {
            at_s: (at_ms as f64 + repeats[0].length_ms as f64 / 2.0) / 1000.0,
            throughput_per_s: Spread::of(repeats.iter().map(|slice| slice.throughput_per_s()))?,
            p50_ms: median_ms(|slice| slice.response_p50_ns),
            p99_ms: median_ms(|slice| slice.response_p99_ns),
        })
    };
    by_time.into_iter().filter_map(point).collect()
}

fn spans<'a>(cells: &'a [Cell], cell: &str) -> Vec<Span<'a>> {
    let mut spans: BTreeMap<usize, Span<'a>> = BTreeMap::new();
    for (number, fault) in
        cells.iter().filter(|row| row.cell == cell).flat_map(|row| row.faults.iter().enumerate())
    {
        let Some((from_s, to_s)) = lasted_s(fault) else { continue };
        let span = spans.entry(number).or_insert(Span { kind: &fault.kind, from_s, to_s });
        (span.from_s, span.to_s) = (span.from_s.min(from_s), span.to_s.max(to_s));
    }
    spans.into_values().collect()
}

fn lasted_s(fault: &FaultEffect) -> Option<(f64, f64)> {
    let at_ns = fault.at_ns?;
    Some((at_ns as f64 / 1e9, fault.until_ns.unwrap_or(at_ns) as f64 / 1e9))
}

type Failure = DrawingAreaErrorKind<std::io::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, Y>>;

fn draw(figures: &[Figure<'_>], svg: &mut String) -> Result<(), Failure> {
    let height = HEIGHT * u32::try_from(figures.len()).expect("a run has far fewer cells");
    let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, figure) in root.split_evenly((figures.len(), 1)).iter().zip(figures) {
        let (upper, lower) = area.split_vertically(THROUGHPUT_HEIGHT);
        draw_throughput(&upper, figure)?;
        draw_latency(&lower, figure)?;
    }
    root.present()
}

fn draw_throughput(area: &Area<'_>, figure: &Figure<'_>) -> Result<(), Failure> {
    let points = || figure.series.values().flatten();
    let top = points().map(|point| point.throughput_per_s.max).fold(1.0, f64::max) * 1.08;
    let mut chart =
        builder(area).caption(figure.cell, (FONT, 18)).build_cartesian_2d(0.0..figure.end_s, 0.0..top)?;
    draw_axes(&mut chart, "operations/s", "")?;
    draw_spans(&mut chart, figure, (0.0, top))?;
    for ((system, points), colour) in figure.series.iter().zip(COLOURS.iter().cycle()) {
        let edge = |of: fn(&Spread) -> f64| {
            points.iter().map(move |point| (point.at_s, of(&point.throughput_per_s)))
        };
        let band: Vec<(f64, f64)> =
            edge(|spread| spread.max).chain(edge(|spread| spread.min).rev()).collect();
        chart.draw_series([Polygon::new(band, colour.mix(0.25))])?;
        let line: Vec<(f64, f64)> = edge(|spread| spread.median).collect();
        let drawn = chart.draw_series([PathElement::new(line, colour.stroke_width(2))])?;
        drawn.label(*system).legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    for span in &figure.spans {
        chart.draw_series([Text::new(
            span.kind.to_owned(),
            (span.from_s, top * 0.99),
            (FONT, 13).into_font(),
        )])?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 13))
        .draw()
}

fn draw_latency(area: &Area<'_>, figure: &Figure<'_>) -> Result<(), Failure> {
    let (name, quantile) = figure.quantile();
    let known = || figure.series.values().flatten().filter_map(quantile);
    let bottom = known().fold(f64::INFINITY, f64::min).clamp(0.001, 1e6) / 2.0;
    let top = known().fold(bottom * 10.0, f64::max) * 2.0;
    let mut chart = builder(area).build_cartesian_2d(0.0..figure.end_s, (bottom..top).log_scale())?;
    draw_axes(&mut chart, name, "seconds")?;
    draw_spans(&mut chart, figure, (bottom, top))?;
    for (points, colour) in figure.series.values().zip(COLOURS.iter().cycle()) {
        // Where there were too few samples, the line is broken.
        for piece in points.split(|point| quantile(point).is_none()) {
            let line: Vec<(f64, f64)> =
                piece.iter().filter_map(|point| Some((point.at_s, quantile(point)?))).collect();
            chart.draw_series([PathElement::new(line, colour.stroke_width(2))])?;
        }
    }
    Ok(())
}

fn builder<'a, 'b>(area: &'a Area<'b>) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder.margin(10).x_label_area_size(36).y_label_area_size(72);
    builder
}

fn draw_axes<Y>(chart: &mut Chart<'_, '_, Y>, y_name: &str, x_name: &str) -> Result<(), Failure>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .y_desc(y_name)
        .x_desc(x_name)
        .label_style((FONT, 13))
        .y_label_formatter(&|value| if *value < 1.0 { value.to_string() } else { format!("{value:.0}") })
        .draw()
}

fn draw_spans<Y: Ranged<ValueType = f64>>(
    chart: &mut Chart<'_, '_, Y>,
    figure: &Figure<'_>,
    (bottom, top): (f64, f64),
) -> Result<(), Failure> {
    let rectangle = |span: &Span<'_>| {
        Rectangle::new(
            [(span.from_s, bottom), (span.to_s.min(figure.end_s), top)],
            FAULT_COLOUR.mix(0.12).filled(),
        )
    };
    chart.draw_series(figure.spans.iter().map(rectangle)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_golden, cell, fault_run};

    #[test]
    fn the_chart_looks_as_it_always_did() {
        let (cells, slices) = fault_run();
        assert_golden("recovery.svg", &recovery(&cells, &slices).unwrap().unwrap());
    }

    #[test]
    fn a_run_without_faults_or_slices_has_no_chart() {
        let (cells, slices) = fault_run();
        assert!(recovery(&[cell()], &slices).unwrap().is_none());
        assert!(recovery(&cells, &[]).unwrap().is_none());
    }

    #[test]
    fn the_line_is_the_median_and_the_band_the_range_of_the_repeats() {
        let (cells, slices) = fault_run();
        let figures = figures(&cells, &slices);
        let points = &figures[0].series["raft"];
        assert_eq!((figures.len(), points.len(), figures[0].end_s), (1, 12, 1.2));
        let Spread { median, min, max } = points[0].throughput_per_s;
        assert_eq!((median, min, max, points[0].at_s), (9_600.0, 9_300.0, 9_900.0, 0.05));
        assert_eq!(
            (points[4].throughput_per_s.max, points[4].p99_ms, points[8].p99_ms),
            (0.0, Some(300.0), None)
        );
        let span = &figures[0].spans[0];
        assert_eq!((span.kind, span.from_s, span.to_s), ("kill-leader", 0.402, 0.75));
    }
}
