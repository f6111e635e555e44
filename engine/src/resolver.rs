//! Join names and the addresses behind them now. Lookups block for as long as the system's resolver likes, so each has a
//! thread of its own while it lasts; one more keeps the books and tells the overlays what changed. A name that resolved
//! once keeps its addresses until others are found.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tidings_wire::OverlayId;
use tidings_wire::digest::MemberState;

use crate::engine::Inner;
use crate::join::Seed;
use crate::limits::{
    JOIN_ADDRESSES_MAX, LOOKUP_LOST, LOOKUPS_MAX, RESOLVE_AGAIN, RESOLVE_EAGER, RESOLVE_EAGER_FOR,
    RESOLVE_LATER,
};

/// Finds the addresses of a seed; blocks.
pub(crate) type Lookup = Arc<dyn Fn(&Seed) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// What the thread is told.
pub(crate) enum Message {
    /// Somebody waits for the addresses of a name. None come if it does not resolve.
    Ask(Seed, Sender<Vec<SocketAddr>>),
    /// An overlay runs now.
    Started(OverlayId),
    /// A lookup is over.
    Answer(Seed, io::Result<Vec<SocketAddr>>),
    /// The node ends.
    Stop,
}

/// All addresses behind `seeds`, as far as they are known within `time`.
pub(crate) fn first(resolver: &Sender<Message>, seeds: &[Seed], time: Duration) -> Vec<SocketAddr> {
    let until = Instant::now() + time;
    let asked: Vec<_> = seeds
        .iter()
        .map(|seed| (seed, ask(resolver, seed)))
        .collect();
    merge(asked.into_iter().map(|(seed, answer)| match seed {
        Seed::Address(addr) => vec![*addr],
        _ => {
            let left = until.saturating_duration_since(Instant::now());
            answer
                .and_then(|answer| answer.recv_timeout(left).ok())
                .unwrap_or_default()
        }
    }))
}

fn ask(resolver: &Sender<Message>, seed: &Seed) -> Option<Receiver<Vec<SocketAddr>>> {
    let (tx, rx) = channel();
    let sent = seed.is_name() && resolver.send(Message::Ask(seed.clone(), tx)).is_ok();
    sent.then_some(rx)
}

/// Each address once, in order, within bounds.
fn merge(lists: impl Iterator<Item = Vec<SocketAddr>>) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for addr in lists.flatten() {
        if !found.contains(&addr) {
            found.push(addr);
        }
    }
    found.truncate(JOIN_ADDRESSES_MAX);
    found
}

/// The thread.
pub(crate) struct Resolver {
    inner: Arc<Inner>,
    lookup: Lookup,
    names: Names,
    mail: Receiver<Message>,
    /// For lookups to answer.
    own: Sender<Message>,
}

impl Resolver {
    pub(crate) fn new(
        inner: Arc<Inner>,
        lookup: Lookup,
        own: Sender<Message>,
        mail: Receiver<Message>,
    ) -> Self {
        Self {
            inner,
            lookup,
            names: Names::default(),
            mail,
            own,
        }
    }

    /// Resolves until the node ends.
    pub(crate) fn run(&mut self) {
        loop {
            let now = Instant::now();
            for seed in self.names.take_due(now) {
                self.look_up(seed);
            }
            let message = match self.names.next_due() {
                None => self.mail.recv().ok(),
                Some(due) => match self.mail.recv_timeout(due.saturating_duration_since(now)) {
                    Ok(message) => Some(message),
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => None,
                },
            };
            match message {
                Some(Message::Ask(seed, waiting)) => self.names.ask(now, seed, waiting),
                Some(Message::Started(overlay)) => self.on_started(overlay),
                Some(Message::Answer(seed, result)) => self.on_answer(&seed, result),
                Some(Message::Stop) | None => return,
            }
        }
    }

