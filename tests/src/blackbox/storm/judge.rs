//! The judge of a storm: reads the union of all clients' logs and holds it against the delivery contract. It knows
//! nothing of nodes or of what was done to them.
//!
//! Two claims rest on a count instead of a name: a client does not know under which number its node keeps its
//! subscription, so that what is told delivered at a node is held against how many clients there acknowledged it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use super::entry::{Entry, Origin, What};

/// A sentence of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Every accepted message has exactly one outcome for each subscription that it is owed to.
    OneOutcome,
    /// What was published is accepted, in order and once, or its session was lost.
    Accepted,
    /// Delivered means acknowledged by the subscriber's application.
    DeliveredMeansAcked,
    /// An ordered subscription sees increasing seqs and every hole as a gap.
    Order,
    /// Nothing comes twice within one session.
    Twice,
    /// What an earlier session on the same boot had comes flagged.
    Again,
    /// A payload arrives as it was published.
    Payload,
    /// Only what was published to a matching topic comes.
    Foreign,
    /// What is published after everything was healed reaches every subscription.
    Calm,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The sentence broken.
    pub rule: Rule,
    /// What was found.
    pub text: String,
}

/// What the logs say.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What must not be. At most five of each rule are kept.
    pub breaches: Vec<Breach>,
    /// Messages published.
    pub sent: u64,
    /// Messages accepted.
    pub accepted: u64,
    /// Outcomes owed to sessions that lived to see them.
    pub owed: u64,
    /// Outcomes by kind.
    pub outcomes: BTreeMap<String, u64>,
    /// Messages that came to subscribers, copies counted.
    pub got: u64,
    /// Copies flagged `again`.
    pub again: u64,
    /// Messages that were told to be gone, by reason.
    pub gaps: BTreeMap<String, u64>,
    /// Sessions of clients.
    pub sessions: u64,
    counts: BTreeMap<Rule, usize>,
}

/// Breaches of one rule that are told in words.
pub(super) const BREACHES_MAX: usize = 5;

impl Verdict {
    /// How many breaches there are.
    pub fn count(&self) -> usize {
        self.counts.values().sum()
    }

    fn breach(&mut self, rule: Rule, text: impl FnOnce() -> String) {
        let count = self.counts.entry(rule).or_default();
        *count += 1;
        if *count <= BREACHES_MAX {
            self.breaches.push(Breach { rule, text: text() });
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} sessions; {} sent, {} accepted, {} outcomes owed: {:?}; {} came, {} of them again; gaps {:?}",
            self.sessions,
            self.sent,
            self.accepted,
            self.owed,
            self.outcomes,
            self.got,
            self.again,
            self.gaps
        )?;
        if self.counts.is_empty() {
            return f.write_str("the contract holds");
        }
        writeln!(f, "BROKEN {:?}", self.counts)?;
        for Breach { rule, text } in &self.breaches {
            writeln!(f, "{rule:?}: {text}")?;
        }
        Ok(())
    }
}

/// Where a message is in a publisher's books: client, session, topic, seq.
type Slot<'a> = (&'a str, u64, &'a str, u64);
/// A message for ever: publishing client, number.
type Id<'a> = (&'a str, u64);

struct Sent<'a> {
    topic: &'a str,
    bytes: u64,
    hash: u64,
    /// Node of the session that published it.
    node: &'a str,
    calm: bool,
}

/// The books, filled entry by entry.
#[derive(Default)]
struct Books<'a> {
    /// By client and session: node and boot.
    sessions: HashMap<(&'a str, u64), (&'a str, &'a str)>,
    lost: HashSet<(&'a str, u64)>,
    /// Pattern and order of each subscriber.
    patterns: HashMap<&'a str, (&'a str, bool)>,
    sent: HashMap<Id<'a>, Sent<'a>>,
    ids: BTreeMap<Slot<'a>, Id<'a>>,
    accepted: BTreeMap<Slot<'a>, u64>,
    outcomes: BTreeMap<Slot<'a>, Vec<(&'a str, u32, &'a str)>>,
    /// By node and message: clients that acknowledged it.
    acked: HashMap<(&'a str, Id<'a>), HashSet<&'a str>>,
}

