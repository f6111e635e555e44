//! Steps of the protocol core, on two cores that have met: see `pair.rs`.

use tidings_wire::Suite;

use super::{DATAGRAM, DATAGRAMS, Step, messages};
use crate::pair::Pair;

/// Turns before the first run: windows and stores have grown by then to what they stay.
const WARM: usize = 128;
/// Time without a message until everything is acknowledged.
const SETTLE_NS: u64 = 1_000_000;
/// Times a run's datagrams behind one acknowledgement: at full load one comes for some 500.
const BEHIND_ONE: usize = 8;

/// A pair with as many messages as fill the datagrams of a run.
struct Ready {
    pair: Pair,
    payload: Vec<u8>,
    count: usize,
}

impl Ready {
    fn new(size: usize) -> Self {
        let mut ready = Self {
            pair: Pair::new(Suite::Aes256Gcm, DATAGRAM),
            payload: vec![7; size],
            count: DATAGRAMS * messages(size),
        };
        for _ in 0..WARM {
            ready.exchange();
        }
        ready.settle();
        ready
    }

    fn publish(&mut self) {
        let done = self.pair.publish(&self.payload, self.count);
        assert_eq!(done, self.count, "there is room after everything settled");
    }

    fn exchange(&mut self) {
        self.pair.run(&self.payload, self.count as u64, self.count);
    }

    /// Nothing is under way any more, the last acknowledgement included.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            self.pair.pass(SETTLE_NS);
            self.pair.turn();
            if self.pair.is_settled() {
                return;
            }
        }
        panic!("the pair does not settle");
    }
}

macro_rules! on_pair {
    ($($(#[$doc:meta])+ $name:ident $unit:expr, |$before:ident| $prepare:expr, |$ready:ident| $run:expr;)*) => {$(
        $(#[$doc])+
        pub struct $name(Ready);

        impl $name {
            /// Of messages of this size.
            pub fn new(size: usize) -> Self {
                Self(Ready::new(size))
            }
        }

        impl Step for $name {
            fn units(&self) -> u64 {
                let count: fn(&Ready) -> usize = $unit;
                count(&self.0) as u64
            }

            fn prepare(&mut self) {
                let $before = &mut self.0;
                $prepare;
            }

            fn run(&mut self) {
                let $ready = &mut self.0;
                $run;
            }
        }
    )*};
}

fn in_messages(ready: &Ready) -> usize {
    ready.count
}

fn in_datagrams(_: &Ready) -> usize {
    DATAGRAMS
}

on_pair! {
    /// A batch of messages is accepted: routed, noted as owed, encoded; each datagram that it fills is sealed.
    Publish in_messages, |ready| ready.settle(), |ready| ready.publish();
    /// What is open is sealed, and the datagrams that may go are planned.
    Flush in_datagrams, |ready| { ready.settle(); ready.publish() }, |ready| ready.pair.flush();
    /// FAN datagrams are checked, opened, decoded, and their messages handed over.
    Receive in_datagrams, |ready| { ready.settle(); ready.publish(); ready.pair.flush(); ready.pair.carry() },
        |ready| ready.pair.receive();
    /// The way back: the subscriber's node makes its acknowledgement and its report, the publisher's takes them and settles
    /// every message.
    Acknowledge |_| DATAGRAMS * BEHIND_ONE, |ready| {
        ready.settle();
        for _ in 0..BEHIND_ONE {
            ready.publish();
            ready.pair.flush();
            ready.pair.carry();
            ready.pair.receive();
        }
        ready.pair.pass(SETTLE_NS)
    }, |ready| ready.pair.back();
    /// The whole: two cores, a turn after the other, from publishing to the last outcome.
    Exchange in_messages, |ready| ready.settle(), |ready| ready.exchange();
}
