//! The bounded message store: chunks of bytes in which streams lay their datagrams end to end.
//!
//! A chunk holds contiguous datagrams of one stream, so that a run of them is one GSO send straight from here. It
//! returns to the pool when each of its datagrams is released. Who owes what is not known here.

use crate::limits;

/// A chunk of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkIx(u32);

/// Where a datagram lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) chunk: ChunkIx,
    pub(crate) offset: u16,
    pub(crate) len: u16,
}

impl Place {
    fn range(self) -> std::ops::Range<usize> {
        self.offset as usize..self.offset as usize + self.len as usize
    }

    /// Whether `next` follows directly: both can be in one send.
    pub(crate) fn adjoins(self, next: Place) -> bool {
        self.chunk == next.chunk && self.offset as usize + self.len as usize == next.offset as usize
    }
}

struct Chunk {
    bytes: Box<[u8]>,
    // Datagrams not yet released, plus one while a stream writes here.
    users: u32,
    // Bytes of those datagrams.
    held: u32,
}

/// Chunks in use and in the pool; `limit` bounds those in use.
pub(crate) struct Store {
    chunks: Vec<Option<Chunk>>,
    vacant: Vec<u32>,
    pool: Vec<Box<[u8]>>,
    // Fewest chunks that the pool had since the last look, and when the next one is due.
    idle: usize,
    look_at: u64,
    used: usize,
    limit: usize,
}

/// Idle chunks that are kept for good: what a burst of a megabyte needs.
const POOL: usize = 16;
/// A pool is given back in steps so far apart, in ns: bursts come again.
const LOOK_EVERY: u64 = 1_000_000_000;
// Offsets are u16: the last byte of a chunk is not addressable as an offset, nor does it begin a datagram.
const _: () = assert!(limits::CHUNK <= u16::MAX as usize + 1);

impl Store {
    pub(crate) fn new(limit: usize) -> Self {
        let mut store = Store {
            chunks: Vec::new(),
            vacant: Vec::new(),
            pool: Vec::new(),
            idle: 0,
            look_at: 0,
            used: 0,
            limit: 0,
        };
        store.set_limit(limit);
        store
    }

    /// The most that it may take.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Another bound; what is stored above it stays until it is released.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(limits::RETAIN_MIN);
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Whether `chunks` more fit.
    pub(crate) fn has_room(&self, chunks: usize) -> bool {
        self.used + chunks * limits::CHUNK <= self.limit
    }

    /// Chunks in one of `parts` parts of the store.
    pub(crate) fn share(&self, parts: usize) -> usize {
        self.limit / limits::CHUNK / parts
    }

    /// A chunk to write into, held until [`Store::leave`]. The bound is the caller's to ask about first.
    pub(crate) fn take(&mut self) -> ChunkIx {
        let bytes = self
            .pool
            .pop()
            .unwrap_or_else(|| vec![0; limits::CHUNK].into_boxed_slice());
        self.idle = self.idle.min(self.pool.len());
        self.used += limits::CHUNK;
        let chunk = Some(Chunk {
            bytes,
            users: 1,
            held: 0,
        });
        match self.vacant.pop() {
            Some(ix) => {
                self.chunks[ix as usize] = chunk;
                ChunkIx(ix)
            }
            None => {
                self.chunks.push(chunk);
                ChunkIx(self.chunks.len() as u32 - 1)
            }
        }
    }

    fn chunk(&self, ix: ChunkIx) -> &Chunk {
        self.chunks[ix.0 as usize]
            .as_ref()
            .expect("a held chunk exists")
    }

    fn chunk_mut(&mut self, ix: ChunkIx) -> &mut Chunk {
        self.chunks[ix.0 as usize]
            .as_mut()
            .expect("a held chunk exists")
    }

    /// A datagram was laid there.
    pub(crate) fn hold(&mut self, place: Place) {
        let chunk = self.chunk_mut(place.chunk);
        chunk.users += 1;
        chunk.held += u32::from(place.len);
    }

    /// The datagram is not needed any more; the last user returns the chunk.
    pub(crate) fn release(&mut self, place: Place) {
        self.chunk_mut(place.chunk).held -= u32::from(place.len);
        self.leave(place.chunk);
    }

    /// Nothing more is written into the chunk.
    pub(crate) fn leave(&mut self, ix: ChunkIx) {
        let chunk = self.chunk_mut(ix);
        chunk.users -= 1;
        if chunk.users == 0 {
            let chunk = self.chunks[ix.0 as usize]
                .take()
                .expect("a held chunk exists");
            self.vacant.push(ix.0);
            self.used -= limits::CHUNK;
            self.pool.push(chunk.bytes);
        }
    }

    /// Called now and then: once a second gives back half of the chunks that were idle all the time since.
    pub(crate) fn relax(&mut self, now: u64) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        let surplus = self.idle.min(self.pool.len().saturating_sub(POOL));
        self.pool.truncate(self.pool.len() - surplus.div_ceil(2));
        self.idle = self.pool.len();
    }

    /// Whether [`Store::relax`] has anything left to give back.
    pub(crate) fn is_relaxed(&self) -> bool {
        self.pool.len() <= POOL
    }

    /// Bytes of the chunk's datagrams that are not released.
    pub(crate) fn held(&self, ix: ChunkIx) -> usize {
        self.chunk(ix).held as usize
    }

    pub(crate) fn bytes(&self, place: Place) -> &[u8] {
        &self.chunk(place.chunk).bytes[place.range()]
    }

    pub(crate) fn bytes_mut(&mut self, place: Place) -> &mut [u8] {
        &mut self.chunk_mut(place.chunk).bytes[place.range()]
    }

    /// The bytes of a chunk that is written to, until [`Store::give_back`]: it has none meanwhile.
    #[inline]
    pub(crate) fn lend(&mut self, ix: ChunkIx) -> Box<[u8]> {
        std::mem::take(&mut self.chunk_mut(ix).bytes)
    }

    #[inline]
    pub(crate) fn give_back(&mut self, ix: ChunkIx, bytes: Box<[u8]>) {
        self.chunk_mut(ix).bytes = bytes;
    }

    /// A run of `bytes` bytes from `place` on: several adjoining datagrams.
    pub(crate) fn run(&self, place: Place, bytes: usize) -> &[u8] {
        &self.chunk(place.chunk).bytes[place.offset as usize..place.offset as usize + bytes]
    }

    /// Copies a datagram to another place of the same length: compaction.
    pub(crate) fn copy(&mut self, from: Place, to: Place) {
        assert_eq!(from.len, to.len, "a datagram moves whole");
        assert!(from.chunk != to.chunk, "a datagram moves to another chunk");
        let source = self.chunks[from.chunk.0 as usize]
            .take()
            .expect("a held chunk exists");
        self.chunk_mut(to.chunk).bytes[to.range()].copy_from_slice(&source.bytes[from.range()]);
        self.chunks[from.chunk.0 as usize] = Some(source);
    }
}
