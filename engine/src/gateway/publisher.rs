//! What a client's publisher may send: how many bytes, which is its credit, and how large a message. The books alone; the
//! agent tells the client what they say.

use tidings_wire::client::RECORD_HEAD;

use super::limits::PUBLISHER_WINDOW;

/// One publisher of a client.
pub(super) struct Publisher {
    pub(super) handle: u32,
    /// It is to be closed after what is held.
    pub(super) closing: bool,
    /// Bytes of records that came, that were accepted, and that may come in all.
    came: u64,
    accepted: u64,
    granted: u64,
    /// The largest message, as its client was told last.
    told: usize,
    /// The largest that it was ever told: messages may be on their way that are larger than what is told now.
    takes: usize,
}

impl Publisher {
    pub(super) fn new(handle: u32, max_message: usize) -> Self {
        Self {
            handle,
            closing: false,
            came: 0,
            accepted: 0,
            granted: window(max_message),
            told: max_message,
            takes: max_message,
        }
    }

    /// Bytes of records that the client may send in all. It never falls.
    pub(super) fn credit(&self) -> u64 {
        self.granted
    }

    /// The largest message that is taken. It never falls.
    pub(super) fn takes(&self) -> usize {
        self.takes
    }

    /// The largest message that the client was told last.
    pub(super) fn told(&self) -> usize {
        self.told
    }

    /// So many bytes of records came. `false`: more than the credit allows.
    pub(super) fn come(&mut self, bytes: usize) -> bool {
        self.came += bytes as u64;
        self.came <= self.granted
    }

    /// A message was accepted.
    pub(super) fn accept(&mut self, payload: &[u8]) {
        self.accepted += (RECORD_HEAD + payload.len()) as u64;
    }

    /// The client may send more, once it has used half of what it was granted. Returns its new credit.
    pub(super) fn grant(&mut self) -> Option<u64> {
        let window = window(self.takes);
        if self.accepted + window <= self.granted + window / 2 {
            return None;
        }
        self.granted = self.accepted + window;
        Some(self.granted)
    }

    /// The client is told another largest message; its credit has room for one of them beyond what came.
    pub(super) fn tell(&mut self, max_message: usize) {
        self.told = max_message;
        self.takes = self.takes.max(max_message);
        let whole = self.accepted + window(self.takes);
        let one = self.came + (RECORD_HEAD + max_message) as u64;
        self.granted = self.granted.max(whole).max(one);
    }
}

/// Bytes of records that a client may have under way on one publisher. More is granted once half is used: the largest message
/// must fit what is left.
fn window(max_message: usize) -> u64 {
    PUBLISHER_WINDOW.max(2 * (max_message + RECORD_HEAD) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const MIB: usize = 1 << 20;

    #[derive(Clone, Debug)]
    enum Step {
        /// The client sends a message that is so much of the largest, if its credit allows.
        Send(usize),
        /// The store takes what waits.
        Accept,
        Tell(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..=100_usize).prop_map(Step::Send),
            2 => Just(Step::Accept),
            1 => (1..=4 * MIB).prop_map(Step::Tell),
        ]
    }

    proptest! {
        #[test]
        fn credit_and_what_is_taken_never_fall_and_the_largest_message_never_waits_for_itself(
            first in 1..=4 * MIB,
            steps in prop::collection::vec(step(), 1..60),
        ) {
            let mut publisher = Publisher::new(1, first);
            let (mut sent, mut waiting) = (0, Vec::new());
            let payload = vec![0; 4 * MIB];
            for step in steps {
                let (credit, takes) = (publisher.credit(), publisher.takes());
                match step {
                    Step::Send(part) => {
                        let bytes = publisher.told() / 100 * part;
                        if sent + bytes + RECORD_HEAD <= credit as usize {
                            sent += bytes + RECORD_HEAD;
                            waiting.push(bytes);
                            prop_assert!(publisher.come(bytes + RECORD_HEAD));
                        }
                    }
                    Step::Accept => {
                        for bytes in waiting.drain(..) {
                            publisher.accept(&payload[..bytes]);
                        }
                        publisher.grant();
                    }
                    Step::Tell(max_message) => {
                        publisher.tell(max_message);
                        prop_assert_eq!(publisher.told(), max_message);
                        let one = sent + max_message + RECORD_HEAD;
                        prop_assert!(publisher.credit() as usize >= one);
                    }
                }
                prop_assert!(publisher.credit() >= credit && publisher.takes() >= takes);
                prop_assert!(publisher.takes() >= publisher.told());
                if waiting.is_empty() {
                    let largest = sent + publisher.takes() + RECORD_HEAD;
                    prop_assert!(publisher.credit() as usize >= largest);
                }
            }
            let over = publisher.credit() as usize - sent + 1;
            prop_assert!(!publisher.come(over), "one byte more than the credit");
        }
    }
}
