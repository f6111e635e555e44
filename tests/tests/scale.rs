//! Neither traffic nor memory grows with the number of members: what `scale` measures with thousands, with few.

use tidings_protocol::PresenceKind;
use tidings_tests::scale::heap::Heap;
use tidings_tests::scale::run::measure_quiet;
use tidings_tests::scale::world::{MS, S, World};

#[global_allocator]
static HEAP: Heap = Heap;

#[test]
fn twice_the_members_cost_a_node_hardly_more_bytes_a_second_and_no_more_memory_each() {
    let (few, many) = (measure_quiet(1, 30), measure_quiet(1, 60));
    // Most often a fifth of a second; who is missed by the first round of gossip is found by the rounds of seeds, every 2 s.
    assert!(few.join_view.is_some_and(|secs| secs < 5.0), "{few:?}");
    assert!(many.join_view.is_some_and(|secs| secs < 5.0), "{many:?}");
    // What grows with the members makes it two, what grows with their square four.
    assert!(
        many.steady.bytes < 1.3 * few.steady.bytes,
        "{few:?} {many:?}"
    );
    assert!(
        many.member_bytes < 1.1 * few.member_bytes,
        "{few:?} {many:?}"
    );
}

#[test]
fn a_thousand_nodes_that_start_within_a_second_are_one_view_soon_and_call_nobody_dead() {
    const NODES: usize = 1000;
    let mut world = World::new(1, NODES);
    for n in 0..NODES {
        world.start(n);
        world.run(S / NODES as u64);
    }
    let began = world.now();
    while !world.is_one_view() {
        assert!(world.now() < began + 60 * S, "not all know each other");
        world.run(10 * MS);
    }
    let died = |kind| kind == PresenceKind::Unreachable;
    assert!(!world.sights.iter().any(|sight| died(sight.kind)));
}
