//! How an overlay is doing, for metrics: what no counter tells. Looked at when somebody asks, at some cost; never in a turn.

use tidings_wire::digest::MemberState;

use super::Core;
use crate::latency::Latency;

/// How an overlay is doing at one moment, as this node sees it.
#[derive(Clone, Debug)]
pub struct Health {
    /// How slow this node holds itself to be, after Lifeguard: 0 is healthy, 7 the worst. Its probes are that much slower.
    pub score: u32,
    /// Deaths are being put off: rather than that so many died, this node was cut off.
    pub partition_suspected: bool,
    /// Members by state, this node included: alive, suspect, dead, left.
    pub members: [usize; 4],
    /// Other members, alive or suspect, that lack the key that this node seals with, or seal with another.
    pub key_laggards: usize,
    /// Subscriptions of this node whose clients are there and do not keep up.
    pub slow_subscribers: usize,
    /// (message, subscription) pairs published here that have no outcome yet.
    pub ack_outstanding: u64,
    /// Round trips of probes over open links.
    pub probe_rtt: Box<Latency>,
    /// How long it took until a peer that was sent this node's view had sent what that lacks.
    pub comparisons: Box<Latency>,
}

impl Core {
    /// Goes through all members, own subscriptions, and messages outstanding.
    pub fn health(&self, now: u64) -> Health {
        let mut members = [0; 4];
        let own = match self.is_leaving() {
            true => MemberState::Left,
            false => MemberState::Alive,
        };
        members[place(own)] += 1;
        let (mut key_laggards, primary) = (0, self.keyring.primary_slot());
        for peer in self.members.iter() {
            let Some(state) = self.members.state(peer) else {
                continue;
            };
            members[place(state)] += 1;
            let lags = self.members.record(peer).is_some_and(|view| {
                view.fixed.keys & (1 << primary) == 0 || view.fixed.primary != primary
            });
            let is_live = matches!(state, MemberState::Alive | MemberState::Suspect);
            key_laggards += usize::from(lags && is_live);
        }
        Health {
            score: self.members.health_score(),
            partition_suspected: self.members.suspects_partition(now),
            members,
            key_laggards,
            slow_subscribers: self.receive.slow_subscribers(),
            ack_outstanding: self.publish.outstanding(),
            probe_rtt: self.members.probe_rtt.clone(),
            comparisons: self.members.comparisons.clone(),
        }
    }
}

// In the order of `Health::members`.
fn place(state: MemberState) -> usize {
    match state {
        MemberState::Alive => 0,
        MemberState::Suspect => 1,
        MemberState::Dead => 2,
        MemberState::Left => 3,
    }
}
