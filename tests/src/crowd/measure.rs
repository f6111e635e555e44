//! The questions, and how each is put.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::herd::{Herd, Sight, What, gather};

const SECOND: Duration = Duration::from_secs(1);
/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(60);
/// Quiet between two questions, so that none hears the echo of the last.
const REST: Duration = Duration::from_secs(3);

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Nodes.
    pub nodes: usize,
    /// Victims of each kind of fault, one after the other.
    pub victims: usize,
    /// Messages.
    pub messages: usize,
    /// Whether anything is done to nodes at all.
    pub faults: bool,
    /// How long the cores are hogged.
    pub hog: Duration,
    /// How long idle nodes are looked at.
    pub idle: Duration,
}

/// What was found. Times in seconds; `None` where it never happened.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// From the start of the last node until all see all.
    pub join: Option<f64>,
    /// kill -9: median and longest time until a node holds the victim dead, and how many never did.
    pub killed: Spread,
    /// Cable pulled: the same until suspicion ...
    pub cut_suspect: Spread,
    /// ... and until it is held dead.
    pub cut_dead: Spread,
    /// Times that anybody held a node dead that was frozen for 3 s.
    pub frozen_dead: usize,
    /// The same while all cores were hogged.
    pub hogged_dead: usize,
    /// Frozen for 10 s: how many held it dead, and how long until the last of all saw it alive again.
    pub long_dead: usize,
    /// See above; 0 if nobody had held it dead.
    pub long_back: Option<f64>,
    /// From publishing a message until the last node has it: median and longest over the messages.
    pub message: Spread,
    /// Memory in RAM of an idle node: median and largest, MiB.
    pub rss_mib: (f64, f64),
    /// Processor time of an idle node: mean, percent of a core.
    pub cpu_percent: f64,
}

/// Median, longest, and how many never.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// Half of them were sooner, seconds.
    pub median: f64,
    /// The last, seconds.
    pub last: f64,
    /// How many came.
    pub count: usize,
    /// How many never came.
    pub never: usize,
}

impl Spread {
    fn of(mut times: Vec<f64>, wanted: usize) -> Spread {
        times.sort_by(f64::total_cmp);
        Spread {
            median: times.get(times.len() / 2).copied().unwrap_or(f64::NAN),
            last: times.last().copied().unwrap_or(f64::NAN),
            count: times.len(),
            never: wanted.saturating_sub(times.len()),
        }
    }
}

/// Puts all questions to a herd of which no node runs yet.
pub fn measure(herd: &dyn Herd, plan: Plan) -> Answers {
    let crowd = Crowd { herd, plan };
    let say = |what: &str| eprintln!("{}: {what}", herd.name());
    let mut answers = Answers::default();
    say("joining");
    answers.join = crowd.join();
    std::thread::sleep(2 * REST);
    say("idle");
    crowd.idle(&mut answers);
    if !plan.faults {
        return answers;
    }
    say("messages");
    answers.message = crowd.messages();
    say("kill -9");
    answers.killed = crowd.killed();
    say("pulled cables");
    (answers.cut_suspect, answers.cut_dead) = crowd.cut();
    say("pauses of 3 s");
    answers.frozen_dead = crowd.frozen();
    say("hogged cores");
    answers.hogged_dead = crowd.hogged();
    say("pauses of 10 s");
    (answers.long_dead, answers.long_back) = crowd.long_frozen();
    answers
}

struct Crowd<'a> {
    herd: &'a dyn Herd,
    plan: Plan,
}

/// The first time at which each node told this of `of`, seconds after `since`.
fn firsts(sights: &[Sight], of: usize, what: What, since: Instant) -> BTreeMap<usize, f64> {
    let mut firsts = BTreeMap::new();
    for sight in sights {
        if (sight.of, sight.what) == (of, what) && sight.by != of && sight.at >= since {
            let after = sight.at.duration_since(since).as_secs_f64();
            firsts.entry(sight.by).or_insert(after);
        }
    }
    firsts
}

fn deaths(sights: &[Sight]) -> usize {
    sights.iter().filter(|s| s.what == What::Dead).count()
}