    fn look_up(&self, seed: Seed) {
        let (lookup, answers) = (Arc::clone(&self.lookup), self.own.clone());
        let for_thread = seed.clone();
        let started = thread::Builder::new()
            .name("tidings-lookup".into())
            .spawn(move || {
                let result = lookup(&for_thread);
                // The node may have ended meanwhile.
                let _ = answers.send(Message::Answer(for_thread, result));
            });
        if let Err(error) = started {
            // The receiver is this object's own.
            let _ = self.own.send(Message::Answer(seed, Err(error)));
        }
    }

    /// An overlay may have started while its names were being looked up.
    fn on_started(&mut self, overlay: OverlayId) {
        // It may be gone again.
        let Ok(running) = self.inner.running(overlay) else {
            return;
        };
        for seed in running.seeds.iter().filter(|seed| seed.is_name()) {
            self.names.watch(Instant::now(), seed);
        }
        self.tell(overlay, &running.seeds);
    }

    fn on_answer(&mut self, seed: &Seed, result: io::Result<Vec<SocketAddr>>) {
        let users: Vec<_> = self
            .inner
            .all_running()
            .into_iter()
            .filter(|running| running.seeds.contains(seed))
            .collect();
        let alone = users.iter().any(|running| self.is_alone(running.shared.id));
        let used = !users.is_empty();
        if self
            .names
            .answered(Instant::now(), seed, result, alone, used)
        {
            for running in users {
                self.tell(running.shared.id, &running.seeds);
            }
        }
    }

    /// Whether no other member lives: then the addresses that are known may be the trouble.
    fn is_alone(&self, overlay: OverlayId) -> bool {
        let node = self.inner.node;
        let alone = self.inner.ask(overlay, move |_, overlay| {
            let members = overlay.members();
            let lives = |state| matches!(state, MemberState::Alive | MemberState::Suspect);
            !members
                .iter()
                .any(|member| member.node != node && lives(member.state))
        });
        alone.unwrap_or(false)
    }

    fn tell(&self, overlay: OverlayId, seeds: &[Seed]) {
        let addrs = merge(seeds.iter().map(|seed| self.names.addresses(seed)));
        // The overlay may be gone again.
        let _ = self.inner.set_seeds(overlay, addrs, false);
    }
}

/// What is known of one name.
#[derive(Default)]
struct Name {
    /// Found by the last lookup that found any.
    addrs: Vec<SocketAddr>,
    /// When to look again; while a lookup lasts, when to hold it for lost.
    due: Option<Instant>,
    looking: bool,
    /// Since when it does not resolve, or leads to nobody that lives.
    trying_since: Option<Instant>,
    failing: bool,
    /// No running overlay had it at the last look.
    unused: bool,
    waiting: Vec<Sender<Vec<SocketAddr>>>,
}

/// The books: every name of every overlay.
#[derive(Default)]
struct Names(HashMap<Seed, Name>);

impl Names {
    /// Takes a name in; it is looked up at once if it is new.
    fn watch(&mut self, now: Instant, seed: &Seed) -> &mut Name {
        self.0.entry(seed.clone()).or_insert_with(|| Name {
            due: Some(now),
            ..Name::default()
        })
    }

    fn ask(&mut self, now: Instant, seed: Seed, waiting: Sender<Vec<SocketAddr>>) {
        let name = self.watch(now, &seed);
        if name.addrs.is_empty() {
            name.waiting.push(waiting);
            if !name.looking {
                name.due = Some(now);
            }
        } else {
            // Whoever asked may have stopped waiting.
            let _ = waiting.send(name.addrs.clone());
        }
    }

    /// Names to look up now, which are held for being looked up from here on.
    fn take_due(&mut self, now: Instant) -> Vec<Seed> {
        let mut room = LOOKUPS_MAX.saturating_sub(self.looking());
        let mut found = Vec::new();
        for (seed, name) in &mut self.0 {
            if name.due.is_none_or(|due| due > now) {
                continue;
            }
            if !name.looking {
                if room == 0 {
                    continue;
                }
                room -= 1;
            }
            name.looking = true;
            name.due = Some(now + LOOKUP_LOST);
            found.push(seed.clone());
        }
        found
    }

