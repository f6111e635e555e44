//! The hot steps of a message's way, each by itself: criterion times them (`benches/steps.rs`), callgrind counts their
//! instructions (`benches/instructions.rs`), the cost model adds them up. No clock, no thread, no randomness in what is
//! measured; keys are fixed.

pub mod protocol;
pub mod queue;
pub mod wire;

/// Bytes of a datagram, as on Ethernet without jumbo frames.
pub const DATAGRAM: usize = 1_448;
/// Datagrams' worth of work in one run of a step: long enough for a timer, short enough for callgrind.
pub const DATAGRAMS: usize = 64;
/// Sizes of messages that are measured.
pub const SIZES: [usize; 2] = [64, 1_024];

/// A step that can be repeated.
pub trait Step {
    /// How many units one run does.
    fn units(&self) -> u64;
    /// Makes ready for a run. Not measured.
    fn prepare(&mut self);
    /// The work.
    fn run(&mut self);
}

/// What one unit of a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A datagram, full of messages of the step's size.
    Datagram,
    /// A message.
    Message,
}

impl Unit {
    /// As in "ns a datagram".
    pub fn name(self) -> &'static str {
        match self {
            Self::Datagram => "datagram",
            Self::Message => "message",
        }
    }
}

/// One step with its name, by which baseline and cost model know it.
pub struct Named {
    /// Lower case, words joined by `_`, the size of messages last where it matters.
    pub name: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// Makes it, ready for its first [`Step::prepare`].
    pub make: fn() -> Box<dyn Step>,
}

/// How many messages of a size fit into a datagram: 32 B header, 16 B tag, 8 B before each.
pub fn messages(size: usize) -> usize {
    (DATAGRAM - 48) / (8 + size.next_multiple_of(8))
}

macro_rules! steps {
    ($($name:ident $unit:ident $make:expr;)*) => {
        [$(Named {
            name: stringify!($name),
            unit: Unit::$unit,
            make: || Box::new($make),
        }),*]
    };
}

/// All of them, in the order of a message's way.
pub fn all() -> [Named; 24] {
    use protocol::{Acknowledge, Exchange, Flush, Publish, Receive};
    use queue::{FromPublisher, ToSubscriber};
    use wire::{Decode, Encode, HeaderCheck, Open, Seal, Window};
    steps! {
        publisher_hop_64 Message FromPublisher::new(64);
        publisher_hop_1024 Message FromPublisher::new(1_024);
        encode_64 Datagram Encode::new(64);
        encode_1024 Datagram Encode::new(1_024);
        seal_64 Datagram Seal::new(64);
        seal_1024 Datagram Seal::new(1_024);
        publish_64 Message Publish::new(64);
        publish_1024 Message Publish::new(1_024);
        flush_64 Datagram Flush::new(64);
        flush_1024 Datagram Flush::new(1_024);
        header_check Datagram HeaderCheck::new();
        open_64 Datagram Open::new(64);
        open_1024 Datagram Open::new(1_024);
        window Datagram Window::new();
        decode_64 Datagram Decode::new(64);
        decode_1024 Datagram Decode::new(1_024);
        receive_64 Datagram Receive::new(64);
        receive_1024 Datagram Receive::new(1_024);
        subscriber_hop_64 Message ToSubscriber::new(64);
        subscriber_hop_1024 Message ToSubscriber::new(1_024);
        acknowledge_64 Datagram Acknowledge::new(64);
        acknowledge_1024 Datagram Acknowledge::new(1_024);
        exchange_64 Message Exchange::new(64);
        exchange_1024 Message Exchange::new(1_024);
    }
}

/// The step of this name.
pub fn named(name: &str) -> Option<Named> {
    all().into_iter().find(|step| step.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_can_be_repeated_and_has_a_name_of_its_own() {
        let mut names: Vec<_> = all().iter().map(|step| step.name).collect();
        for step in all() {
            let mut work = (step.make)();
            for _ in 0..3 {
                work.prepare();
                work.run();
            }
            assert!(work.units() > 0, "{}", step.name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len());
    }

    #[test]
    fn a_full_datagram_holds_what_the_core_puts_into_it() {
        assert_eq!(SIZES.map(messages), [19, 1]);
    }
}
