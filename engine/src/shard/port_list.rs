//! Ports in a line, each at most once: there may be 65,536, and one is added for each bell that rings.

use std::collections::VecDeque;

/// The line.
#[derive(Default)]
pub(crate) struct PortList {
    line: VecDeque<u32>,
    /// By port: whether it is in the line.
    queued: Vec<bool>,
}

impl PortList {
    /// Puts a port at the end, unless it is in the line.
    pub(crate) fn add(&mut self, port: u32) {
        let at = port as usize;
        if at >= self.queued.len() {
            self.queued.resize(at + 1, false);
        }
        if !std::mem::replace(&mut self.queued[at], true) {
            self.line.push_back(port);
        }
    }

    /// Takes a port out, wherever it is.
    pub(crate) fn remove(&mut self, port: u32) {
        if self
            .queued
            .get_mut(port as usize)
            .is_some_and(std::mem::take)
        {
            self.line.retain(|&it| it != port);
        }
    }

    /// Takes the first.
    pub(crate) fn take_next(&mut self) -> Option<u32> {
        let port = self.line.pop_front()?;
        self.queued[port as usize] = false;
        Some(port)
    }

    pub(crate) fn len(&self) -> usize {
        self.line.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_is_in_the_line_once_and_in_its_turn() {
        let mut list = PortList::default();
        for port in [5, 1, 5, 9, 1] {
            list.add(port);
        }
        list.remove(1);
        list.remove(7);
        list.remove(70_000);
        assert_eq!(list.len(), 2);
        assert_eq!((list.take_next(), list.take_next()), (Some(5), Some(9)));
        list.add(5);
        assert_eq!((list.take_next(), list.take_next()), (Some(5), None));
        assert!(list.is_empty());
    }
}