    fn looking(&self) -> usize {
        self.0.values().filter(|name| name.looking).count()
    }

    /// When [`Self::take_due`] has something to give.
    fn next_due(&self) -> Option<Instant> {
        let is_full = self.looking() >= LOOKUPS_MAX;
        let names = self.0.values().filter(|name| name.looking || !is_full);
        names.filter_map(|name| name.due).min()
    }

    /// Takes the result of a lookup. `alone`: nobody lives behind what is known. A name that is not `used` is forgotten.
    /// Returns whether its addresses changed.
    fn answered(
        &mut self,
        now: Instant,
        seed: &Seed,
        result: io::Result<Vec<SocketAddr>>,
        alone: bool,
        used: bool,
    ) -> bool {
        let Some(name) = self.0.get_mut(seed) else {
            return false;
        };
        let found = match result {
            Ok(found) if found.is_empty() => Err(io::ErrorKind::NotFound.into()),
            result => result,
        };
        let failing = found.is_err();
        let mut changed = false;
        match found {
            Ok(found) => {
                if name.failing {
                    tracing::info!(name = %seed, "a join name resolves again");
                }
                // The same ones in another order, as name servers rotate them, are no news.
                changed = found.len() != name.addrs.len()
                    || found.iter().any(|addr| !name.addrs.contains(addr));
                if changed {
                    name.addrs = found;
                }
            }
            Err(error) if !name.failing => {
                tracing::warn!(name = %seed, %error, "a join name does not resolve; it is tried again and again");
            }
            Err(_) => {}
        }
        name.failing = failing;
        name.looking = false;
        for waiting in name.waiting.drain(..) {
            // Whoever asked may have stopped waiting.
            let _ = waiting.send(name.addrs.clone());
        }
        name.trying_since = (failing || alone).then(|| name.trying_since.unwrap_or(now));
        let wait = match name.trying_since {
            None => RESOLVE_AGAIN,
            Some(since) if now.duration_since(since) < RESOLVE_EAGER_FOR => RESOLVE_EAGER,
            Some(_) => RESOLVE_LATER,
        };
        name.due = Some(now + wait);
        // An overlay that is about to start is no user yet: a name is forgotten when it has none for the second time.
        if std::mem::replace(&mut name.unused, !used) && !used {
            self.0.remove(seed);
        }
        changed
    }

