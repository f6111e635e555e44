//! One digest, encoded on the stack: what queues of links take.

use tidings_wire::digest::{Layout, Writer};

/// An encoded digest of at most `N` bytes.
pub(crate) struct Encoded<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Encoded<N> {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Encodes a digest with its tail. The caller chooses `N` so that it fits.
pub(crate) fn encode<const N: usize>(fixed: &impl Layout, tail: &[&[u8]]) -> Encoded<N> {
    with(|writer| writer.put_tail(fixed, tail))
}

/// Encodes a digest by one of the writer's own methods.
pub(crate) fn with<const N: usize>(put: impl FnOnce(&mut Writer<'_>) -> bool) -> Encoded<N> {
    let mut bytes = [0; N];
    let mut writer = Writer::new(&mut bytes);
    let fits = put(&mut writer);
    let len = writer.len();
    assert!(fits, "the caller's buffer holds its digest");
    Encoded { bytes, len }
}
