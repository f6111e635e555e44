//! What `tidings top` shows, in words and columns: the same on the screen and as text.

use std::fmt::Display;

use super::sample::{MemberView, OverlayView, View};
use crate::output::Table;

/// Columns of overlays.
pub const OVERLAY_HEADINGS: [&str; 11] = [
    "OVERLAY",
    "ALIVE",
    "SUSPECT",
    "DEAD",
    "SYNCED",
    "PUB/S",
    "PUB B/S",
    "SUB/S",
    "SUB B/S",
    "REPAIRS/S",
    "BACKLOG",
];
/// Columns of members.
pub const MEMBER_HEADINGS: [&str; 9] = [
    "MEMBER",
    "STATE",
    "RTT",
    "IN B/S",
    "OUT B/S",
    "REPAIRS/S",
    "LOST/S",
    "WAITING",
    "ADDRESS",
];

/// The node, in a line.
pub fn head(view: &View) -> String {
    let (minutes, seconds) = (view.uptime_s / 60, view.uptime_s % 60);
    format!(
        "tidings {} - up {}h{:02}m{seconds:02}s, rates over {:.1} s",
        view.node,
        minutes / 60,
        minutes % 60,
        view.over_s
    )
}

/// Whether nothing of an overlay asks for attention.
pub fn is_well(overlay: &OverlayView) -> bool {
    let none = |state: &str| overlay.states.get(state).is_none_or(|count| *count == 0);
    overlay.synced && none("suspect") && none("dead")
}

/// An overlay's cells.
pub fn overlay_cells(overlay: &OverlayView) -> [String; 11] {
    let count = |state: &str| overlay.states.get(state).unwrap_or(&0).to_string();
    let rate = |name: &str| overlay.rates.get(name).copied().unwrap_or(0.0);
    [
        overlay.name.clone(),
        count("alive"),
        count("suspect"),
        count("dead"),
        if overlay.synced { "yes" } else { "no" }.to_owned(),
        number(rate("published")),
        bytes(rate("published_bytes")),
        number(rate("delivered")),
        bytes(rate("delivered_bytes")),
        number(rate("repairs")),
        bytes(overlay.backlog_bytes as f64),
    ]
}

/// A member's cells.
pub fn member_cells(member: &MemberView) -> [String; 9] {
    let rate = |name: &str| member.rates.get(name).copied().unwrap_or(0.0);
    let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    let state = match member.is_self {
        true => "this node".to_owned(),
        false => member.state.clone(),
    };
    [
        or_dash(&member.name),
        state,
        member.rtt_us.map_or("-".to_owned(), time),
        bytes(rate("bytes_in")),
        bytes(rate("bytes_out")),
        number(rate("repairs")),
        number(rate("lost")),
        bytes(member.waiting_bytes as f64),
        or_dash(&member.address),
    ]
}

/// Everything as text.
pub fn text(view: &View) -> String {
    let mut overlays = Table::new(&OVERLAY_HEADINGS);
    for overlay in &view.overlays {
        overlays.row(overlay_cells(overlay));
    }
    let mut text = format!("{}\n\n{overlays}", head(view));
    for overlay in &view.overlays {
        let mut members = Table::new(&MEMBER_HEADINGS);
        for member in &overlay.members {
            members.row(member_cells(member));
        }
        text.push_str(&format!("\n\nmembers of {}\n{members}", overlay.name));
    }
    text
}

/// How wide each column is.
pub fn widths<T, const N: usize>(
    headings: &[&str; N],
    items: &[T],
    cells: impl Fn(&T) -> [String; N],
) -> Vec<u16> {
    let mut widths = headings.map(str::len);
    for item in items {
        for (width, cell) in widths.iter_mut().zip(cells(item)) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
        .iter()
        .map(|width| u16::try_from(*width).unwrap_or(u16::MAX))
        .collect()
}

/// A time in its unit.
pub fn time(us: u64) -> String {
    match us {
        0..10_000 => format!("{us} us"),
        10_000..10_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value < 10.0 => format!("{value:.1}"),
        value if value < 10_000.0 => format!("{value:.0}"),
        value if value < 10_000_000.0 => scaled(value / 1e3, "k"),
        value => scaled(value / 1e6, "M"),
    }
}

fn bytes(value: f64) -> String {
    const KIB: f64 = 1_024.0;
    match value {
        value if value < KIB => format!("{value:.0} B"),
        value if value < KIB * KIB => scaled(value / KIB, " KiB"),
        value if value < KIB * KIB * KIB => scaled(value / KIB / KIB, " MiB"),
        value => scaled(value / KIB / KIB / KIB, " GiB"),
    }
}

fn scaled(value: f64, unit: impl Display) -> String {
    format!("{value:.1}{unit}")
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::view;
    use super::*;

    #[test]
    fn numbers_keep_to_a_few_digits() {
        assert_eq!(
            [0.0, 0.5, 42.4, 12_345.0, 41_000_000.0].map(number),
            ["0", "0.5", "42", "12.3k", "41.0M"]
        );
        assert_eq!(
            [0.0, 2_048.0, 5e6, 7e9].map(bytes),
            ["0 B", "2.0 KiB", "4.8 MiB", "6.5 GiB"]
        );
        assert_eq!(
            [250, 20_000, 12_000_000].map(time),
            ["250 us", "20.0 ms", "12.0 s"]
        );
    }

    #[test]
    fn a_view_is_told_in_tables() {
        let told = text(&view());
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines[0], "tidings a - up 0h01m01s, rates over 2.0 s");
        let row: Vec<_> = lines[3].split_whitespace().collect();
        assert_eq!(row[..6], ["news", "1", "1", "0", "yes", "10"]);
        assert!(
            told.contains("members of news\nMEMBER  STATE      RTT"),
            "{told}"
        );
        assert!(!is_well(&view().overlays[0]), "it has a suspect");
    }
}
