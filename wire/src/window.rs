//! Replay windows: a ring bitmap behind the highest counter (RFC 6479, exact), and one before a floor.
//! Check before opening, mark after.

/// What a window says of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen.
    New,
    /// Seen.
    Duplicate,
    /// Behind the window: unknown, never opened.
    Stale,
    /// Beyond the window ([`FloorWindow`] only).
    Ahead,
}

/// The bits of a window: a power of two of them, counter c at c mod size.
struct RingBits {
    words: Box<[u64]>,
}

impl RingBits {
    fn new(bits: u64) -> Self {
        assert!(
            bits.is_power_of_two() && bits >= 64,
            "a window is a power of two of at least 64"
        );
        Self {
            words: vec![0; (bits / 64) as usize].into_boxed_slice(),
        }
    }

    fn len(&self) -> u64 {
        self.words.len() as u64 * 64
    }

    fn place(&self, counter: u64) -> (usize, u32) {
        (
            (counter / 64) as usize & (self.words.len() - 1),
            (counter % 64) as u32,
        )
    }

    fn get(&self, counter: u64) -> bool {
        let (word, bit) = self.place(counter);
        self.words[word] >> bit & 1 != 0
    }

    fn set(&mut self, counter: u64) {
        let (word, bit) = self.place(counter);
        self.words[word] |= 1 << bit;
    }

    /// Clears `from..to`, word by word.
    fn clear(&mut self, from: u64, to: u64) {
        if to - from >= self.len() {
            return self.words.fill(0);
        }
        let mut at = from;
        while at < to {
            let (word, bit) = self.place(at);
            let count = (64 - u64::from(bit)).min(to - at);
            let mask = if count == 64 {
                u64::MAX
            } else {
                ((1 << count) - 1) << bit
            };
            self.words[word] &= !mask;
            at += count;
        }
    }

    /// The 64 bits from `counter` on.
    fn word_from(&self, counter: u64) -> u64 {
        let (word, bit) = self.place(counter);
        let low = self.words[word] >> bit;
        if bit == 0 {
            return low;
        }
        low | self.words[(word + 1) & (self.words.len() - 1)] << (64 - bit)
    }
}

/// PAIR and BULK: the last `bits` counters up to the highest marked.
pub struct ReplayWindow {
    bits: RingBits,
    first: u64,
    next: u64,
}

impl ReplayWindow {
    /// A window of `bits` (a power of two) that takes nothing below `first`.
    pub fn new(bits: u64, first: u64) -> Self {
        Self {
            bits: RingBits::new(bits),
            first,
            next: first,
        }
    }

    /// One above the highest marked, or the first that it takes.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The highest marked.
    pub fn highest(&self) -> Option<u64> {
        (self.next > self.first).then(|| self.next - 1)
    }

    /// What `counter` is. Changes nothing.
    pub fn check(&self, counter: u64) -> Verdict {
        if counter >= self.next {
            return if counter >= self.first {
                Verdict::New
            } else {
                Verdict::Stale
            };
        }
        if counter < self.first || self.next - counter > self.bits.len() {
            return Verdict::Stale;
        }
        if self.bits.get(counter) {
            Verdict::Duplicate
        } else {
            Verdict::New
        }
    }

    /// Marks a counter that was opened; true if it was new.
    pub fn mark(&mut self, counter: u64) -> bool {
        if self.check(counter) != Verdict::New {
            return false;
        }
        if counter >= self.next {
            self.bits.clear(self.next, counter);
            self.next = counter + 1;
        }
        self.bits.set(counter);
        true
    }
}

/// FAN: everything below the floor is received, what lies above it has a bit, and nothing beyond the
/// window is taken: so the floor never passes a hole.
pub struct FloorWindow {
    bits: RingBits,
    first: u64,
    floor: u64,
    next: u64,
    newest: Option<u64>,
}

impl FloorWindow {
    /// A window of `bits` (a power of two) that takes nothing below `first`.
    pub fn new(bits: u64, first: u64) -> Self {
        Self {
            bits: RingBits::new(bits),
            first,
            floor: first,
            next: first,
            newest: None,
        }
    }

    /// All below it is received, or was given up by [`raise`](Self::raise).
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The highest marked.
    pub fn highest(&self) -> Option<u64> {
        self.newest
    }

    /// Whether `counter` is received or below the floor.
    pub fn contains(&self, counter: u64) -> bool {
        counter < self.floor || (counter < self.next && self.bits.get(counter))
    }

    /// What `counter` is. Changes nothing. A duplicate far below the highest is stale: not worth opening.
    pub fn check(&self, counter: u64) -> Verdict {
        if counter < self.first || counter.saturating_add(self.bits.len()) < self.next {
            return Verdict::Stale;
        }
        if counter >= self.floor.saturating_add(self.bits.len()) {
            return Verdict::Ahead;
        }
        if self.contains(counter) {
            Verdict::Duplicate
        } else {
            Verdict::New
        }
    }

    /// Marks a counter that was opened; true if it was new. The floor follows.
    pub fn mark(&mut self, counter: u64) -> bool {
        if self.check(counter) != Verdict::New {
            return false;
        }
        self.bits.set(counter);
        self.next = self.next.max(counter + 1);
        self.newest = self.newest.max(Some(counter));
        if counter == self.floor {
            self.advance();
        }
        true
    }

    /// Gives up everything below `floor`; never lowers it.
    pub fn raise(&mut self, floor: u64) {
        if floor <= self.first {
            return;
        }
        self.first = floor;
        if floor > self.floor {
            self.bits.clear(self.floor, floor);
            self.floor = floor;
            self.next = self.next.max(floor);
            self.advance();
        }
    }

    fn advance(&mut self) {
        while self.floor < self.next {
            let run = u64::from(self.bits.word_from(self.floor).trailing_ones());
            if run == 0 {
                break;
            }
            self.bits.clear(self.floor, self.floor + run);
            self.floor += run;
        }
    }

    /// Writes the bits from the floor up to the highest, 64 to a word, bit 0 of word 0 being the floor
    /// itself; returns the words used: none if nothing above the floor is received.
    pub fn bitmap(&self, out: &mut [u64]) -> usize {
        let words = (self.next.saturating_sub(self.floor)).div_ceil(64) as usize;
        let words = words.min(out.len());
        for (at, word) in out[..words].iter_mut().enumerate() {
            *word = self.bits.word_from(self.floor + at as u64 * 64);
        }
        words
    }
}
