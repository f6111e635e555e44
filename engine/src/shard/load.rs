//! Whether a node has much to move: measured by each shard, told to whoever wants to know when the first begins and the last ends.

use std::sync::{Mutex, PoisonError};

use crate::limits::{BUSY_BYTES, BUSY_NS};

/// Told `true` when the node becomes busy, `false` when it no longer is. Called on a shard.
pub(crate) type LoadHandler = Box<dyn Fn(bool) + Send + Sync>;

/// Of all shards.
pub(crate) struct Load {
    busy: Mutex<usize>,
    handler: Option<LoadHandler>,
}

impl Load {
    pub(crate) fn new(handler: Option<LoadHandler>) -> Self {
        Self {
            busy: Mutex::new(0),
            handler,
        }
    }

    /// One more shard is busy, or one less.
    pub(super) fn change(&self, is_busy: bool) {
        // The handler is called with the lock held: of two changes the last is told last.
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        *busy = if is_busy { *busy + 1 } else { *busy - 1 };
        let is_edge = *busy == usize::from(is_busy);
        if let Some(handler) = self.handler.as_ref().filter(|_| is_edge) {
            handler(is_busy);
        }
    }
}

/// Of one shard: bytes in spans of time.
#[derive(Default)]
pub(super) struct Meter {
    since: u64,
    from: u64,
    is_busy: bool,
}

impl Meter {
    /// After a turn: the shard has moved so many bytes in all. Whether it is busy, if that changed.
    pub(super) fn look(&mut self, now: u64, moved: u64) -> Option<bool> {
        let is_much = moved - self.from >= BUSY_BYTES;
        let is_over = now >= self.since + BUSY_NS;
        if is_over {
            (self.since, self.from) = (now, moved);
        }
        let changes = is_much != self.is_busy && (is_much || is_over);
        if changes {
            self.is_busy = is_much;
        }
        changes.then_some(is_much)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_shard_is_busy_as_soon_as_it_moved_much_and_until_a_span_with_little() {
        let mut meter = Meter::default();
        assert_eq!(meter.look(1, 0), None);
        assert_eq!(meter.look(2, BUSY_BYTES - 1), None);
        assert_eq!(meter.look(3, BUSY_BYTES), Some(true));
        assert_eq!(meter.look(BUSY_NS + 1, 2 * BUSY_BYTES), None);
        assert_eq!(meter.look(BUSY_NS + 2, 2 * BUSY_BYTES), None);
        assert_eq!(meter.look(2 * BUSY_NS + 1, 2 * BUSY_BYTES), Some(false));
        assert_eq!(meter.look(9 * BUSY_NS, 3 * BUSY_BYTES - 1), None);
    }

    #[test]
    fn the_first_that_is_busy_and_the_last_that_no_longer_is_are_told() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let for_handler = Arc::clone(&told);
        let load = Load::new(Some(Box::new(move |is_busy| {
            for_handler.lock().unwrap().push(is_busy);
        })));
        for is_busy in [true, true, false, false, true] {
            load.change(is_busy);
        }
        assert_eq!(*told.lock().unwrap(), [true, false, true]);
    }
}
