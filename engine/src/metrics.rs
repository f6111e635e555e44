//! The counters of a shard, declared once: field, exposition name and help text come from one list. They are plain
//! integers that only their shard changes; a snapshot travels up on request. The counters of an overlay are its core's.

tidings_protocol::counters! {
    /// What one shard counts.
    ShardCounters {
        turns: "Passes of the loop",
        parks: "Times the shard slept",
        wakes_by_thread: "Sleeps ended by another thread",
        recv_calls: "recvmmsg calls that brought something",
        recv_empty: "recvmmsg calls that brought nothing",
        recv_messages: "Messages of the kernel, each a datagram or a coalesced run",
        recv_datagrams: "Datagrams received",
        recv_bytes: "Bytes of UDP payload received",
        recv_cut: "Datagrams dropped because a slot was too small or their source unusable",
        send_calls: "sendmmsg calls",
        send_datagrams: "Datagrams handed to the kernel",
        send_bytes: "Bytes of UDP payload handed to the kernel",
        send_no_room: "Sends refused for want of buffer space",
        send_too_big: "Datagrams refused for their size",
        send_refused: "Datagrams refused for any other reason",
        gso_off: "Routes on which segmentation offload was switched off",
        icmp_refused: "Port-unreachable errors read from the error queue",
        icmp_other: "Other errors read from the error queue",
        drop_header: "Datagrams dropped for their version, class or length",
        drop_overlay: "Datagrams dropped because their overlay is not here",
        drop_index: "Datagrams dropped because their receiver index is not of this boot or granted to nobody",
        drop_moved: "Datagrams dropped because what they are for had gone from the shard that they were passed to",
        wrong_shard: "Datagrams that the kernel put on this shard though another owns them",
        hello_crossed: "Handshakes passed on from the hello socket of shard 0 to the shard of their overlay",
        forward_lost: "Datagrams for another shard lost because its queue was full",
        forwarded_in: "Datagrams taken over from other shards",
        commands: "Commands of other threads",
        messages_published: "Messages accepted from local publishers",
        messages_delivered: "Messages handed to local subscribers",
        messages_crossed_in: "Messages of clients whose connection is on another shard",
        messages_crossed_out: "Messages of clients here passed on to the shard of their overlay",
        deliver_full: "Deliveries refused because the subscriber's queue was full",
        data_held: "Times the data socket was left unread for a moment because a reader was short of room",
        publish_blocked: "Times a publisher's queue had to wait for its overlay",
        outcomes_waiting: "Outcome ranges that had to wait for a full outcome queue",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_name_and_a_help_text() {
        let mut counters = ShardCounters {
            turns: 1,
            ..ShardCounters::default()
        };
        counters.add(&ShardCounters {
            turns: 2,
            gso_off: 5,
            ..ShardCounters::default()
        });
        let listed: Vec<_> = counters.each().collect();
        assert_eq!(listed[0], ("turns", "Passes of the loop", 3));
        assert!(listed.contains(&(
            "gso_off",
            "Routes on which segmentation offload was switched off",
            5
        )));
        assert!(listed.iter().all(|(_, help, _)| !help.is_empty()));
    }
}
