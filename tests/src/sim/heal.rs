//! The second phase: a core of the nodes is healed, the rest stays dead for ever. Within bounded virtual time the core must
//! be whole: one view, tables level, everything settled, new messages delivered.

use tidings_protocol::{Core, Member, MemberState};

use super::apps::{TOPICS, payload};
use super::desk::Manner;
use super::node::Node;
use super::plan::{Disk, Fault};
use super::world::World;
use super::{MS, S};
use crate::books::SubId;

/// Time within which the core must be whole.
const BOUND: u64 = 60 * S;
/// Time within which the messages of afterwards must be delivered.
const PROBES: u64 = 10 * S;
/// After this all memory must be given back.
const QUIET: u64 = 5 * S;

impl World {
    /// Heals, and panics with what is not well in time.
    pub(crate) fn heal(&mut self) {
        let begin = self.net.now;
        self.healing = true;
        self.net.heal();
        for n in 0..self.nodes.len() {
            self.mend(n);
        }
        for n in self.core_nodes() {
            self.calm_clients(n);
        }
        let mut wrong = self.wrong();
        while let Some(what) = wrong {
            if self.net.now >= begin + BOUND {
                self.tell_peers();
            }
            assert!(
                self.net.now < begin + BOUND,
                "not whole again after {} s: {what}",
                BOUND / S
            );
            self.run_until(self.net.now + 250 * MS);
            wrong = self.wrong();
        }
        self.coverage.healed = (self.net.now - begin) / MS;
        self.probe();
        self.run_until(self.net.now + QUIET);
        if self.all_whole() {
            self.quiet();
        }
        let end = begin + self.plan.options.secs * S / 3;
        if self.net.now < end {
            self.run_until(end);
        }
    }

    // How each stands to each, for the trace.
    fn tell_peers(&self) {
        for n in self.core_nodes() {
            let Some(core) = &self.nodes[n].core else {
                continue;
            };
            self.tell(n, || format!("refused {:?}", core.refusals()));
            for (member, peer) in core.members().iter().skip(1).zip(core.peers()) {
                self.tell(n, || format!("knows {member:?}, {peer:?}"));
            }
        }
    }

    fn is_core(&self, n: usize) -> bool {
        self.plan.core >> n & 1 == 1
    }

