//! Line plots as SVG text without a colour of its own: the page's style gives them, light or dark.

use std::fmt::Write as _;

use crate::units::trimmed;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 52.0;

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From the least (or 0) to the most.
    Linear,
    /// By powers of ten.
    Log,
}

/// One axis: what it is, and how its numbers are written.
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) scale: Scale,
    pub(crate) say: fn(f64) -> String,
}

/// One line of a plot.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// The range that an axis shows, with its ticks.
struct Range {
    scale: Scale,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Range {
    fn new(scale: Scale, values: impl Iterator<Item = f64> + Clone, from_zero: bool) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(f64::NEG_INFINITY, f64::max);
        match scale {
            Scale::Log => Self::log(least.max(1e-9), most.max(1e-9)),
            Scale::Linear if from_zero => Self::linear(least.min(0.0), most),
            Scale::Linear => Self::linear(least, most),
        }
    }

    fn log(least: f64, most: f64) -> Self {
        let (low, high) = (least.log10().floor(), most.log10().ceil());
        let high = if high > low { high } else { low + 1.0 };
        // Few decades leave room for more than their powers.
        let steps: &[f64] = match high - low {
            decades if decades <= 2.0 => &[1.0, 2.0, 5.0],
            decades if decades <= 4.0 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let powers = (low as i32)..=(high as i32);
        let ticks = powers.flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
        let (from, to) = (10f64.powf(low), 10f64.powf(high));
        Self {
            scale: Scale::Log,
            from,
            to,
            ticks: ticks.filter(|tick| *tick <= to * 1.000_1).collect(),
        }
    }

    fn linear(least: f64, most: f64) -> Self {
        let span = if most > least { most - least } else { 1.0 };
        let raw = span / 6.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|each| each * power);
        let step = step.into_iter().find(|step| *step >= raw).unwrap_or(raw);
        let (from, to) = ((least / step).floor() * step, (most / step).ceil() * step);
        let to = if to > from { to } else { from + step };
        let count = ((to - from) / step).round() as usize;
        Self {
            scale: Scale::Linear,
            from,
            to,
            ticks: (0..=count).map(|at| from + at as f64 * step).collect(),
        }
    }

    /// Where a value is, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log => {
                (value.max(self.from) / self.from).log10() / (self.to / self.from).log10()
            }
        };
        place.clamp(0.0, 1.0)
    }
}

/// Draws lines over two axes. `None`: there is nothing to draw.
pub(crate) fn plot(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> Option<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    points().next()?;
    let across = Range::new(x.scale, points().map(|point| point.0), false);
    let up = Range::new(y.scale, points().map(|point| point.1), true);
    let at_x = |value| LEFT + across.place(value) * (WIDTH - LEFT - RIGHT);
    let at_y = |value| HEIGHT - BOTTOM - up.place(value) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        escaped(title)
    );
    let mut put = |text: String| {
        writeln!(svg, "{text}").expect("writing to a string");
    };
    let (floor, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for &tick in &up.ticks {
        let y_at = at_y(tick);
        put(format!(
            "<path class=\"grid\" d=\"M{LEFT} {y_at:.1}H{right}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y_at + 4.0,
            escaped(&(y.say)(tick))
        ));
    }
    for &tick in &across.ticks {
        let x_at = at_x(tick);
        put(format!(
            "<path class=\"grid\" d=\"M{x_at:.1} {TOP}V{floor}\"/>\
             <text class=\"tick\" x=\"{x_at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            floor + 18.0,
            escaped(&(x.say)(tick))
        ));
    }
    put(format!(
        "<path class=\"axis\" d=\"M{LEFT} {TOP}V{floor}H{right}\"/>"
    ));
    put(format!(
        "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 10.0,
        escaped(&x.label)
    ));
    let middle = (TOP + floor) / 2.0;
    put(format!(
        "<text class=\"label\" transform=\"translate(16 {middle:.1}) rotate(-90)\" \
         text-anchor=\"middle\">{}</text>",
        escaped(&y.label)
    ));
    for (number, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !line.points.is_empty())
    {
        let mut path = String::new();
        for (at, point) in line.points.iter().enumerate() {
            let command = if at == 0 { 'M' } else { 'L' };
            write!(path, "{command}{:.1} {:.1}", at_x(point.0), at_y(point.1))
                .expect("writing to a string");
        }
        put(format!(
            "<path class=\"line c{}\" d=\"{path}\"/>",
            number % 6
        ));
    }
    if lines.len() > 1 {
        for (number, line) in lines.iter().enumerate() {
            let y_at = TOP + 14.0 + number as f64 * 18.0;
            put(format!(
                "<path class=\"line c{}\" d=\"M{:.1} {:.1}h22\"/>\
                 <text class=\"key\" x=\"{:.1}\" y=\"{y_at:.1}\">{}</text>",
                number % 6,
                LEFT + 12.0,
                y_at - 4.0,
                LEFT + 40.0,
                escaped(&line.name)
            ));
        }
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// Text as it may stand in a page.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A number as it is.
pub(crate) fn plain(value: f64) -> String {
    trimmed(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_that_hold_all_values() {
        let range = Range::linear(0.0, 23.7);
        assert_eq!(range.ticks, [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]);
        let range = Range::log(30.0, 4_000.0);
        assert_eq!((range.from, range.to), (10.0, 10_000.0));
        assert!((range.place(100.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(Range::linear(5.0, 5.0).place(5.0), 0.0);
    }

    #[test]
    fn without_points_there_is_no_plot() {
        let axis = || Axis {
            label: String::new(),
            scale: Scale::Linear,
            say: plain,
        };
        assert_eq!(plot("", &axis(), &axis(), &[]), None);
    }

    #[test]
    fn text_cannot_break_out() {
        assert_eq!(escaped("<a b=\"c\">&"), "&lt;a b=&quot;c&quot;&gt;&amp;");
    }
}
