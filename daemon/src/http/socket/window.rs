//! What is under way on one socket: messages that were sent and are not acknowledged, by their numbers, and how many there may
//! be. Knows nothing of sockets.

use std::collections::BTreeMap;

/// Messages under way; `T` is what an acknowledgement has to say of one.
#[derive(Debug)]
pub struct Window<T> {
    credit: usize,
    /// The number of the last message.
    last: u64,
    unacknowledged: BTreeMap<u64, T>,
}

/// A number that no message had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeverSent(pub u64);

impl<T> Window<T> {
    /// So many messages may be unacknowledged.
    pub fn new(credit: usize) -> Self {
        Self {
            credit,
            last: 0,
            unacknowledged: BTreeMap::new(),
        }
    }

    /// How many may be.
    pub fn credit(&self) -> usize {
        self.credit
    }

    /// From now on so many may be. What is under way stays so.
    pub fn grant(&mut self, credit: usize) {
        self.credit = credit;
    }

    /// Whether another message may be sent.
    pub fn is_open(&self) -> bool {
        self.unacknowledged.len() < self.credit
    }

    /// The number of a message that is sent now, from 1.
    pub fn send(&mut self, message: T) -> u64 {
        self.last += 1;
        self.unacknowledged.insert(self.last, message);
        self.last
    }

    /// The message of this number is acknowledged. None: it was before.
    pub fn acknowledge(&mut self, number: u64) -> Result<Option<T>, NeverSent> {
        self.check(number)?;
        Ok(self.unacknowledged.remove(&number))
    }

    /// All messages up to this number are acknowledged: those that were not before.
    pub fn acknowledge_upto(&mut self, number: u64) -> Result<BTreeMap<u64, T>, NeverSent> {
        self.check(number)?;
        let later = self.unacknowledged.split_off(&(number + 1));
        Ok(std::mem::replace(&mut self.unacknowledged, later))
    }

    fn check(&self, number: u64) -> Result<(), NeverSent> {
        match (1..=self.last).contains(&number) {
            true => Ok(()),
            false => Err(NeverSent(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_under_way_than_was_granted() {
        let mut window = Window::new(2);
        assert_eq!((window.send('a'), window.is_open()), (1, true));
        assert_eq!((window.send('b'), window.is_open()), (2, false));
        assert_eq!(window.acknowledge(1), Ok(Some('a')));
        assert!(window.is_open());
        // Twice is once.
        assert_eq!(window.acknowledge(1), Ok(None));
        window.grant(1);
        assert!(!window.is_open());
        window.grant(3);
        assert_eq!((window.send('c'), window.send('d')), (3, 4));
        assert!(!window.is_open());
        let upto: Vec<_> = window.acknowledge_upto(3).unwrap().into_values().collect();
        assert_eq!(upto, ['b', 'c']);
        assert_eq!(window.acknowledge_upto(3).unwrap().len(), 0);
        assert!(window.is_open());
        window.grant(0);
        assert_eq!(window.acknowledge_upto(4).unwrap().len(), 1);
        assert!(!window.is_open());
    }

    #[test]
    fn what_was_never_sent_cannot_be_acknowledged() {
        let mut window = Window::new(1);
        for number in [0, 1, u64::MAX] {
            assert_eq!(window.acknowledge(number), Err(NeverSent(number)));
            assert_eq!(window.acknowledge_upto(number), Err(NeverSent(number)));
        }
        window.send('a');
        assert_eq!(window.acknowledge(0), Err(NeverSent(0)));
        assert_eq!(window.acknowledge(2), Err(NeverSent(2)));
    }
}
