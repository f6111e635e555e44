//! The screen of `tidings top`: overlays above, the members of the chosen one below.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Cell, Row, Table};

use super::sample::{MemberView, OverlayView, View};
use super::tell;

/// Where the user is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the chosen overlay.
    pub overlay: usize,
    /// The first of its members that is shown.
    pub first: usize,
}

impl Place {
    /// The next overlay, or the one before; around the end.
    pub fn turn(&mut self, view: &View, forward: bool) {
        let count = view.overlays.len().max(1);
        let step = if forward { 1 } else { count - 1 };
        *self = Self {
            overlay: (self.overlay.min(count - 1) + step) % count,
            first: 0,
        };
    }

    /// Members down, or up; the last stays in sight.
    pub fn scroll(&mut self, view: &View, lines: isize) {
        let members = self
            .overlay(view)
            .map_or(0, |overlay| overlay.members.len());
        let first = self.first.saturating_add_signed(lines);
        self.first = first.min(members.saturating_sub(1));
    }

    /// The chosen overlay.
    fn overlay<'a>(&self, view: &'a View) -> Option<&'a OverlayView> {
        view.overlays.get(self.overlay).or(view.overlays.last())
    }
}

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, view: &View, place: Place) {
    // Half of the screen for overlays at most: heading, border and a line each.
    let wanted = u16::try_from(view.overlays.len()).unwrap_or(u16::MAX);
    let most = frame.area().height / 2;
    let [head, overlays, members, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(wanted.saturating_add(3).min(most)),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Line::styled(tell::head(view), bold), head);
    draw_overlays(frame, overlays, view, place);
    draw_members(frame, members, view, place);
    let help = "q quit   tab, left, right: overlay   up, down: members";
    frame.render_widget(Line::styled(help, Style::new().fg(Color::DarkGray)), keys);
}

fn draw_overlays(frame: &mut Frame<'_>, area: Rect, view: &View, place: Place) {
    let room = usize::from(area.height.saturating_sub(3)).max(1);
    let chosen = place.overlay.min(view.overlays.len().saturating_sub(1));
    // The chosen one is in sight.
    let first = (chosen + 1).saturating_sub(room);
    let rows = view.overlays.iter().enumerate().skip(first);
    let rows = rows.map(|(index, overlay)| {
        let style = match (index == chosen, tell::is_well(overlay)) {
            (true, _) => Style::new().add_modifier(Modifier::REVERSED),
            (false, true) => Style::new(),
            (false, false) => Style::new().fg(Color::Yellow),
        };
        Row::new(tell::overlay_cells(overlay).map(Cell::from)).style(style)
    });
    let widths = tell::widths(&tell::OVERLAY_HEADINGS, &view.overlays, tell::overlay_cells);
    let block = Block::new().borders(Borders::TOP).title("overlays");
    frame.render_widget(table(rows, &tell::OVERLAY_HEADINGS, widths, block), area);
}

fn draw_members(frame: &mut Frame<'_>, area: Rect, view: &View, place: Place) {
    let Some(overlay) = place.overlay(view) else {
        return;
    };
    let members = &overlay.members;
    let rows = members
        .iter()
        .skip(place.first)
        .map(|member| Row::new(tell::member_cells(member).map(Cell::from)).style(colour(member)));
    let widths = tell::widths(&tell::MEMBER_HEADINGS, members, tell::member_cells);
    let title = format!("members of {} ({})", overlay.name, members.len());
    let block = Block::new().borders(Borders::TOP).title(title);
    frame.render_widget(table(rows, &tell::MEMBER_HEADINGS, widths, block), area);
}

fn colour(member: &MemberView) -> Style {
    match member.state.as_str() {
        "suspect" => Style::new().fg(Color::Yellow),
        "dead" => Style::new().fg(Color::Red),
        "left" => Style::new().fg(Color::DarkGray),
        _ => Style::new(),
    }
}

fn table<'a>(
    rows: impl Iterator<Item = Row<'a>>,
    headings: &[&'static str],
    widths: Vec<u16>,
    block: Block<'a>,
) -> Table<'a> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let head = Row::new(headings.iter().map(|heading| Cell::from(*heading))).style(bold);
    Table::new(rows, widths.into_iter().map(Constraint::Length))
        .header(head)
        .column_spacing(2)
        .block(block)
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::view;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(view: &View, place: Place, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(110, height)).unwrap();
        terminal.draw(|frame| draw(frame, view, place)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn overlays_members_and_keys_are_on_the_screen() {
        let told = drawn(&view(), Place::default(), 20);
        for wanted in [
            "overlays",
            "news",
            "members of news (2)",
            "suspect",
            "250 us",
            "2.0 KiB",
            "q quit",
        ] {
            assert!(told.contains(wanted), "{wanted} in\n{told}");
        }
    }

    #[test]
    fn keys_move_within_what_there_is() {
        let mut view = view();
        let mut more = view.overlays[0].clone();
        more.name = "more".to_owned();
        view.overlays.push(more);
        let mut place = Place::default();
        place.turn(&view, true);
        assert!(drawn(&view, place, 20).contains("members of more"));
        place.turn(&view, true);
        assert_eq!(place.overlay, 0, "around the end");
        place.turn(&view, false);
        assert_eq!(place.overlay, 1);
        place.scroll(&view, 10);
        assert_eq!(place.first, 1, "the last member stays in sight");
        place.scroll(&view, -10);
        assert_eq!(place.first, 0);
        // An overlay that went away meanwhile, and none at all.
        view.overlays.truncate(1);
        assert!(drawn(&view, place, 20).contains("members of news"));
        view.overlays.clear();
        place.turn(&view, true);
        place.scroll(&view, 1);
        drawn(&view, place, 20);
    }

    #[test]
    fn a_screen_of_any_height_is_drawn() {
        for height in 1..12 {
            drawn(&view(), Place::default(), height);
        }
    }
}
