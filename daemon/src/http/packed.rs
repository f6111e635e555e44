//! Counts by bucket, most of them zero, in few bytes: what `windows` keeps of latencies in each sample.

use std::sync::Arc;

/// Pairs of (buckets skipped, count) as variable-length numbers, seven bits to a byte, the lowest first. Whoever has the same counts
/// shares them.
#[derive(Clone, Debug, Default)]
pub struct Packed(Option<Arc<[u8]>>);

impl Packed {
    /// `counts`, packed: these, if they are the same.
    pub fn or_pack(&self, counts: &[u64]) -> Self {
        let mut bytes = Vec::new();
        let mut next = 0;
        for (bucket, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            put(&mut bytes, (bucket - next) as u64);
            put(&mut bytes, count);
            next = bucket + 1;
        }
        match &self.0 {
            Some(same) if **same == *bytes => self.clone(),
            _ if bytes.is_empty() => Self(None),
            _ => Self(Some(bytes.into())),
        }
    }

    /// Bucket and count of those that are not zero.
    pub fn unpack(&self) -> impl Iterator<Item = (usize, u64)> {
        let mut bytes = self.0.as_deref().unwrap_or_default().iter();
        let mut next = 0;
        std::iter::from_fn(move || {
            let bucket = next + take(&mut bytes)? as usize;
            next = bucket + 1;
            Some((bucket, take(&mut bytes)?))
        })
    }
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take<'a>(bytes: &mut impl Iterator<Item = &'a u8>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.next()?;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            break;
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unpacked_is_what_was_packed_and_the_same_is_kept_once() {
        let mut counts = [0; 258];
        let none = Packed::default();
        assert!(none.or_pack(&counts).0.is_none());
        for (at, count) in [(0, 1), (1, u64::MAX), (130, 127), (257, 128)] {
            counts[at] = count;
        }
        let packed = none.or_pack(&counts);
        let unpacked: Vec<_> = packed.unpack().collect();
        assert_eq!(unpacked, [(0, 1), (1, u64::MAX), (130, 127), (257, 128)]);
        let same = packed.or_pack(&counts);
        let (Some(one), Some(other)) = (&packed.0, &same.0) else {
            panic!("they are not empty");
        };
        assert!(Arc::ptr_eq(one, other));
        counts[2] = 300;
        assert_eq!(packed.or_pack(&counts).unpack().count(), 5);
    }
}
