//! A policy that changes while the overlay runs holds at once, for what is there, too.

use tidings_protocol::{Outcome, Policy, PresenceKind, Profile, PublishError, Redelivery};
use tidings_tests::net::{Manner, Net, Rule, S, Told};
use tidings_wire::Class;

use crate::common::*;

fn change(net: &mut Net, n: usize, change: impl FnOnce(&mut Policy)) {
    let mut policy = net.core(n).config().policy;
    change(&mut policy);
    let set = net.drive(n, |core, now, seen| core.set_policy(now, policy, seen));
    assert!(set.is_some(), "the node runs");
}

#[test]
fn a_client_that_is_gone_has_the_new_grace_from_when_it_went() {
    for (grace, ends) in [(5 * S, true), (60 * S, false)] {
        let mut net = mesh_with(1, 2, |_, c| c.policy.client_grace = 20 * S);
        let sub = net.subscribe(1, "t", |s| s.client = "till".into());
        effective(&mut net, 1, sub);
        let handle = net.publisher(0, "t");
        net.detach(1, sub);
        publish_all(&mut net, 0, handle, &lines(3));
        net.run(10 * S);
        change(&mut net, 1, |policy| policy.client_grace = grace);
        net.run(15 * S);
        assert_eq!(
            count(&net, 0, Outcome::Unsubscribed),
            if ends { 3 } else { 0 }
        );
        net.run(40 * S);
        assert_eq!(count(&net, 0, Outcome::Unsubscribed), 3);
    }
}

#[test]
fn whom_a_restarted_node_lacks_has_the_publisher_s_new_grace() {
    let mut net = mesh_with(1, 2, |_, c| c.policy.client_grace = 60 * S);
    let sub = net.subscribe(1, "t", |s| s.client = "till".into());
    effective(&mut net, 1, sub);
    net.behave(1, sub, Manner::Keep);
    let handle = net.publisher(0, "t");
    publish_all(&mut net, 0, handle, &lines(3));
    net.run(S);
    net.kill(1);
    net.start(1);
    net.run(15 * S);
    assert_eq!(net.owing(0), 3, "it may come back");
    change(&mut net, 0, |policy| policy.client_grace = 5 * S);
    assert!(net.settle(0, S));
    assert_eq!(count(&net, 0, Outcome::Unsubscribed), 3);
}

#[test]
fn messages_for_a_dead_node_wait_for_the_new_time() {
    let mut net = mesh(1, 3);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    island(&mut net, 1, 3, Rule::CUT);
    net.run(10 * S);
    publish_all(&mut net, 0, handle, &lines(4));
    net.run(20 * S);
    assert_eq!(net.owing(0), 4);
    change(&mut net, 0, |policy| policy.park_max = 15 * S);
    assert!(net.settle(0, S));
    assert_eq!(count(&net, 0, Outcome::NodeDead), 4);
}

#[test]
fn another_redelivery_holds_for_subscriptions_that_have_none_of_their_own_here_and_elsewhere() {
    let three = Redelivery {
        attempts: 3,
        every_ms: 1_000,
    };
    // Subscriber and publisher on two nodes, and on one.
    for owner in [1, 0] {
        let mut net = mesh(1, 2);
        let own = Some(Redelivery::default());
        let takes_it = net.subscribe(owner, "t", |_| {});
        let has_its_own = net.subscribe(owner, "t", |s| s.redelivery = own);
        for sub in [takes_it, has_its_own] {
            effective(&mut net, owner, sub);
            net.behave(owner, sub, Manner::Keep);
        }
        let handle = net.publisher(0, "t");
        publish_all(&mut net, 0, handle, &lines(5));
        net.run(30 * S);
        assert_eq!(net.owing(0), 10);
        change(&mut net, owner, |policy| policy.redelivery = three);
        net.run(10 * S);
        assert_eq!(count(&net, 0, Outcome::MaxAttempts), 5);
        assert_eq!(net.owing(0), 5, "the other one waits");
        change(&mut net, owner, |policy| {
            policy.redelivery = Redelivery::default()
        });
        net.run(S);
        publish_all(&mut net, 0, handle, &lines(5));
        net.run(30 * S);
        assert_eq!(count(&net, 0, Outcome::MaxAttempts), 5);
    }
}

