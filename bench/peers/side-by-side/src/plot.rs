//! Plots: for each system a bar for each scenario, on a logarithmic axis, with the range over rounds as a line.

use std::path::Path;

use plotters::prelude::*;

use crate::figures::{self, Runs, Spread};
use crate::options::What;
use crate::page::grouped;
use crate::rows::Row;
use crate::store::{Outcome, Scenario};

const COLOURS: [RGBColor; 3] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
];
const WIDTH: u32 = 900;
/// Pixels of a system, and of everything around them.
const SYSTEM_HEIGHT: u32 = 42;
const AROUND: u32 = 80;
/// Room below the last system for the legend, in systems.
const BELOW: f64 = 1.7;
/// Of the height of a system, what its bars take.
const FILLED: f64 = 0.8;

/// Messages per second by size.
pub(crate) fn throughput(path: &Path, rows: &[Row], outcomes: &[Outcome]) -> Result<(), String> {
    let scenarios = figures::scenarios(outcomes, What::Throughput);
    let groups = groups(rows, outcomes, &scenarios, |runs| {
        Some(runs.rate()?.times(1e-6))
    });
    let labels = scenarios
        .iter()
        .map(|scenario| format!("{} B", scenario.size));
    draw(
        path,
        "million messages per second",
        &groups,
        &labels.collect::<Vec<_>>(),
    )
}

/// The median latency by rate.
pub(crate) fn latency(path: &Path, rows: &[Row], outcomes: &[Outcome]) -> Result<(), String> {
    let scenarios = figures::scenarios(outcomes, What::Latency);
    let groups = groups(rows, outcomes, &scenarios, |runs| runs.latency("p50"));
    let labels = scenarios.iter().map(|scenario| {
        let rate = grouped(scenario.rate.unwrap_or(0) as f64);
        format!("{rate} messages/s")
    });
    draw(
        path,
        "us from due to arrival, median",
        &groups,
        &labels.collect::<Vec<_>>(),
    )
}

/// A system's name with its figure in each scenario.
type Group = (String, Vec<Option<Spread>>);

/// The systems that have any figures.
fn groups(
    rows: &[Row],
    outcomes: &[Outcome],
    scenarios: &[Scenario],
    figure: impl Fn(&Runs<'_>) -> Option<Spread>,
) -> Vec<Group> {
    let group = |row: &Row| {
        let bars = scenarios
            .iter()
            .map(|at| figure(&Runs::of(outcomes, &row.name, *at)));
        (row.name.clone(), bars.collect::<Vec<_>>())
    };
    let all = rows.iter().map(group);
    all.filter(|(_, bars)| bars.iter().any(Option::is_some))
        .collect()
}

fn draw(path: &Path, what: &str, groups: &[Group], labels: &[String]) -> Result<(), String> {
    if groups.is_empty() {
        return Ok(());
    }
    let below = (BELOW * f64::from(SYSTEM_HEIGHT)) as u32;
    let height = AROUND + below + SYSTEM_HEIGHT * groups.len() as u32;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    chart(&area, what, groups, labels)
        .and_then(|()| area.present())
        .map_err(|error| format!("{}: {error}", path.display()))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn chart(area: &Area<'_>, what: &str, groups: &[Group], labels: &[String]) -> Drawn {
    area.fill(&WHITE)?;
    let figures = || groups.iter().flat_map(|(_, bars)| bars.iter().flatten());
    let least = figures().map(|bar| bar.least).fold(f64::MAX, f64::min) / 2.0;
    let most = figures()
        .map(|bar| bar.most)
        .fold(f64::MIN_POSITIVE, f64::max)
        * 1.5;
    let count = groups.len();
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(150)
        .build_cartesian_2d((least..most).log_scale(), -BELOW..count as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .x_desc(what)
        .x_label_formatter(&|value| format!("{value}"))
        .draw()?;
    for (series, label) in labels.iter().enumerate() {
        let colour = COLOURS[series % COLOURS.len()];
        let bars = groups.iter().enumerate().filter_map(|(at, (_, bars))| {
            let (top, thickness) = place(at, count, series, labels.len());
            Some((bars[series]?, top, thickness))
        });
        let bars: Vec<_> = bars.collect();
        chart
            .draw_series(bars.iter().map(|(bar, top, thickness)| {
                Rectangle::new(
                    [(least, top - thickness), (bar.median, *top)],
                    colour.filled(),
                )
            }))?
            .label(label.as_str())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled()));
        chart.draw_series(bars.iter().map(|(bar, top, thickness)| {
            let middle = top - thickness / 2.0;
            PathElement::new([(bar.least, middle), (bar.most, middle)], BLACK)
        }))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    names(area, &chart, groups, least)
}

/// Writes the systems' names left of their bars.
fn names<'a>(
    area: &Area<'a>,
    chart: &ChartContext<
        'a,
        SVGBackend<'a>,
        Cartesian2d<
            plotters::coord::combinators::LogCoord<f64>,
            plotters::coord::types::RangedCoordf64,
        >,
    >,
    groups: &[Group],
    least: f64,
) -> Drawn {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    let style =
        TextStyle::from(("sans-serif", 13).into_font()).pos(Pos::new(HPos::Right, VPos::Center));
    for (at, (name, _)) in groups.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(least, (groups.len() - at) as f64 - 0.5));
        area.draw_text(name, &style, (x - 8, y))?;
    }
    Ok(())
}

/// Where a bar begins at its top, and how thick it is. The first system is the uppermost.
fn place(system: usize, systems: usize, series: usize, of: usize) -> (f64, f64) {
    let thickness = FILLED / of as f64;
    let top = (systems - system) as f64 - (1.0 - FILLED) / 2.0;
    (top - thickness * series as f64, thickness)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_of_a_system_lie_below_each_other_within_its_room() {
        let (first, thickness) = place(1, 3, 0, 2);
        let (second, _) = place(1, 3, 1, 2);
        assert!((first - 1.9).abs() < 1e-9 && (thickness - 0.4).abs() < 1e-9);
        assert!((first - thickness - second).abs() < 1e-9);
        assert!(second - thickness >= 1.0);
    }
}
