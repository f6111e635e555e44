//! Keys of one direction or stream, one per epoch of 2^26 counters, derived when first needed and kept.

use crate::mutants::{Mutant, mutant};
use std::sync::Arc;

use crate::error::OpenError;
use crate::kdf::{Root, SealingKey};
use crate::limits::{COUNTER_END, EPOCH_BITS, FORGERY_END};

/// The epoch of a counter.
pub(crate) fn epoch_of(counter: u64) -> u32 {
    (counter >> EPOCH_BITS) as u32
}

/// Everything that an epoch key is derived from but the epoch: 97 bytes at most.
pub(crate) struct Lineage {
    root: Arc<Root>,
    label: &'static str,
    context: [u8; 104],
    len: usize,
}

impl Lineage {
    /// The lineage of `label` over the concatenation of `parts`.
    pub(crate) fn new(root: &Arc<Root>, label: &'static str, parts: &[&[u8]]) -> Self {
        let mut lineage = Self {
            root: Arc::clone(root),
            label,
            context: [0; 104],
            len: 0,
        };
        for part in parts {
            lineage.context[lineage.len..][..part.len()].copy_from_slice(part);
            lineage.len += part.len();
        }
        lineage
    }

    pub(crate) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    pub(crate) fn suite(&self) -> u8 {
        self.root.suite() as u8
    }

    pub(crate) fn slot(&self) -> u8 {
        self.root.slot()
    }

    /// The key of one epoch: about 2 us.
    pub(crate) fn derive(&self, epoch: u32) -> SealingKey {
        let epoch = if mutant(Mutant::OneEpoch) { 0 } else { epoch };
        self.root.sealing_key(
            self.label,
            &[&self.context[..self.len], &epoch.to_le_bytes()],
        )
    }
}

/// Keys of three neighbouring epochs. Epoch e lies at e mod 3, so that e-1, e and e+1 never displace each other.
pub(crate) struct EpochKeys {
    lineage: Lineage,
    kept: [Option<Box<(u32, SealingKey)>>; 3],
}

impl EpochKeys {
    pub(crate) fn new(lineage: Lineage) -> Self {
        Self {
            lineage,
            kept: [None, None, None],
        }
    }

    pub(crate) fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// The key of `epoch`, if it is kept.
    pub(crate) fn kept(&self, epoch: u32) -> Option<&SealingKey> {
        match self.kept[epoch as usize % 3].as_deref() {
            Some((of, key)) if *of == epoch => Some(key),
            _ => None,
        }
    }

    /// The key of `epoch`, derived if it is not kept.
    pub(crate) fn key(&mut self, epoch: u32) -> &SealingKey {
        let place = &mut self.kept[epoch as usize % 3];
        if place.as_deref().is_none_or(|(of, _)| *of != epoch) {
            *place = None;
        }
        let lineage = &self.lineage;
        &place
            .get_or_insert_with(|| Box::new((epoch, lineage.derive(epoch))))
            .1
    }
}

/// The receiving half of a lineage: opens, and counts what does not verify.
pub(crate) struct Opener {
    keys: EpochKeys,
    forgeries: u64,
}

impl Opener {
    pub(crate) fn new(lineage: Lineage) -> Self {
        Self {
            keys: EpochKeys::new(lineage),
            forgeries: 0,
        }
    }

    pub(crate) fn forgeries(&self) -> u64 {
        self.forgeries
    }

    pub(crate) fn count_forgeries(&mut self, more: u64) {
        self.forgeries += more;
    }

    /// Whether a header names this lineage's suite and slot.
    pub(crate) fn is_named(&self, suite: u8, slot: u8) -> bool {
        suite == self.keys.lineage().suite() && slot == self.keys.lineage().slot()
    }

    /// Slot of the key record that it is derived from.
    pub(crate) fn key_slot(&self) -> u8 {
        self.keys.lineage().slot()
    }

    /// Whether `counter` may be tried while the newest epoch is `newest`.
    pub(crate) fn admit(&self, counter: u64, newest: u32) -> Result<(), OpenError> {
        if self.forgeries >= FORGERY_END {
            return Err(OpenError::Worn);
        }
        if counter >= COUNTER_END || epoch_of(counter).abs_diff(newest) > 1 {
            return Err(OpenError::Epoch);
        }
        Ok(())
    }

    /// Opens in place under the key of the counter's epoch.
    pub(crate) fn open<'a>(
        &mut self,
        counter: u64,
        header: usize,
        datagram: &'a mut [u8],
    ) -> Result<&'a [u8], OpenError> {
        match self
            .keys
            .key(epoch_of(counter))
            .open(counter, header, datagram)
        {
            Some(body) => Ok(body),
            None => {
                self.forgeries += 1;
                Err(OpenError::Forged)
            }
        }
    }
}