    fn addresses(&self, seed: &Seed) -> Vec<SocketAddr> {
        match seed {
            Seed::Address(addr) => vec![*addr],
            _ => self
                .0
                .get(seed)
                .map_or_else(Vec::new, |name| name.addrs.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::EngineBuilder;
    use crate::{KeyRecord, Keyring, OverlayConfig, Suite};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    /// Longer than anything takes that shall happen.
    const LONG: Duration = Duration::from_secs(60);

    fn addrs(ports: &[u16]) -> Vec<SocketAddr> {
        ports
            .iter()
            .map(|&port| SocketAddr::from(([10, 0, 0, 1], port)))
            .collect()
    }

    fn seed(text: &str) -> Seed {
        text.parse().unwrap()
    }

    fn refused() -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }

    /// A book with one name that was looked up at `now`.
    fn looked_up(now: Instant, result: io::Result<Vec<SocketAddr>>) -> (Names, Seed) {
        let (mut names, seed) = (Names::default(), seed("host:1"));
        names.watch(now, &seed);
        assert_eq!(names.take_due(now), std::slice::from_ref(&seed));
        names.answered(now, &seed, result, false, true);
        (names, seed)
    }

    #[test]
    fn an_unresolved_name_is_tried_every_2_s_and_after_10_minutes_every_10_s() {
        let start = Instant::now();
        let (mut names, seed) = looked_up(start, refused());
        assert_eq!(names.next_due(), Some(start + RESOLVE_EAGER));
        assert!(names.take_due(start).is_empty());
        let later = start + RESOLVE_EAGER_FOR;
        assert_eq!(names.take_due(later), std::slice::from_ref(&seed));
        names.answered(later, &seed, refused(), false, true);
        assert_eq!(names.next_due(), Some(later + RESOLVE_LATER));
        names.answered(later, &seed, Ok(addrs(&[1])), false, true);
        assert_eq!(names.next_due(), Some(later + RESOLVE_AGAIN));
    }

    #[test]
    fn a_name_that_leads_to_nobody_alive_is_tried_as_one_that_does_not_resolve() {
        let start = Instant::now();
        let (mut names, seed) = looked_up(start, Ok(addrs(&[1])));
        names.answered(start, &seed, Ok(addrs(&[1])), true, true);
        assert_eq!(names.next_due(), Some(start + RESOLVE_EAGER));
    }

    #[test]
    fn the_last_good_addresses_stay_through_failures() {
        let now = Instant::now();
        let (mut names, seed) = looked_up(now, Ok(addrs(&[1, 2])));
        for nothing in [refused(), Ok(Vec::new())] {
            assert!(!names.answered(now, &seed, nothing, false, true));
            assert_eq!(names.addresses(&seed), addrs(&[1, 2]));
        }
        let rotated = Ok(addrs(&[2, 1]));
        assert!(!names.answered(now, &seed, rotated, false, true));
        assert!(names.answered(now, &seed, Ok(addrs(&[2])), false, true));
        assert_eq!(names.addresses(&seed), addrs(&[2]));
    }

    #[test]
    fn a_name_that_nobody_uses_any_more_is_forgotten() {
        let now = Instant::now();
        let (mut names, seed) = looked_up(now, Ok(addrs(&[1])));
        names.answered(now, &seed, Ok(addrs(&[1])), false, false);
        assert_eq!(names.addresses(&seed), addrs(&[1]));
        names.answered(now, &seed, Ok(addrs(&[1])), false, false);
        assert_eq!(names.next_due(), None);
    }

    #[test]
    fn lookups_at_the_same_time_are_bounded_and_lost_ones_repeated() {
        let (mut names, now) = (Names::default(), Instant::now());
        for n in 0..=LOOKUPS_MAX {
            names.watch(now, &seed(&format!("host-{n}")));
        }
        assert_eq!(names.take_due(now).len(), LOOKUPS_MAX);
        assert_eq!(names.next_due(), Some(now + LOOKUP_LOST));
        assert_eq!(names.take_due(now + LOOKUP_LOST).len(), LOOKUPS_MAX);
    }

    fn config(join: Option<Seed>) -> OverlayConfig {
        let key = KeyRecord::new(0, Suite::Aes256Gcm, [9; 32]);
        let keyring = Keyring::new(OverlayId::from_name("names"), vec![key], 0).unwrap();
        OverlayConfig::new("names", keyring).join(join)
    }

    #[test]
    fn a_node_joins_soon_after_its_seed_resolves_and_starts_without_waiting_for_it() {
        let local = || EngineBuilder::default().bind("127.0.0.1:0".parse().unwrap());
        let a = local().start().unwrap();
        let id = a.add_overlay(config(None)).unwrap();
        let (there, tries) = (a.local_addr(), Arc::new(AtomicU32::new(0)));
        let (added, is_added) = channel();
        let is_added = Mutex::new(is_added);
        let was_added = Arc::new(AtomicBool::new(false));
        let mut b = local();
        let told = Arc::clone(&was_added);
        b.lookup = Some(Arc::new(move |_| {
            match tries.fetch_add(1, Ordering::Relaxed) {
                0 => {
                    // A resolver that is not answered before the overlay is there.
                    let heard = is_added.lock().unwrap().recv_timeout(LONG);
                    told.store(heard.is_ok(), Ordering::Relaxed);
                    refused()
                }
                _ => Ok(vec![there]),
            }
        }));
        let b = b.start().unwrap();
        b.add_overlay(config(Some(seed("host-a")))).unwrap();
        added.send(()).unwrap();
        let began = Instant::now();
        while b.members(id).unwrap().len() < 2 {
            assert!(began.elapsed() < LONG, "not joined");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(was_added.load(Ordering::Relaxed), "it waited for its seed");
    }
}
