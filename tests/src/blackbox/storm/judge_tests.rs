//! Forged logs: each sentence of the contract, broken, is found, and nothing else with it.

use super::*;

/// A publisher on node N, a subscriber to everything on node M, ordered: one message, all as it should be.
fn honest() -> Vec<Entry> {
    let talker = |what| entry("p", 1, what);
    let listener = |what| entry("s", 1, what);
    let mut log = vec![
        talker(attached("N", "n1")),
        sent(0, 7),
        accepted(0, 1),
        sent(1, 8),
        accepted(1, 1),
    ];
    log.extend([outcome(0, "Delivered"), outcome(1, "Delivered")]);
    log.extend([
        listener(What::Subscribe {
            pattern: "storm.*".into(),
            ordered: true,
        }),
        listener(attached("M", "m1")),
        got(1, 0, 7, false),
        acked(1, 0),
        got(1, 1, 8, false),
        acked(1, 1),
    ]);
    log
}

fn entry(client: &str, session: u64, what: What) -> Entry {
    Entry {
        at: 0,
        client: client.into(),
        session,
        what,
    }
}

fn attached(node: &str, boot: &str) -> What {
    What::Attached {
        node: node.into(),
        boot: boot.into(),
    }
}

fn origin() -> Origin {
    Origin("N".into(), "n1".into(), 3)
}

fn sent(seq: u64, hash: u64) -> Entry {
    let what = What::Sent {
        id: seq,
        topic: "storm.p".into(),
        seq,
        bytes: 10,
        hash,
        calm: true,
    };
    entry("p", 1, what)
}

fn accepted(from: u64, owed: u64) -> Entry {
    let what = What::Accepted {
        topic: "storm.p".into(),
        from,
        count: 1,
        owed,
    };
    entry("p", 1, what)
}

fn outcome(from: u64, outcome: &str) -> Entry {
    let what = What::Outcome {
        topic: "storm.p".into(),
        node: "M".into(),
        sub: 4,
        from,
        count: 1,
        outcome: outcome.into(),
    };
    entry("p", 1, what)
}

fn got(session: u64, seq: u64, hash: u64, again: bool) -> Entry {
    let what = What::Got {
        topic: "storm.p".into(),
        origin: origin(),
        seq,
        again,
        publisher: "p".into(),
        id: seq,
        bytes: 10,
        hash,
    };
    entry("s", session, what)
}

fn acked(session: u64, seq: u64) -> Entry {
    let origin = origin();
    entry("s", session, What::Acked { origin, seq })
}

fn gap(from: u64, count: u64) -> Entry {
    let what = What::Gap {
        origin: origin(),
        from,
        count,
        reason: "Overflow".into(),
    };
    entry("s", 1, what)
}

/// The honest log without these of its lines.
fn without(lines: &[usize]) -> Vec<Entry> {
    let all = honest().into_iter().enumerate();
    all.filter(|(at, _)| !lines.contains(at))
        .map(|(_, entry)| entry)
        .collect()
}

#[track_caller]
fn broken(log: &[Entry], rules: &[Rule]) {
    let verdict = judge(log);
    let found: BTreeSet<Rule> = verdict.breaches.iter().map(|breach| breach.rule).collect();
    assert_eq!(found, rules.iter().copied().collect(), "{verdict}");
}

#[test]
fn an_honest_log_is_found_so() {
    let verdict = judge(&honest());
    assert_eq!(verdict.count(), 0, "{verdict}");
    assert_eq!(
        (verdict.sent, verdict.accepted, verdict.owed, verdict.got),
        (2, 2, 2, 2)
    );
}

#[test]
fn an_outcome_that_is_missing_doubled_or_not_owed_is_found() {
    broken(&without(&[6]), &[Rule::OneOutcome, Rule::Calm]);
    let log = [honest(), vec![outcome(1, "Expired")]].concat();
    broken(&log, &[Rule::OneOutcome]);
    let log = [honest(), vec![outcome(5, "Expired")]].concat();
    broken(&log, &[Rule::OneOutcome]);
}

#[test]
fn a_session_that_was_lost_is_owed_nothing_more() {
    let lost = entry("p", 1, What::Lost { why: String::new() });
    let log = [without(&[4, 6, 11, 12]), vec![lost]].concat();
    broken(&log, &[]);
}

#[test]
fn a_message_that_is_never_accepted_or_twice_is_found() {
    broken(&without(&[4, 6, 11, 12]), &[Rule::Accepted]);
    let log = [honest(), vec![accepted(1, 1)]].concat();
    broken(&log, &[Rule::Accepted]);
    broken(&without(&[3, 11, 12]), &[Rule::Accepted]);
}

