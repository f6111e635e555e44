//! What one publisher publishes next, and when it is due.

use crate::plan::Plan;
use crate::schedule::{Due, Schedule};
use crate::stamp;
use crate::times::Times;

/// Bytes published without looking at anything else.
const BATCH_BYTES: usize = 256 << 10;
/// Messages published without looking at anything else.
const BATCH_MAX: usize = 4096;

/// Makes one message after the other, topics in turn.
pub struct Generator {
    schedule: Schedule,
    payload: Vec<u8>,
    /// How much of it the next message is.
    len: usize,
    /// One topic and one size: the next message differs from this one by its number only.
    is_plain: bool,
    sizes: Vec<usize>,
    size_at: usize,
    topics: usize,
    first_stream: usize,
    /// Messages accepted, and told by [`Generator::news`] already.
    count: u64,
    told: u64,
    /// The next message's topic, and its stream and number in one word.
    topic: usize,
    word: u64,
    due: u64,
    /// The due time that it carries.
    stamped: u64,
    /// At this time the next message is due as the last one was.
    holds_at: u64,
    last_made: bool,
    lag: Times,
}

/// What a generator has for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// [`Generator::payload`] is to be published on this topic. Tell [`Generator::taken`] or [`Generator::refused`].
    Message {
        /// From 0; [`Plan::topic`] has its name.
        topic: usize,
    },
    /// Nothing before this time, in ns of [`crate::clock`].
    At(u64),
    /// The last message was accepted.
    Over,
}

impl Generator {
    /// For publisher `publisher` of [`Plan::publishers`], from 0.
    pub fn new(plan: &Plan, schedule: Schedule, publisher: usize) -> Self {
        let sizes = plan.sizes.round();
        let first_stream = publisher * plan.topics;
        Self {
            schedule: schedule.of_publisher(publisher),
            payload: (0..plan.sizes.most()).map(|at| at as u8).collect(),
            len: sizes[0],
            is_plain: plan.topics == 1 && sizes.len() == 1,
            sizes,
            size_at: 0,
            topics: plan.topics,
            first_stream,
            count: 0,
            told: 0,
            topic: 0,
            word: stamp::word(first_stream, 0),
            due: 0,
            stamped: 0,
            holds_at: 0,
            last_made: false,
            lag: Times::new(),
        }
    }

    /// Messages to publish before looking at anything else.
    pub fn batch(&self) -> usize {
        (BATCH_BYTES / self.payload.len().max(1)).clamp(1, BATCH_MAX)
    }

    /// What is to be done at `now`.
    #[inline]
    pub fn next(&mut self, now: u64) -> Next {
        if self.last_made {
            return Next::Over;
        }
        if self.holds_at == now {
            return Next::Message { topic: self.topic };
        }
        let (due, counts, last) = match self.schedule.due(self.count, now) {
            Due::Now { at, counts } => (at, counts, false),
            Due::At(at) => return Next::At(at),
            // After the last that counts goes one that says so.
            Due::Never => (0, false, true),
        };
        self.stamped = if counts { due } else { 0 };
        self.due = due;
        self.last_made = last;
        if self.schedule.is_flat_out() && !last {
            self.holds_at = now;
        }
        Next::Message { topic: self.topic }
    }

    /// The message that was last given by [`Generator::next`].
    #[inline]
    pub fn payload(&mut self) -> &[u8] {
        let payload = &mut self.payload[..self.len];
        stamp::write(self.word, self.last_made, self.stamped, payload);
        payload
    }

    /// Its bytes.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.len
    }

    /// Writes that message part by part. To systems that take it so this is faster than [`Generator::payload`]: there the stamp,
    /// just written in words, is copied by wider loads, which wait until it has left the processor's store buffer.
    #[inline]
    pub fn write(&self, mut put: impl FnMut(&[u8])) {
        let stamp = stamp::bytes(self.word, self.last_made, self.stamped);
        let stamped = stamp::stamped(self.len);
        put(&stamp[..stamped]);
        put(&self.payload[stamped..self.len]);
    }

    /// That message was accepted at `now`.
    #[inline]
    pub fn taken(&mut self, now: u64) {
        if self.due >= self.schedule.measured().start && !self.schedule.is_closed() {
            self.lag.record(now.saturating_sub(self.due));
        }
        self.count += 1;
        if self.is_plain {
            self.word += 1;
        } else {
            self.advance();
        }
    }

    fn advance(&mut self) {
        let (_, number) = stamp::unword(self.word);
        self.topic += 1;
        let is_round = self.topic == self.topics;
        if is_round {
            self.topic = 0;
        }
        let stream = self.first_stream + self.topic;
        self.word = stamp::word(stream, number + u64::from(is_round));
        self.size_at = (self.size_at + 1) % self.sizes.len();
        self.len = self.sizes[self.size_at];
    }

    /// That message was refused: it comes again.
    pub fn refused(&mut self) {
        self.last_made = false;
    }

    /// Whether the last message was accepted.
    pub fn is_over(&self) -> bool {
        self.last_made
    }

    /// Messages accepted until now.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Messages accepted since this was last asked, for [`crate::Sent::accept`].
    pub fn news(&mut self) -> u64 {
        let news = self.count - self.told;
        self.told = self.count;
        news
    }

    /// How late messages that count were accepted.
    pub fn into_lag(self) -> Times {
        self.lag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;

    fn messages(plan: &Plan, publisher: usize, count: usize) -> Vec<(usize, u64, usize)> {
        let mut generator = Generator::new(plan, Schedule::new(plan, 1), publisher);
        let mut made = Vec::new();
        while made.len() < count {
            assert!(matches!(generator.next(2), Next::Message { .. }));
            let mut place = Vec::new();
            generator.write(|part| place.extend_from_slice(part));
            assert_eq!(place.len(), generator.bytes());
            assert_eq!(place, generator.payload());
            let stamp = Stamp::read(&place).unwrap();
            made.push((stamp.stream, stamp.number, place.len()));
            generator.taken(2);
        }
        assert_eq!(generator.news(), count as u64);
        assert_eq!(generator.news(), 0);
        made
    }

    #[test]
    fn topics_take_turns_and_number_their_own() {
        let plan = Plan {
            topics: 2,
            publishers: 2,
            ..Plan::default()
        };
        let made = messages(&plan, 1, 4);
        assert_eq!(made, [(2, 0, 64), (3, 0, 64), (2, 1, 64), (3, 1, 64)]);
    }

    #[test]
    fn sizes_follow_their_round() {
        let plan = Plan {
            sizes: "16:2,100:1".parse().unwrap(),
            ..Plan::default()
        };
        let sizes: Vec<usize> = messages(&plan, 0, 6).iter().map(|m| m.2).collect();
        assert_eq!(sizes[..3], plan.sizes.round());
        assert_eq!(sizes[3..], sizes[..3]);
    }

    #[test]
    fn the_last_message_says_so_and_a_refused_one_comes_again() {
        let plan = Plan::default();
        let schedule = Schedule::new(&plan, 1);
        let mut generator = Generator::new(&plan, schedule, 0);
        let after = schedule.measured().end;
        for _ in 0..2 {
            assert_eq!(generator.next(after), Next::Message { topic: 0 });
            assert!(Stamp::read(generator.payload()).unwrap().last);
            generator.refused();
        }
        generator.next(after);
        generator.taken(after);
        assert_eq!(generator.next(after), Next::Over);
        assert!(generator.is_over());
    }
}
