//! What the tests of delivery share.

use tidings_protocol::{CoreConfig, Outcome};
use tidings_tests::net::{Got, MS, Net, Rule, S, Told};
use tidings_wire::Class;

/// `count` nodes that know each other.
pub(crate) fn mesh(seed: u64, count: usize) -> Net {
    mesh_with(seed, count, |_, _| {})
}

/// The same with a say in each node's configuration.
pub(crate) fn mesh_with(
    seed: u64,
    count: usize,
    configure: impl Fn(usize, &mut CoreConfig) + 'static,
) -> Net {
    let mut net = Net::with(seed, count, configure);
    let whole = |net: &Net| {
        (0..count).all(|n| net.core(n).is_synced() && net.core(n).members().len() == count)
    };
    assert!(net.run_till(10 * S, whole), "seed {seed}: nodes meet");
    net.run(S);
    net
}

/// Lets a subscription become effective.
pub(crate) fn effective(net: &mut Net, n: usize, sub: u32) {
    let told = |net: &Net| {
        net.seen(n)
            .told
            .iter()
            .any(|(_, told)| matches!(told, Told::Subscribed(s, missing) if *s == sub && missing.is_empty()))
    };
    assert!(net.run_till(5 * S, told), "the subscription is effective");
}

/// Payloads that differ.
pub(crate) fn lines(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| format!("line {n} {}", "x".repeat(n % 90)).into_bytes())
        .collect()
}

/// Bytes that do not repeat soon.
pub(crate) fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Publishes all, one a turn, waiting for room.
pub(crate) fn publish_all(net: &mut Net, n: usize, handle: u32, payloads: &[Vec<u8>]) {
    for payload in payloads {
        net.publish_surely(n, handle, payload);
    }
}

/// Publishes all, `every` ns apart.
pub(crate) fn publish_slowly(
    net: &mut Net,
    n: usize,
    handle: u32,
    payloads: &[Vec<u8>],
    every: u64,
) {
    for payload in payloads {
        net.publish_surely(n, handle, payload);
        net.run(every);
    }
}

/// The same payloads in any order.
pub(crate) fn same(mut got: Vec<Vec<u8>>, sent: &[Vec<u8>]) -> bool {
    let mut sent = sent.to_vec();
    got.sort_unstable();
    sent.sort_unstable();
    got == sent
}

/// How many (message, subscription) pairs a node's publishers were told to have ended so.
pub(crate) fn count(net: &Net, n: usize, outcome: Outcome) -> u64 {
    net.outcomes(n).get(&outcome).copied().unwrap_or(0)
}

pub(crate) fn delivered(net: &Net, n: usize) -> u64 {
    count(net, n, Outcome::Delivered)
}

/// What a subscription got.
pub(crate) fn got(net: &Net, n: usize, sub: u32) -> Vec<&Got> {
    net.seen(n)
        .got
        .iter()
        .filter(|got| got.sub == sub)
        .collect()
}

pub(crate) fn seqs(net: &Net, n: usize, sub: u32) -> Vec<u64> {
    got(net, n, sub).iter().map(|got| got.seq).collect()
}

/// Gaps told to a subscription: (from, to, reason).
pub(crate) fn gaps(net: &Net, n: usize, sub: u32) -> Vec<(u64, u64, Outcome)> {
    net.seen(n)
        .told
        .iter()
        .filter_map(|(_, told)| match told {
            Told::Gap(s, _, from, to, reason) if *s == sub => Some((*from, *to, *reason)),
            _ => None,
        })
        .collect()
}

/// Outcomes told to a node's publishers, one a message: (when, seq, outcome).
pub(crate) fn outcomes_of(net: &Net, n: usize, handle: u32) -> Vec<(u64, u64, Outcome)> {
    let mut all = Vec::new();
    for (at, told) in &net.seen(n).told {
        if let Told::Outcome(h, _, _, from, to, outcome) = told
            && *h == handle
        {
            all.extend((*from..*to).map(|seq| (*at, seq, *outcome)));
        }
    }
    all
}

/// Datagrams that can carry payload: FAN and BULK.
pub(crate) fn payload_datagrams(net: &Net, from: usize, to: usize) -> u64 {
    net.datagrams(from, to, Class::Fan) + net.datagrams(from, to, Class::Bulk)
}

/// Cuts a node off from all others, or joins it again with `rule`.
pub(crate) fn island(net: &mut Net, n: usize, count: usize, rule: Rule) {
    for other in (0..count).filter(|other| *other != n) {
        net.link(n, other, rule);
    }
}

/// Everything owed is told, nothing is kept anywhere: what must be true when all is quiet.
pub(crate) fn assert_quiet(net: &mut Net, nodes: &[usize]) {
    net.run(3 * S);
    for &n in nodes {
        assert!(net.core(n).is_settled(), "node {n} is settled");
        assert!(
            net.core(n).memory() == (0, 0),
            "node {n} keeps {:?}",
            net.core(n).memory()
        );
    }
}

/// The rules that most tests run under.
pub(crate) const RULES: [Rule; 2] = [Rule::GOOD, Rule::HOSTILE];

/// A little time.
pub(crate) const SOON: u64 = 200 * MS;
