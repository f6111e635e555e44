//! Points that wait to be sent: bounded in bytes, the oldest go first, and are the first to be dropped when there is no room.

use std::collections::VecDeque;

/// The points of one snapshot.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk {
    /// As they are sent.
    pub bytes: Vec<u8>,
    /// How many.
    pub points: u64,
}

/// What became of points so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// The destination has them.
    pub written: u64,
    /// There was no room for them.
    pub dropped: u64,
    /// The destination does not want them.
    pub refused: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Queue {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    room: usize,
    fates: Fates,
}

impl Queue {
    /// An empty one with room for so many bytes.
    pub fn new(room: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            bytes: 0,
            room,
            fates: Fates::default(),
        }
    }

    /// Takes the points of a snapshot. The oldest make room.
    pub fn push(&mut self, bytes: Vec<u8>, points: u64) {
        self.bytes += bytes.len();
        self.chunks.push_back(Chunk { bytes, points });
        self.drop_oldest();
    }

    /// Takes the oldest out to be sent: one, and further ones as long as all have at most `bytes_max` bytes.
    pub fn take(&mut self, bytes_max: usize) -> Vec<Chunk> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.chunks.front() {
            bytes += next.bytes.len();
            if bytes > bytes_max && !taken.is_empty() {
                break;
            }
            self.bytes -= next.bytes.len();
            taken.extend(self.chunks.pop_front());
        }
        taken
    }

    /// What was taken could not be sent: it comes first again.
    pub fn give_back(&mut self, taken: Vec<Chunk>) {
        for chunk in taken.into_iter().rev() {
            self.bytes += chunk.bytes.len();
            self.chunks.push_front(chunk);
        }
        self.drop_oldest();
    }

    /// What was taken was sent.
    pub fn written(&mut self, taken: &[Chunk]) {
        self.fates.written += points(taken);
    }

    /// What was taken was not wanted.
    pub fn refused(&mut self, taken: &[Chunk]) {
        self.fates.refused += points(taken);
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What became of points so far.
    pub fn fates(&self) -> Fates {
        self.fates
    }

    fn drop_oldest(&mut self) {
        while self.bytes > self.room
            && let Some(oldest) = self.chunks.pop_front()
        {
            self.bytes -= oldest.bytes.len();
            self.fates.dropped += oldest.points;
        }
    }
}

fn points(chunks: &[Chunk]) -> u64 {
    chunks.iter().map(|chunk| chunk.points).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(chunks: &[Chunk]) -> String {
        let bytes = chunks.iter().flat_map(|chunk| &chunk.bytes);
        bytes.map(|byte| char::from(*byte)).collect()
    }

    #[test]
    fn the_oldest_go_first_and_are_dropped_first() {
        let mut queue = Queue::new(6);
        for letter in [b'a', b'b', b'c'] {
            queue.push(vec![letter; 2], 10);
        }
        let taken = queue.take(5);
        assert_eq!((letters(&taken).as_str(), queue.bytes()), ("aabb", 2));
        queue.push(vec![b'd'; 2], 10);
        // While they were under way two more bytes came: the oldest have no room any more.
        queue.give_back(taken);
        assert_eq!(queue.fates().dropped, 10);
        let taken = queue.take(100);
        assert_eq!(letters(&taken), "bbccdd");
        queue.written(&taken);
        assert_eq!(queue.bytes(), 0);
        queue.push(vec![b'e'; 7], 4);
        assert_eq!((queue.bytes(), queue.take(100).len()), (0, 0));
        queue.push(vec![b'f'; 6], 5);
        // One is taken however long it is.
        let taken = queue.take(1);
        queue.refused(&taken);
        let fates = Fates {
            written: 30,
            dropped: 14,
            refused: 5,
        };
        assert_eq!(queue.fates(), fates);
    }
}