/// Holds the logs against the contract. `entries` are in order within each client.
pub fn judge(entries: &[Entry]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut books = Books::default();
    for entry in entries {
        books.enter(entry, &mut verdict);
    }
    Reader::default().read(entries, &mut books, &mut verdict);
    books.judge_publishers(&mut verdict);
    verdict
}

impl<'a> Books<'a> {
    fn enter(&mut self, entry: &'a Entry, verdict: &mut Verdict) {
        let session = (entry.client.as_str(), entry.session);
        let slot = |topic: &'a str, seq| (session.0, session.1, topic, seq);
        match &entry.what {
            What::Attached { node, boot } => {
                verdict.sessions += 1;
                self.sessions.insert(session, (node, boot));
            }
            What::Lost { .. } => drop(self.lost.insert(session)),
            What::Subscribe { pattern, ordered } => {
                self.patterns.insert(session.0, (pattern, *ordered));
            }
            What::Sent {
                id,
                topic,
                seq,
                bytes,
                hash,
                calm,
            } => {
                verdict.sent += 1;
                let sent = Sent {
                    topic,
                    bytes: *bytes,
                    hash: *hash,
                    node: self.sessions.get(&session).map_or("", |at| at.0),
                    calm: *calm,
                };
                self.sent.insert((session.0, *id), sent);
                self.ids.insert(slot(topic, *seq), (session.0, *id));
            }
            What::Accepted {
                topic,
                from,
                count,
                owed,
            } => {
                for seq in *from..from + count {
                    verdict.accepted += 1;
                    if self.accepted.insert(slot(topic, seq), *owed).is_some() {
                        verdict.breach(Rule::Accepted, || {
                            format!("{} {topic} {seq} accepted twice", entry.client)
                        });
                    }
                }
            }
            What::Outcome {
                topic,
                node,
                sub,
                from,
                count,
                outcome,
            } => {
                *verdict.outcomes.entry(outcome.clone()).or_default() += count;
                for seq in *from..from + count {
                    let known = self.outcomes.entry(slot(topic, seq)).or_default();
                    known.push((node, *sub, outcome));
                }
            }
            What::Got { .. } | What::Acked { .. } | What::Gap { .. } => {}
        }
    }