impl Crowd<'_> {
    fn gather(&self, within: Duration, enough: impl FnMut(&[Sight]) -> bool) -> Vec<Sight> {
        gather(self.herd.sights(), within, enough)
    }

    /// Forgets what has been told.
    fn rest(&self) {
        self.gather(REST, |_| false);
    }

    fn others(&self) -> usize {
        self.plan.nodes - 1
    }

    /// Victims, spread over the crowd; never the first, which speaks and is the seed.
    fn victims(&self) -> impl Iterator<Item = usize> + use<> {
        let Plan { nodes, victims, .. } = self.plan;
        (0..victims).map(move |n| 2 + (n * 7 + 3) % (nodes - 1))
    }

    fn join(&self) -> Option<f64> {
        let mut last = Instant::now();
        for number in 1..=self.plan.nodes {
            last = self.herd.start(number);
        }
        let wanted = self.plan.nodes * self.others();
        let mut seen = BTreeSet::new();
        let mut at = last;
        let mut looked = 0;
        self.gather(PATIENCE, |all| {
            for sight in &all[looked..] {
                let is_other = sight.by != sight.of && sight.what == What::Alive;
                if is_other && seen.insert((sight.by, sight.of)) {
                    at = at.max(sight.at);
                }
            }
            looked = all.len();
            seen.len() >= wanted
        });
        (seen.len() == wanted).then(|| at.duration_since(last).as_secs_f64())
    }

    /// Waits until `wanted` nodes told this of `of`; gives everything told meanwhile.
    fn until(&self, wanted: usize, of: usize, what: What, since: Instant) -> Vec<Sight> {
        let mut by = BTreeSet::new();
        let mut looked = 0;
        self.gather(PATIENCE, |all| {
            let new = all[looked..].iter();
            let fits = new.filter(|s| (s.of, s.what) == (of, what) && s.by != of && s.at >= since);
            by.extend(fits.map(|sight| sight.by));
            looked = all.len();
            by.len() >= wanted
        })
    }

    fn killed(&self) -> Spread {
        let mut times = Vec::new();
        for victim in self.victims() {
            self.rest();
            let at = Instant::now();
            self.herd.kill(victim);
            let sights = self.until(self.others(), victim, What::Dead, at);
            times.extend(firsts(&sights, victim, What::Dead, at).into_values());
            let again = self.herd.start(victim);
            self.until(self.others(), victim, What::Alive, again);
        }
        Spread::of(times, self.plan.victims * self.others())
    }

    fn cut(&self) -> (Spread, Spread) {
        let (mut suspect, mut dead) = (Vec::new(), Vec::new());
        for victim in self.victims() {
            self.rest();
            let at = Instant::now();
            self.herd.plug(victim, false);
            let sights = self.until(self.others(), victim, What::Dead, at);
            suspect.extend(firsts(&sights, victim, What::Suspect, at).into_values());
            dead.extend(firsts(&sights, victim, What::Dead, at).into_values());
            let again = Instant::now();
            self.herd.plug(victim, true);
            self.until(self.others(), victim, What::Alive, again);
        }
        let wanted = self.plan.victims * self.others();
        (Spread::of(suspect, wanted), Spread::of(dead, wanted))
    }

    fn frozen(&self) -> usize {
        let mut count = 0;
        for victim in self.victims() {
            self.rest();
            self.herd.freeze(victim);
            std::thread::sleep(3 * SECOND);
            self.herd.thaw(victim);
            // Longer than any suspicion lasts.
            count += deaths(&self.gather(10 * SECOND, |_| false));
        }
        count
    }

    fn hogged(&self) -> usize {
        self.rest();
        let over = AtomicBool::new(false);
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| {
                    while !over.load(Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let sights = self.gather(self.plan.hog, |_| false);
            over.store(true, Relaxed);
            deaths(&sights)
        })
    }

    fn long_frozen(&self) -> (usize, Option<f64>) {
        let (mut count, mut last) = (0, Some(0.0_f64));
        for victim in self.victims() {
            self.rest();
            let at = Instant::now();
            self.herd.freeze(victim);
            std::thread::sleep(10 * SECOND);
            let thawed = Instant::now();
            self.herd.thaw(victim);
            let sights = self.gather(PATIENCE / 4, |_| false);
            let held = firsts(&sights, victim, What::Dead, at);
            count += held.len();
            let back = firsts(&sights, victim, What::Alive, thawed);
            for by in held.keys() {
                last = last.zip(back.get(by)).map(|(last, &back)| last.max(back));
            }
        }
        (count, last)
    }

    fn messages(&self) -> Spread {
        let mut times = Vec::new();
        for _ in 0..self.plan.messages {
            self.gather(SECOND / 2, |_| false);
            let at = self.herd.speak(1);
            // The speaker hears itself, too.
            let sights = self.until(self.plan.nodes, 0, What::Message, at);
            let by: BTreeSet<usize> = sights
                .iter()
                .filter(|s| s.what == What::Message && s.by != 1)
                .map(|s| s.by)
                .collect();
            let last = sights
                .iter()
                .filter(|s| s.what == What::Message && s.by != 1);
            let last = last.map(|s| s.at.duration_since(at).as_secs_f64());
            if by.len() == self.others() {
                times.extend(last.reduce(f64::max));
            }
        }
        Spread::of(times, self.plan.messages)
    }

    fn idle(&self, answers: &mut Answers) {
        let usage = || {
            (1..=self.plan.nodes)
                .map(|n| self.herd.usage(n))
                .collect::<Vec<_>>()
        };
        let (before, began) = (usage(), Instant::now());
        self.gather(self.plan.idle, |_| false);
        let (after, lasted) = (usage(), began.elapsed());
        let mut rss: Vec<f64> = after
            .iter()
            .map(|usage| usage.rss_bytes as f64 / f64::from(1 << 20))
            .collect();
        rss.sort_by(f64::total_cmp);
        let cpu: f64 = before
            .iter()
            .zip(&after)
            .map(|(before, after)| (after.cpu - before.cpu).as_secs_f64())
            .sum();
        answers.rss_mib = (rss[rss.len() / 2], rss[rss.len() - 1]);
        answers.cpu_percent = 100.0 * cpu / lasted.as_secs_f64() / self.plan.nodes as f64;
    }
}
