//! `tidings top`: what goes on at a node, overlay by overlay and member by member, on the screen until `q`, or once as text.

mod sample;
mod screen;
pub mod tell;

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tidings_client::Client;

use self::sample::{Sample, View};
use self::screen::{Place, draw};
use super::attach::{attach, seconds};
use crate::args::{Format, TopArgs};
use crate::output::{Failure, json, line};

/// The daemon is asked no more often than this.
const EVERY_MIN: Duration = Duration::from_millis(100);

/// Runs the verb.
pub fn top(args: TopArgs) -> Result<(), Failure> {
    let every = seconds("--every", args.every)?.max(EVERY_MIN);
    let mut client = attach(&args.client)?;
    let mut asking = Asking {
        before: Sample::take(&mut client, args.overlay.as_deref())?,
        client,
        overlay: args.overlay,
    };
    let has_screen = io::stdout().is_terminal() && io::stdin().is_terminal();
    if args.once || args.format.is_some() || !has_screen {
        thread::sleep(every);
        let view = asking.view()?;
        return match args.format.unwrap_or_default() {
            Format::Json => json(&view.json()),
            Format::Text => line(tell::text(&view)),
        };
    }
    let mut terminal = ratatui::try_init().map_err(Failure::new)?;
    let shown = show(&mut terminal, &mut asking, every);
    // Before anything is said.
    ratatui::restore();
    shown
}

struct Asking {
    client: Client,
    overlay: Option<String>,
    before: Sample,
}

impl Asking {
    /// What has happened since the last time.
    fn view(&mut self) -> Result<View, Failure> {
        let now = Sample::take(&mut self.client, self.overlay.as_deref())?;
        let view = View::between(&self.before, &now);
        self.before = now;
        Ok(view)
    }
}

fn show(
    terminal: &mut DefaultTerminal,
    asking: &mut Asking,
    every: Duration,
) -> Result<(), Failure> {
    let mut view = asking.view()?;
    let mut place = Place::default();
    let mut next = Instant::now() + every;
    loop {
        let drawn = terminal.draw(|frame| draw(frame, &view, place));
        drawn.map_err(Failure::output)?;
        let left = next.saturating_duration_since(Instant::now());
        if event::poll(left).map_err(Failure::new)? {
            let Event::Key(key) = event::read().map_err(Failure::new)? else {
                // The terminal has another size, perhaps: it is drawn again.
                continue;
            };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                    return Ok(());
                }
                KeyCode::Tab | KeyCode::Right => place.turn(&view, true),
                KeyCode::BackTab | KeyCode::Left => place.turn(&view, false),
                KeyCode::Down => place.scroll(&view, 1),
                KeyCode::Up => place.scroll(&view, -1),
                KeyCode::PageDown => place.scroll(&view, 10),
                KeyCode::PageUp => place.scroll(&view, -10),
                _ => {}
            }
        } else {
            view = asking.view()?;
            next = Instant::now() + every;
        }
    }
}