    fn boot(&self, client: &'a str, session: u64) -> &'a str {
        self.sessions.get(&(client, session)).map_or("", |at| at.1)
    }

    /// Whether a topic matches the pattern of a subscriber here: names, and `*` for one of them.
    fn matches(&self, client: &str, topic: &str) -> bool {
        let Some((pattern, _)) = self.patterns.get(client) else {
            return false;
        };
        let mut names = topic.split('.');
        let mut wanted = pattern.split('.');
        loop {
            match (wanted.next(), names.next()) {
                (None, None) => return true,
                (Some(part), Some(name)) if part == "*" || part == name => {}
                _ => return false,
            }
        }
    }

    fn judge_publishers(&self, verdict: &mut Verdict) {
        for slot in self.ids.keys() {
            if !self.lost.contains(&(slot.0, slot.1)) && !self.accepted.contains_key(slot) {
                verdict.breach(Rule::Accepted, || format!("{slot:?} never accepted"));
            }
        }
        for (slot, &owed) in &self.accepted {
            let Some(id) = self.ids.get(slot) else {
                verdict.breach(Rule::Accepted, || {
                    format!("{slot:?} accepted, never published")
                });
                continue;
            };
            let outcomes = self.outcomes.get(slot).map_or(&[][..], Vec::as_slice);
            self.judge_outcomes(slot, *id, owed, outcomes, verdict);
        }
        for slot in self.outcomes.keys() {
            if !self.accepted.contains_key(slot) {
                verdict.breach(Rule::OneOutcome, || {
                    format!("{slot:?} has an outcome, but was not accepted")
                });
            }
        }
    }

    fn judge_outcomes(
        &self,
        slot: &Slot<'_>,
        id: Id<'a>,
        owed: u64,
        outcomes: &[(&'a str, u32, &'a str)],
        verdict: &mut Verdict,
    ) {
        let mut seen = BTreeSet::new();
        for (node, sub, outcome) in outcomes {
            if !seen.insert((node, sub)) {
                verdict.breach(Rule::OneOutcome, || {
                    format!("{slot:?} has a second outcome at {node}/{sub}: {outcome}")
                });
            }
        }
        let count = outcomes.len() as u64;
        let lives = !self.lost.contains(&(slot.0, slot.1));
        verdict.owed += if lives { owed } else { 0 };
        if count > owed || (lives && count < owed) {
            verdict.breach(Rule::OneOutcome, || {
                format!("{slot:?} has {count} outcomes of {owed}: {outcomes:?}")
            });
        }
        let mut delivered: BTreeMap<&str, usize> = BTreeMap::new();
        for (node, _, outcome) in outcomes {
            if *outcome == "Delivered" {
                *delivered.entry(node).or_default() += 1;
            }
        }
        for (node, count) in &delivered {
            let acked = self.acked.get(&(*node, id)).map_or(0, HashSet::len);
            if *count > acked {
                verdict.breach(Rule::DeliveredMeansAcked, || {
                    format!("{slot:?} told delivered {count} times at {node}, acknowledged by {acked} there")
                });
            }
        }
        if lives && self.sent.get(&id).is_some_and(|sent| sent.calm) {
            self.judge_calm(slot, owed, delivered.values().sum(), verdict);
        }
    }

    fn judge_calm(&self, slot: &Slot<'_>, owed: u64, delivered: usize, verdict: &mut Verdict) {
        let clients = self.patterns.keys();
        let wanted = clients
            .filter(|client| self.matches(client, slot.2))
            .count();
        if owed != wanted as u64 || delivered != wanted {
            verdict.breach(Rule::Calm, || {
                format!(
                    "{slot:?} owed to {owed} and delivered to {delivered} of {wanted} subscriptions"
                )
            });
        }
    }
}

/// What one subscriber's log says, read in order.
#[derive(Default)]
struct Reader<'a> {
    /// By client and boot of its node: what any session there got, and in which session last.
    had: HashMap<(&'a str, &'a str, &'a Origin, u64), u64>,
    /// By client, session and publisher: the seq that comes next in order, and the message of each seq.
    next: HashMap<(&'a str, u64, &'a Origin), u64>,
    /// By client, boot of its node and publisher: the furthest that any session there was.
    furthest: HashMap<(&'a str, &'a str, &'a Origin), u64>,
    ids: HashMap<(&'a str, u64, &'a Origin, u64), Id<'a>>,
    /// By client and publisher: what it acknowledged or was told to be gone, which no later session of it gets.
    settled: HashSet<(&'a str, &'a Origin, u64)>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, entries: &'a [Entry], books: &mut Books<'a>, verdict: &mut Verdict) {
        for entry in entries {
            match &entry.what {
                What::Got { .. } => self.on_got(entry, books, verdict),
                What::Acked { origin, seq } => {
                    let key = (entry.client.as_str(), entry.session, origin, *seq);
                    let node = books.sessions.get(&(key.0, key.1)).map_or("", |at| at.0);
                    self.settled.insert((key.0, origin, *seq));
                    if let Some(&id) = self.ids.get(&key) {
                        books.acked.entry((node, id)).or_default().insert(key.0);
                    }
                }
                What::Gap {
                    origin,
                    from,
                    count,
                    reason,
                } => {
                    *verdict.gaps.entry(reason.clone()).or_default() += count;
                    self.on_gap(entry, origin, *from, *count, books, verdict);
                }
                _ => {}
            }
        }
    }

    fn on_got(&mut self, entry: &'a Entry, books: &Books<'a>, verdict: &mut Verdict) {
        let What::Got {
            topic,
            origin,
            seq,
            again,
            publisher,
            id,
            bytes,
            hash,
        } = &entry.what
        else {
            return;
        };
        let (client, session) = (entry.client.as_str(), entry.session);
        verdict.got += 1;
        verdict.again += u64::from(*again);
        let name =
            || format!("{client} session {session}: {topic} {origin:?} {seq} ({publisher} {id})");
        match books.sent.get(&(publisher.as_str(), *id)) {
            None => verdict.breach(Rule::Foreign, || format!("{} was never published", name())),
            Some(sent) => {
                if sent.topic != topic || !books.matches(client, topic) || sent.node != origin.0 {
                    verdict.breach(Rule::Foreign, || {
                        format!("{} belongs to {} of {}", name(), sent.topic, sent.node)
                    });
                }
                if (sent.bytes, sent.hash) != (*bytes, *hash) {
                    verdict.breach(Rule::Payload, || format!("{} is changed", name()));
                }
            }
        }
        let key = (client, session, origin, *seq);
        let first = self.ids.insert(key, (publisher, *id)).is_none();
        if !first {
            verdict.breach(Rule::Twice, || format!("{} came twice", name()));
        }
        let boot = books.boot(client, session);
        let earlier = self.had.insert((client, boot, origin, *seq), session);
        if earlier.is_some_and(|earlier| earlier != session) && !again {
            verdict.breach(Rule::Again, || {
                format!(
                    "{} came to session {earlier:?} too and is not flagged",
                    name()
                )
            });
        }
        if first && books.patterns.get(client).is_some_and(|at| at.1) {
            let next = self.expected(client, session, boot, origin, *seq);
            let is_hole = |seq| !self.settled.contains(&(client, origin, seq));
            if *seq < next || (next..*seq).any(is_hole) {
                verdict.breach(Rule::Order, || format!("{} came instead of {next}", name()));
            }
            self.reached(client, session, boot, origin, seq + 1);
        }
    }

    fn on_gap(
        &mut self,
        entry: &'a Entry,
        origin: &'a Origin,
        from: u64,
        count: u64,
        books: &Books<'a>,
        verdict: &mut Verdict,
    ) {
        let (client, session) = (entry.client.as_str(), entry.session);
        if !books.patterns.get(client).is_some_and(|at| at.1) {
            return;
        }
        let boot = books.boot(client, session);
        let next = self.expected(client, session, boot, origin, from);
        let is_hole = |seq| !self.settled.contains(&(client, origin, seq));
        if (next..from).any(is_hole) {
            verdict.breach(Rule::Order, || {
                format!(
                    "{client} session {session}: a gap of {origin:?} at {from} instead of {next}"
                )
            });
        }
        let got = (from..from + count)
            .find(|&seq| self.ids.contains_key(&(client, session, origin, seq)));
        if let Some(seq) = got {
            verdict.breach(Rule::Order, || {
                format!("{client} session {session}: a gap covers {origin:?} {seq}, which came")
            });
        }
        let gone = (from..from + count).map(|seq| (client, origin, seq));
        self.settled.extend(gone);
        self.reached(client, session, boot, origin, from + count);
    }

    /// The seq that comes next in order, now that `seq` has come. A new session on the same boot may begin anywhere up to
    /// where the last one was.
    fn expected(
        &self,
        client: &'a str,
        session: u64,
        boot: &'a str,
        origin: &'a Origin,
        seq: u64,
    ) -> u64 {
        let here = self.next.get(&(client, session, origin));
        let earlier = || self.furthest.get(&(client, boot, origin));
        match here {
            Some(&next) => next,
            None => earlier().map_or(seq, |&next| next.min(seq)),
        }
    }

    fn reached(
        &mut self,
        client: &'a str,
        session: u64,
        boot: &'a str,
        origin: &'a Origin,
        next: u64,
    ) {
        for known in [
            self.next.entry((client, session, origin)).or_default(),
            self.furthest.entry((client, boot, origin)).or_default(),
        ] {
            *known = (*known).max(next);
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
