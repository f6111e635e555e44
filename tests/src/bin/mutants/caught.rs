//! What is known to catch which mutant, the quickest first.

use std::fmt;

use tidings_wire::mutants::Mutant::{self, *};

/// What catches a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// One of so many seeds of the simulator, from 0 on.
    Seeds(u64),
    /// A test of a suite.
    Test(&'static str, &'static str),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::Seeds(count) => write!(f, "the simulator's seeds 0..{count}"),
            By::Test(suite, test) => write!(f, "`{suite}` {test}"),
        }
    }
}

const fn epochs(test: &'static str) -> By {
    By::Test("epochs", test)
}

const fn vectors(test: &'static str) -> By {
    By::Test("vectors", test)
}

const fn props(test: &'static str) -> By {
    By::Test("props", test)
}

const fn delivery(test: &'static str) -> By {
    By::Test("delivery", test)
}

const fn core(test: &'static str) -> By {
    By::Test("tidings_protocol", test)
}

/// Catchers of each. Whatever finds a fault by the course of a seed or an input may miss it when that changes: others stand by.
#[rustfmt::skip]
pub(crate) const CAUGHT: &[(Mutant, By)] = &[
    (MarkedUnopened, props("headers_are_their_bytes_and_only_what_was_sealed_opens")),
    (MarkedUnopened, epochs("the_next_epoch_opens_and_the_one_after_does_not")),
    (WindowEdge, props("windows_say_what_sets_say")),
    (WindowEdge, epochs("counters_behind_the_window_are_stale")),
    (StreamWindowEdge, props("windows_say_what_sets_say")),
    (StreamWindowEdge, epochs("counters_behind_the_window_are_stale")),
    (JumpKeepsBits, props("windows_say_what_sets_say")),
    (JumpKeepsBits, By::Test("tidings_wire", "window::tests::a_replay_window_says_what_a_set_says")),
    (CounterTwice, By::Seeds(12)),
    (CounterTwice, epochs("a_link_crosses_an_epoch_in_any_order")),
    (OneEpoch, vectors("links")),
    (OneDirection, epochs("every_part_of_an_identity_is_bound_into_the_keys")),
    (BootUnbound, epochs("every_part_of_an_identity_is_bound_into_the_keys")),
    (HeaderUnsealed, By::Test("mutations", "every_flip_of_a_single_bit_is_refused")),
    (HeaderUnsealed, By::Seeds(32)),

    (SecretKept, core("links::tests::a_replayed_h1_leaves_nothing_and_a_replayed_h3_installs_nothing")),
    (SecretKept, core("links::handshake::tests::a_nonce_verifies_for_its_introduction_and_address_until_its_secret_is_two_rotations_old")),
    (CounterIgnored, By::Seeds(32)),
    (CounterIgnored, core("links::installed::tests::only_a_higher_counter_of_the_same_boot_is_admitted")),
    (AddressUnbound, core("links::tests::an_h3_from_another_address_than_its_h1_is_refused")),
    (AddressUnbound, core("links::handshake::tests::a_nonce_verifies_for_its_introduction_and_address_until_its_secret_is_two_rotations_old")),
    (DuplicateUnheard, core("links::tests::a_datagram_that_comes_twice_is_acknowledged_again")),
    (StreamDuplicateUnheard, delivery("transport::a_datagram_that_comes_twice_is_acknowledged_twice_at_once")),
    (AddressBelieved, core("links::tests::a_datagram_that_somebody_passes_on_from_his_own_address_moves_nobody")),
    (AddressBelieved, props("no_handshake_locks_a_pair_out_or_leaves_anything_behind")),
    (OldStreamsHeard, delivery("restart::what_an_earlier_life_published_is_refused_after_it_though_it_is_news")),
    (SessionStolen, delivery("transport::a_publisher_whose_session_another_has_at_one_node_draws_again_and_nothing_is_lost")),
    (SessionStolen, core("core::streams::tests::a_stream_of_another_key_suite_lane_or_sender_is_refused")),

    (DeadMerged, core("members::tests::dead_by_anti_entropy_is_a_suspicion_and_nobody_leaves_by_anothers_word")),
    (RefutedInPlace, By::Seeds(12)),
    (RefutedInPlace, core("members::own::tests::a_record_is_issued_once_per_change_and_only_with_a_known_generation")),
    (OlderIsNews, By::Seeds(12)),
    (OlderIsNews, core("members::tests::old_statements_replayed_change_nothing")),
    (SuspectDies, core("members::tests::a_silent_node_is_suspected_then_dead_everywhere_and_nobody_else_is")),
    (SuspectDies, core("members::suspicion::tests::confirmations_shorten_the_timeout_and_the_same_accuser_does_not")),
    (NobodyAsked, core("members::tests::a_path_cut_in_one_direction_kills_nobody")),
    (SeedsOnce, props("no_handshake_locks_a_pair_out_or_leaves_anything_behind")),
    (SeedsOnce, core("members::seeds::tests::seeds_are_tried_every_round_and_the_cache_only_when_they_are_silent")),
    (LeftByOthers, core("members::tests::dead_by_anti_entropy_is_a_suspicion_and_nobody_leaves_by_anothers_word")),
    (AnyIncarnation, core("members::tests::a_forged_accusation_at_the_end_of_numbers_is_refused_by_all")),
    (NoBrake, core("members::tests::a_node_cut_off_from_all_kills_few_and_recovers")),

    (StaleTable, core("tables::remote::tests::an_increment_that_does_not_fit_is_refused")),
    (TableOnlyGrows, props("whatever_owners_and_networks_do_the_books_are_right")),
    (TableOnlyGrows, core("tables::remote::tests::named_subscriptions_of_an_earlier_boot_are_missed_not_dropped")),
    (TableAckedEarly, delivery("contract::a_table_of_many_pages_is_confirmed_when_the_last_has_come")),
    (RouteKept, By::Seeds(12)),
    (RouteKept, props("whatever_owners_and_networks_do_the_books_are_right")),
    (PublishedUnsynced, delivery("contract::publish_waits_at_most_five_seconds_for_somebody_to_join")),

    (FreedEarly, delivery("catchup::clients_that_come_and_go_often_lose_nothing")),
    (FreedEarly, delivery("catchup::catch_up_keeps_the_original_ids_and_is_no_second_copy")),
    (FailedIsDelivered, By::Seeds(12)),
    (FailedIsDelivered, props("whatever_owners_and_networks_do_the_books_are_right")),
    (FailedIsDelivered, delivery("redelivery::a_client_that_holds_messages_fails_each_once_at_its_time")),
    (QueueCounts, delivery("redelivery::what_waits_for_a_slow_node_while_another_has_it_long_uses_up_no_attempt")),
    (OneAttemptMore, delivery("redelivery::a_client_that_holds_messages_fails_each_once_at_its_time")),
    (BacklogUntold, delivery("catchup::a_node_that_is_back_is_told_at_once_what_it_is_owed")),
    (ParkedForEver, delivery("redelivery::the_publisher_is_told_when_parking_ends_by_time")),
    (LiveGivenUp, delivery("slow::publish_would_block_only_while_live_or_blocking_subscriptions_need_everything")),
    (CreditIgnored, delivery("transport::in_flight_stays_below_the_credit")),
    (BitmapShifted, props("acknowledgements_add_up")),
    (BitmapShifted, core("publish::node::tests::an_acknowledgement_counts_each_byte_once")),
    (TailUnasked, delivery("transport::heartbeats_find_a_lost_tail")),
    (TailUnasked, By::Seeds(32)),
    (NoGrace, delivery("redelivery::a_named_client_s_subscription_outlives_it_for_the_grace_only")),
    (NoGrace, delivery("restart::a_killed_subscriber_misses_nothing_and_its_duplicates_are_flagged")),

    (AckedUnread, By::Seeds(12)),
    (AckedUnread, delivery("contract::delivered_means_that_the_application_acknowledged")),
    (AckedUntaken, delivery("contract::a_closed_publisher_takes_nothing_and_its_messages_keep_their_guarantees")),
    (AckedUntaken, delivery("catchup::a_deferred_subscription_stops_no_other_on_its_node")),
    (FlagLost, delivery("catchup::a_client_that_detaches_gets_what_it_had_not_acknowledged_again_and_flagged")),
    (FlagLost, core("receive::intake::tests::a_detached_client_s_unacknowledged_messages_come_again")),
    (FlagLost, By::Seeds(32)),
    (HoleUntold, delivery("redelivery::what_the_store_cannot_park_is_reported_to_both_sides")),
    (HoleUntold, delivery("redelivery::the_publisher_is_told_when_parking_ends_by_time")),
    (HoleUntold, By::Seeds(32)),
    (OrderBroken, props("whatever_owners_and_networks_do_the_books_are_right")),
    (OrderBroken, core("receive::intake::tests::an_ordered_one_holds_what_is_ahead_of_a_hole")),
    (UnackedForgotten, delivery("catchup::a_client_that_detaches_gets_what_it_had_not_acknowledged_again_and_flagged")),
    (UnackedForgotten, core("receive::intake::tests::a_detached_client_s_unacknowledged_messages_come_again")),
    (PartsMixed, props("parts_make_the_message_that_they_are_of")),
    (PartsMixed, core("receive::reassembly::tests::what_was_begun_ends_and_what_finds_no_room_can_be_fetched")),
    (OldPublisher, delivery("restart::a_publisher_that_restarts_is_another_and_its_subscribers_go_on")),
    (OldPublisher, By::Seeds(12)),
    (ChannelSkips, core("links::channel::tests::every_digest_arrives_once_and_in_order_through_loss_duplicates_and_reordering")),
    (ChannelSkips, delivery("contract::a_hostile_network_changes_nothing_for_an_ordered_subscription")),
    (ChannelSkips, By::Seeds(12)),
];