#[test]
fn delivered_without_an_acknowledgement_is_found() {
    broken(&without(&[12]), &[Rule::DeliveredMeansAcked]);
    // Told by another subscription of the node, which nobody there acknowledged for.
    let mut second = outcome(1, "Delivered");
    if let What::Outcome { sub, .. } = &mut second.what {
        *sub = 5;
    }
    let mut log = honest();
    log[4] = accepted(1, 2);
    log.push(second);
    broken(&log, &[Rule::DeliveredMeansAcked, Rule::Calm]);
}

#[test]
fn what_comes_out_of_order_or_with_a_hole_is_found() {
    let mut log = honest();
    log.swap(9, 11);
    log.swap(10, 12);
    broken(&log, &[Rule::Order]);
    let log = [honest(), vec![got(1, 3, 9, false)]].concat();
    broken(&log, &[Rule::Order, Rule::Foreign]);
    let log = [honest(), vec![gap(3, 1)]].concat();
    broken(&log, &[Rule::Order]);
    let log = [honest(), vec![gap(1, 2)]].concat();
    broken(&log, &[Rule::Order]);
    let log = [honest(), vec![gap(2, 2)]].concat();
    broken(&log, &[]);
}

#[test]
fn a_copy_within_a_session_is_found() {
    let log = [honest(), vec![got(1, 1, 8, true)]].concat();
    broken(&log, &[Rule::Twice]);
}

#[test]
fn a_copy_for_a_new_session_must_be_flagged_unless_the_node_began_anew() {
    let again = |boot, flag| {
        let attached = entry("s", 2, attached("M", boot));
        [honest(), vec![attached, got(2, 1, 8, flag)]].concat()
    };
    broken(&again("m1", false), &[Rule::Again]);
    broken(&again("m1", true), &[]);
    broken(&again("m2", false), &[]);
}

#[test]
fn a_new_session_begins_where_the_last_was_not_done() {
    let next = |boot, seq: u64| {
        let attached = entry("s", 2, attached("M", boot));
        let mut log = [honest(), vec![attached]].concat();
        log.extend([sent(2, 1), accepted(2, 0), sent(3, 1), accepted(3, 0)]);
        log.push(got(2, seq, 1, false));
        log.retain(|entry| {
            // Nobody is owed what was published meanwhile.
            !matches!(entry.what, What::Sent { calm: true, id, .. } if id > 1)
        });
        log
    };
    let orders = |log: &[Entry]| {
        let breaches = judge(log).breaches;
        breaches.iter().filter(|b| b.rule == Rule::Order).count()
    };
    assert_eq!(orders(&next("m1", 2)), 0);
    assert_eq!(orders(&next("m1", 3)), 1, "2 never came");
    assert_eq!(orders(&next("m2", 3)), 0, "a new boot begins anew");
    // What was acknowledged before is not missing.
    let attached = entry("s", 2, attached("M", "m1"));
    let mut log = without(&[10]);
    log.extend([attached, got(2, 0, 7, true), got(2, 2, 1, false)]);
    assert_eq!(orders(&log), 0);
}

#[test]
fn a_payload_that_changed_is_found() {
    let mut log = honest();
    log[11] = got(1, 1, 9, false);
    broken(&log, &[Rule::Payload]);
}

#[test]
fn what_nobody_published_or_another_topic_or_node_is_found() {
    let changed = |change: &dyn Fn(&mut What)| {
        let mut log = honest();
        change(&mut log[11].what);
        change(&mut log[12].what);
        log
    };
    let log = changed(&|what| {
        if let What::Got { publisher, .. } = what {
            *publisher = "x".into();
        }
    });
    broken(&log, &[Rule::Foreign, Rule::DeliveredMeansAcked]);
    let log = changed(&|what| {
        if let What::Got { topic, .. } = what {
            *topic = "storm.q".into();
        }
    });
    broken(&log, &[Rule::Foreign]);
    let log = changed(&|what| {
        if let What::Got { origin, .. } | What::Acked { origin, .. } = what {
            origin.0 = "O".into();
        }
    });
    broken(&log, &[Rule::Foreign]);
    let mut log = honest();
    log[7].what = What::Subscribe {
        pattern: "storm.q".into(),
        ordered: true,
    };
    broken(&log, &[Rule::Foreign, Rule::Calm]);
}

#[test]
fn a_calm_message_that_is_not_delivered_is_found() {
    let mut log = honest();
    log[6] = outcome(1, "Expired");
    broken(&log, &[Rule::Calm]);
}