#[test]
fn datagrams_are_as_large_as_the_new_bound_allows_and_no_message_is_lost() {
    let mut net = mesh_with(1, 2, |_, c| c.policy.max_datagram = 1448);
    let sub = net.subscribe(1, "t", |s| s.ordered = true);
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    let mut sent = 0;
    for bound in [1448, 8952, 1200, 8952, 1448] {
        change(&mut net, 0, |policy| policy.max_datagram = bound);
        // What was laid in larger ones goes as it is; the rest of the time the path is probed.
        for n in 0..600 {
            net.publish_surely(0, handle, &bytes(3_000, n));
            net.run(S / 100);
        }
        sent += 600;
        net.keep_datagrams();
        for n in 0..20 {
            net.publish_surely(0, handle, &bytes(9_000, n));
        }
        sent += 20;
        assert!(net.settle(0, 10 * S), "{} owed at {bound}", net.owing(0));
        let fan = |bytes: &&[u8]| bytes[0] == Class::Fan.first_byte();
        let largest = net.kept_from(0).map(|(_, bytes)| bytes).filter(fan);
        assert_eq!(largest.map(<[u8]>::len).max(), Some(bound), "{bound}");
    }
    assert!(seqs(&net, 1, sub).into_iter().eq(0..sent));
}

#[test]
fn a_message_is_as_large_as_the_policy_says_now() {
    let mut net = mesh(1, 2);
    let sub = net.subscribe(1, "t", |_| {});
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    change(&mut net, 0, |policy| policy.max_message = 1_000);
    let limit = 1_000;
    let (fits, is_larger) = (vec![7; 1_000], vec![7; 1_001]);
    for singly in [false, true] {
        if singly {
            net.publish_singly();
        }
        // The second would follow the first in its datagram.
        let both = [&fits[..], &is_larger].into_iter();
        let refused = net.publish_all(0, handle, both);
        assert_eq!(refused, Err(PublishError::TooLarge { limit }));
    }
    change(&mut net, 0, |policy| policy.max_message = 4 << 20);
    let large = bytes(4 << 20, 3);
    net.publish_surely(0, handle, &large);
    assert!(net.settle(0, 10 * S));
    let sizes: Vec<usize> = net.payloads(1, sub).iter().map(Vec::len).collect();
    assert_eq!(sizes, [1_000, 1_000, 4 << 20]);
}

#[test]
fn a_smaller_store_gives_up_at_once_what_only_catch_up_needs() {
    let mut net = mesh_with(1, 3, |_, c| c.policy.retain = 64 << 20);
    let sub = net.subscribe(1, "t", |s| s.ordered = true);
    effective(&mut net, 1, sub);
    let handle = net.publisher(0, "t");
    island(&mut net, 1, 3, Rule::CUT);
    net.run(12 * S);
    for n in 0..16_000 {
        net.publish_surely(0, handle, &bytes(1_000, n));
    }
    net.run(S);
    assert_eq!(net.owing(0), 16_000);
    change(&mut net, 0, |policy| policy.retain = 8 << 20);
    let (stored, _) = net.core(0).memory();
    assert!(stored <= 8 << 20, "{stored}");
    net.run(S);
    let lost = count(&net, 0, Outcome::Overflow);
    assert!((8_000..11_000).contains(&lost), "{lost}");
    net.all_links(Rule::GOOD);
    assert!(net.settle(0, 30 * S));
    assert_eq!(got(&net, 1, sub).len() as u64, 16_000 - lost);
}

#[test]
fn a_suspect_has_the_time_of_the_new_profile_from_when_it_became_one() {
    for (profile, soon) in [(Profile::LAN, true), (Profile::WAN, false)] {
        let mut net = mesh_with(1, 3, |_, c| c.policy.profile = Profile::WAN);
        island(&mut net, 2, 3, Rule::CUT);
        let victim = net.id(2);
        let told = |net: &Net, wanted: PresenceKind| {
            let told = &net.seen(0).told;
            told.iter()
                .any(|(_, told)| matches!(told, Told::Presence(kind, node) if *kind == wanted && *node == victim))
        };
        assert!(net.run_till(30 * S, |net| told(net, PresenceKind::Quarantine)));
        net.run(9 * S);
        assert!(!told(&net, PresenceKind::Unreachable));
        for n in 0..2 {
            change(&mut net, n, |policy| policy.profile = profile);
        }
        net.run(S);
        assert_eq!(told(&net, PresenceKind::Unreachable), soon);
        net.run(60 * S);
        assert!(told(&net, PresenceKind::Unreachable));
    }
}
