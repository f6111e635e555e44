//! `docs/scale.md`: the table of all sizes, what is bounded, and plots beside it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use plotters::prelude::*;

use super::run::{Figures, Knowing, Part};

/// Bytes per second and node with the most nodes may be this many times those with the fewest.
pub const BYTES_RATIO_MAX: f64 = 1.3;
/// Bytes of the heap that a listed member may take.
pub const MEMBER_BYTES_MAX: f64 = 512.0;

const COLOURS: [RGBColor; 5] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
];
const SIZE: (u32, u32) = (720, 400);

/// A figure's name, and the figure.
type Line = (&'static str, fn(&Figures) -> f64);
type Draw = fn(&Plot<'_>, &[Figures]) -> Drawn;
type Plot<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// What stands in the page from here on is by hand and stays.
const BY_HAND: &str = "\n## Remarks\n";

/// Writes the page and its plots into a folder. `command` is what made them. Remarks in a page that is there stay.
pub fn write(folder: &Path, command: &str, all: &[Figures]) -> io::Result<()> {
    let plots: [(&str, Draw); 3] = [
        ("scale-traffic.svg", traffic),
        ("scale-memory.svg", memory),
        ("scale-detection.svg", detection),
    ];
    for (name, draw) in plots {
        let path = folder.join(name);
        let area = SVGBackend::new(&path, SIZE).into_drawing_area();
        area.fill(&WHITE)
            .and_then(|()| draw(&area, all))
            .and_then(|()| area.present())
            .map_err(|error| io::Error::other(error.to_string()))?;
    }
    let page = folder.join("scale.md");
    let mut text = text(command, all);
    match fs::read_to_string(&page) {
        Ok(old) => text.push_str(old.find(BY_HAND).map_or("", |at| &old[at..])),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::write(page, text)
}

/// The page.
pub fn text(command: &str, all: &[Figures]) -> String {
    let mut text =
        format!("# Membership by the number of nodes\n\n`{command}` printed\n\n| nodes |");
    let cells =
        |row: &dyn Fn(&Figures) -> String| all.iter().map(row).collect::<Vec<_>>().join(" | ");
    let heads = cells(&|f| f.nodes.to_string());
    let rule = "---|".repeat(all.len());
    let mut put = |text: &mut String, name: &str, row: &dyn Fn(&Figures) -> String| {
        writeln!(text, "| {name} | {} |", cells(row)).expect("writing to a string");
    };
    writeln!(text, " {heads} |\n|---|{rule}").expect("writing to a string");
    put(&mut text, "join: one view after the last start, s", &|f| {
        seconds(f.join_view)
    });
    put(&mut text, "... bytes per node, in all", &|f| {
        count(f.join.bytes * f.join.secs)
    });
    part(&mut text, &mut put, "steady state", |f| f.steady);
    put(&mut text, "... memory per member, B", &|f| {
        count(f.member_bytes)
    });
    put(
        &mut text,
        "... without that of a node that knows nobody, B",
        &|f| count(f.state_bytes()),
    );
    put(
        &mut text,
        "... memory of a node that knows nobody, B",
        &|f| count(f.alone_bytes),
    );
    put(&mut text, "... links of a node", &|f| count(f.links));
    part(&mut text, &mut put, "churn", |f| f.churn);
    knowing(&mut text, &mut put, |f| &f.churned);
    part(&mut text, &mut put, "loss of a tenth", |f| f.loss);
    knowing(&mut text, &mut put, |f| &f.lost);
    put(&mut text, "real time of all this, s", &|f| {
        count(f.real.as_secs_f64())
    });
    text.push_str(&verdict(all));
    if cfg!(feature = "shared-records") {
        text.push_str(SHARED);
    }
    text.push_str(ABOUT);
    text
}

const SHARED: &str = "
The process keeps each record once for all nodes: memory is without records, which are some 110 B each.
";

const ABOUT: &str = "
Each node is a real protocol core with the real seal and open, all in one thread and virtual time, on a network that loses nothing and
delays each datagram by 0.3 to 0.7 ms; profile `lan`, no subscriptions. Bytes are of UDP payload, as sent. The nodes start evenly within
10 s through three seeds; the steady state is measured for a minute, 200 s after the first whole view; memory is what the heap holds
then, as asked for, divided by nodes times other nodes, so that a share of what a node needs for itself is in it. In the churn one node in ten
crashes per hour, 20 in all, each back after 20 s. A detection is the time from a crash to the moment at which one other node holds the
member dead, over all nodes and crashes; a false death is one of a node that ran.

![Bytes per second and node](scale-traffic.svg)

![Memory per member](scale-memory.svg)

![Detection after the loss of a tenth](scale-detection.svg)
";

type Put<'a> = dyn FnMut(&mut String, &str, &dyn Fn(&Figures) -> String) + 'a;

fn part(text: &mut String, put: &mut Put<'_>, name: &str, of: fn(&Figures) -> Part) {
    put(text, &format!("{name}: B/s per node"), &|f| {
        count(of(f).bytes)
    });
    put(text, "... datagrams/s per node", &|f| {
        format!("{:.1}", of(f).datagrams)
    });
}

fn knowing(text: &mut String, put: &mut Put<'_>, of: fn(&Figures) -> &Knowing) {
    put(text, "... detection, median (99 %), s", &|f| {
        let of = of(f);
        format!("{} ({})", seconds(of.delay(50)), seconds(of.delay(99)))
    });
    put(text, "... false deaths", &|f| {
        of(f).false_deaths.to_string()
    });
    put(text, "... one view after, s", &|f| seconds(of(f).one_view));
}

fn verdict(all: &[Figures]) -> String {
    let (Some(first), Some(last)) = (all.first(), all.last()) else {
        return String::new();
    };
    let most = all.iter().map(Figures::state_bytes).fold(0.0, f64::max);
    format!(
        "\nBytes per second and node in the steady state with {} nodes are {:.2} times those with {} (at most {BYTES_RATIO_MAX}); \
         a member takes at most {most:.0} B (at most {MEMBER_BYTES_MAX:.0}).\n",
        last.nodes,
        last.steady.bytes / first.steady.bytes,
        first.nodes,
    )
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "never".to_owned(), |secs| format!("{secs:.2}"))
}

// With a comma between thousands.
fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

fn traffic(area: &Plot<'_>, all: &[Figures]) -> Drawn {
    let lines: [Line; 3] = [
        ("steady state", |f| f.steady.bytes),
        ("churn of 10 % an hour", |f| f.churn.bytes),
        ("while a tenth is lost", |f| f.loss.bytes),
    ];
    by_size(area, "bytes per second and node", all, &lines)
}

fn memory(area: &Plot<'_>, all: &[Figures]) -> Drawn {
    let lines: [Line; 3] = [
        ("all of the node shared out", |f| f.member_bytes),
        ("without a node that knows nobody", Figures::state_bytes),
        ("the most allowed", |_| MEMBER_BYTES_MAX),
    ];
    by_size(area, "bytes per member", all, &lines)
}

// One line for each figure, over the number of nodes.
fn by_size(area: &Plot<'_>, name: &str, all: &[Figures], lines: &[Line]) -> Drawn {
    let sizes = all.iter().map(|f| f.nodes as f64);
    let (least, most) = sizes.fold((f64::MAX, 1.0_f64), |(a, b), n| (a.min(n), b.max(n)));
    let figures = lines.iter().flat_map(|(_, of)| all.iter().map(of));
    let top = figures.fold(1.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((least..most * 1.01).log_scale(), 0.0..top)?;
    chart.configure_mesh().x_desc("nodes").y_desc(name).draw()?;
    for ((label, of), colour) in lines.iter().zip(COLOURS) {
        let points = all.iter().map(|f| (f.nodes as f64, of(f)));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
            .label(*label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .draw()
}

// How much of all (node, death) pairs was known after which time.
fn detection(area: &Plot<'_>, all: &[Figures]) -> Drawn {
    let last = all.iter().filter_map(|f| f.lost.delays.last());
    let last = last.fold(1.0_f64, |a, b| a.max(*b));
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..last, 0.0..100.0)?;
    chart
        .configure_mesh()
        .x_desc("seconds after the loss of a tenth")
        .y_desc("% of deaths known")
        .draw()?;
    for (figures, colour) in all.iter().zip(COLOURS.iter().cycle()) {
        let known = (0..=200).filter_map(|half| {
            let delays = &figures.lost.delays;
            let at = delays.len().checked_sub(1)? * half / 200;
            Some((delays[at], half as f64 / 2.0))
        });
        chart
            .draw_series(LineSeries::new(known, colour.stroke_width(2)))?
            .label(format!("{} nodes", figures.nodes))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], *colour));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .draw()
}
