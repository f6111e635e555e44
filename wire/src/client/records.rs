//! Runs of payloads inside one frame: each is a u32 length and the bytes, with consecutive seqs.

/// Bytes before each payload of a run: its u32 length.
pub const RECORD_HEAD: usize = 4;

/// The payloads of a run, in order of their seqs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Records<'a> {
    /// A run of `count` payloads, checked whole, so that walking it cannot fail: every length lies inside `bytes` and
    /// nothing is left over.
    pub fn checked(bytes: &'a [u8], count: u32) -> Option<Self> {
        let mut rest = bytes;
        for _ in 0..count {
            let (head, tail) = rest.split_first_chunk::<RECORD_HEAD>()?;
            rest = tail.get(u32::from_le_bytes(*head) as usize..)?;
        }
        rest.is_empty().then_some(Self {
            rest: bytes,
            left: count,
        })
    }

    /// The last `count` payloads of a run that was checked: what [`Self::as_bytes`] gave. Of other bytes it yields whatever
    /// they look like.
    pub fn resumed(bytes: &'a [u8], count: usize) -> Self {
        Self {
            rest: bytes,
            left: u32::try_from(count).unwrap_or(u32::MAX),
        }
    }

    /// The records that are left, as they came.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.rest
    }

    /// Payloads that are left.
    pub fn len(&self) -> usize {
        self.left as usize
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let (head, rest) = self.rest.split_first_chunk::<RECORD_HEAD>()?;
        let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(*head) as usize)?;
        self.rest = rest;
        self.left -= 1;
        Some(payload)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for Records<'_> {}

/// Appends one payload with its length.
pub fn put_record(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
}