    fn core_nodes(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|n| self.is_core(*n)).collect()
    }

    // Nobody is gone, and nobody was there who should not have been.
    fn all_whole(&self) -> bool {
        self.core_nodes().len() == self.nodes.len() && !self.plan.has(Fault::Insider)
    }

    fn mend(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let turn = self.plan.nodes[n].turn;
        (node.paused, node.turn) = (0, turn);
        if !self.is_core(n) {
            return self.kill(n, Disk::Kept);
        }
        if self.nodes[n].leaving {
            self.kill(n, Disk::Kept);
        }
        if self.nodes[n].is_up() {
            self.schedule(n);
        } else {
            self.start(n);
        }
    }

    fn calm_clients(&mut self, n: usize) {
        for wish in &mut self.nodes[n].apps.wishes {
            wish.manner = Manner::Prompt;
        }
        self.clients_return(n);
        let subs: Vec<u32> = self.nodes[n].desk.clients.keys().copied().collect();
        for sub in subs {
            let Some(client) = self.nodes[n].desk.clients.get_mut(&sub) else {
                continue;
            };
            (client.manner, client.room) = (Manner::Prompt, u32::MAX);
            let ignored = std::mem::take(&mut client.ignored);
            client.kept.extend(ignored);
            self.drive(n, |core, _, desk| core.ready(sub, desk));
            self.acknowledge_all(n, sub);
        }
    }

    // What is not as it must be, if anything.
    fn wrong(&self) -> Option<String> {
        let nodes = self.core_nodes();
        let mut dead = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            if !self.is_core(n) {
                dead.push(node.id);
            }
        }
        for &n in &nodes {
            let node = &self.nodes[n];
            let Some(core) = &node.core else {
                return Some(format!("n{n} is down"));
            };
            if let Some(wrong) = self.wrong_view(n, core) {
                return Some(wrong);
            }
            let owing = if self.plan.has(Fault::Insider) {
                0
            } else {
                self.books.unsettled((node.id, node.boot), &dead)
            };
            if owing > 0 {
                return Some(format!("n{n} owes {owing} outcomes"));
            }
            for topic in TOPICS {
                let (owed, all) = (core.owed(topic), self.matching(topic));
                if owed < all || (owed > all && self.all_whole()) {
                    return Some(format!("n{n} owes {topic} to {owed} of {all}"));
                }
            }
        }
        None
    }

    fn wrong_view(&self, n: usize, core: &Core) -> Option<String> {
        let members = core.members();
        if !core.is_synced() {
            return Some(format!("n{n} is not synced"));
        }
        for (other, of) in self.nodes.iter().enumerate().filter(|(o, _)| *o != n) {
            let member = members.iter().find(|member| member.node == of.id);
            let wrong = match (self.is_core(other), member) {
                (true, None) => Some("does not know".to_owned()),
                (true, Some(member)) => wrong_member(member, of),
                (false, Some(member)) => {
                    let gone = matches!(member.state, MemberState::Dead | MemberState::Left);
                    (!gone).then(|| format!("still has {:?}", member.state))
                }
                (false, None) => None,
            };
            if let Some(wrong) = wrong {
                return Some(format!("n{n}: {wrong} n{other}"));
            }
        }
        let peers = core.peers();
        let links = peers.iter().filter(|peer| peer.address.is_some());
        let nodes = self.core_nodes();
        let linked = links.filter(|peer| nodes.iter().any(|n| self.nodes[*n].id == peer.node));
        let count = linked.count();
        (count + 1 != nodes.len()).then(|| format!("n{n} has {count} links"))
    }

    // Subscriptions at the core's nodes that a topic is owed to.
    fn matching(&self, topic: &str) -> usize {
        let nodes = self.core_nodes();
        nodes
            .iter()
            .map(|n| self.books.matching(self.nodes[*n].id, topic).count())
            .sum()
    }

    fn publish_surely(&mut self, n: usize, (handle, topic): (u32, &'static str), end: u64) -> u64 {
        let payload = payload(n as u64, 100 * n);
        let (seq, _) = loop {
            match self.publish_one(n, (handle, topic), &payload) {
                Ok(taken) => break taken,
                Err(error) => {
                    assert!(self.net.now < end, "n{n} cannot publish: {error:?}");
                    self.run_until(self.net.now + 50 * MS);
                }
            }
        };
        self.finish(n);
        seq
    }

    // Subscriptions to a topic at nodes of the core.
    fn core_subs(&self, topic: &str) -> Vec<(usize, SubId)> {
        let at = |n: usize| {
            let node = self.nodes[n].id;
            let subs = self.books.matching(node, topic);
            subs.map(move |sub| (n, (node, sub)))
        };
        self.core_nodes().into_iter().flat_map(at).collect()
    }

    // New messages go to whom they must.
    fn probe(&mut self) {
        let end = self.net.now + PROBES;
        let mut sent = Vec::new();
        for n in self.core_nodes() {
            for topic in [TOPICS[n % TOPICS.len()], TOPICS[(n + 3) % TOPICS.len()]] {
                let opened = self.drive(n, |core, _, _| core.open_publisher(topic));
                let handle = opened.and_then(Result::ok).expect("a publisher opens");
                let seq = self.publish_surely(n, (handle, topic), end);
                sent.push((n, handle, topic, seq));
            }
        }
        loop {
            // A subscription that waits for little more than a second may give up what a path that was just mended carries late.
            for (n, handle, topic, seq) in &mut sent {
                let id = (self.nodes[*n].publisher(*handle), *seq);
                let mut subs = self.core_subs(topic).into_iter();
                if subs.any(|(_, sub)| self.books.is_given_up(id, sub)) {
                    *seq = self.publish_surely(*n, (*handle, topic), end);
                }
            }
            let late = sent.iter().find_map(|(n, handle, topic, seq)| {
                let id = (self.nodes[*n].publisher(*handle), *seq);
                let mut subs = self.core_subs(topic).into_iter();
                let late = subs.find(|(_, sub)| !self.books.is_done(id, *sub));
                late.map(|(to, _)| format!("message {seq} of n{n} on {topic} for n{to}"))
            });
            let Some(late) = late else {
                break;
            };
            if self.net.now >= end {
                self.tell_peers();
            }
            assert!(
                self.net.now < end,
                "{late} was not delivered in {} s",
                PROBES / S
            );
            self.run_until(self.net.now + 100 * MS);
        }
    }

    // Nothing is kept anywhere.
    fn quiet(&self) {
        for (n, node) in self.nodes.iter().enumerate() {
            let Some(core) = &node.core else {
                continue;
            };
            assert!(core.is_settled(), "n{n} is settled");
            assert!(
                core.memory() == (0, 0),
                "n{n} keeps {:?} bytes",
                core.memory()
            );
        }
    }
}

fn wrong_member(member: &Member, of: &Node) -> Option<String> {
    let table = of.core.as_ref().map_or(0, |core| core.table().0);
    if member.state != MemberState::Alive {
        Some(format!("has {:?}", member.state))
    } else if member.boot != of.boot {
        Some("has an old boot of".to_owned())
    } else if member.table != (table, table) {
        Some(format!("has tables {:?} of {table} of", member.table))
    } else {
        None
    }
}
