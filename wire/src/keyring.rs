//! The keyring of one overlay: up to eight records, one of them primary, and its text form.

use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

use crate::error::KeyringError;
use crate::ids::{OverlayId, overlay_tag};
use crate::kdf::{Root, hex_into};
use crate::limits::MAX_KEY_SLOTS;
use crate::suite::{AES_192_NAME, Suite};

const TITLE: &str = "tidings-keyring 1";

/// One key: its slot on the wire, its suite for ever, and 32 secret bytes, wiped when dropped.
pub struct KeyRecord {
    /// Slot on the wire, 0 to 7.
    pub slot: u8,
    /// Suite of everything derived from it.
    pub suite: Suite,
    key: [u8; 32],
}

impl KeyRecord {
    /// A record; `key` is 32 bytes of a cryptographic random generator.
    pub fn new(slot: u8, suite: Suite, key: [u8; 32]) -> Self {
        Self { slot, suite, key }
    }
}

impl Drop for KeyRecord {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// A record bound to an overlay, with what is derived once.
struct Bound {
    record: KeyRecord,
    root: Arc<Root>,
    sip: Zeroizing<[u8; 16]>,
}

/// Up to eight records of one overlay. All open, the primary seals.
pub struct Keyring {
    overlay: OverlayId,
    tag: [u8; 8],
    bound: [Option<Arc<Bound>>; MAX_KEY_SLOTS],
    primary: u8,
}

impl Keyring {
    /// Binds `records` to `overlay`; `primary` is the slot that seals.
    pub fn new(
        overlay: OverlayId,
        records: Vec<KeyRecord>,
        primary: u8,
    ) -> Result<Self, KeyringError> {
        let mut ring = Self {
            overlay,
            tag: overlay_tag(overlay),
            bound: Default::default(),
            primary,
        };
        for record in records {
            ring.install(record)?;
        }
        ring.root(primary).ok_or(KeyringError::NoPrimary)?;
        Ok(ring)
    }

    /// Reads the text form: `tidings-keyring 1`, then lines `SLOT SUITE primary|installed HEX64`; `#` begins a comment.
    pub fn parse(text: &str, overlay: OverlayId) -> Result<Self, KeyringError> {
        let mut lines = text.lines().zip(1u32..);
        if lines.next().map(|(line, _)| line.trim_end()) != Some(TITLE) {
            return Err(KeyringError::Title);
        }
        let mut records = Vec::new();
        let mut primary = None;
        for (text, line) in lines {
            let text = text.split('#').next().unwrap_or("").trim();
            if text.is_empty() {
                continue;
            }
            let (record, is_primary) = parse_record(text, line)?;
            if is_primary && primary.replace(record.slot).is_some() {
                return Err(KeyringError::TwoPrimaries);
            }
            records.push(record);
        }
        Self::new(overlay, records, primary.ok_or(KeyringError::NoPrimary)?)
    }

    /// The text form, keys included: a secret.
    pub fn to_text(&self) -> String {
        let mut text = format!("{TITLE}\n");
        for bound in self.bound.iter().flatten() {
            let KeyRecord { slot, suite, key } = &bound.record;
            let role = if *slot == self.primary {
                "primary"
            } else {
                "installed"
            };
            text.push_str(&format!("{slot} {suite} {role} "));
            key.iter()
                .for_each(|byte| text.push_str(&format!("{byte:02x}")));
            text.push('\n');
        }
        text
    }

    /// Adds a record; it opens from now on.
    pub fn install(&mut self, record: KeyRecord) -> Result<(), KeyringError> {
        let slot = record.slot;
        let place = self
            .bound
            .get_mut(usize::from(slot))
            .ok_or(KeyringError::Slot { line: 0 })?;
        if place.is_some() {
            return Err(KeyringError::Duplicate { slot });
        }
        let root = Arc::new(Root::extract(self.overlay, record.suite, slot, &record.key));
        let mut sip = Zeroizing::new([0; 16]);
        root.expand("sip", &[], &mut *sip);
        *place = Some(Arc::new(Bound { record, root, sip }));
        Ok(())
    }

    /// Makes an installed record the one that seals.
    pub fn set_primary(&mut self, slot: u8) -> Result<(), KeyringError> {
        self.root(slot).ok_or(KeyringError::Missing)?;
        self.primary = slot;
        Ok(())
    }

    /// Drops a record that is not primary.
    pub fn remove(&mut self, slot: u8) -> Result<(), KeyringError> {
        if slot == self.primary {
            return Err(KeyringError::Primary);
        }
        let place = self
            .bound
            .get_mut(usize::from(slot))
            .ok_or(KeyringError::Missing)?;
        place.take().map(drop).ok_or(KeyringError::Missing)
    }

    /// Another handle on the same records; no key is copied.
    pub fn share(&self) -> Self {
        Self {
            overlay: self.overlay,
            tag: self.tag,
            bound: self.bound.clone(),
            primary: self.primary,
        }
    }

    /// The slot that seals.
    pub fn primary_slot(&self) -> u8 {
        self.primary
    }

    /// The suite of an installed slot.
    pub fn suite(&self, slot: u8) -> Option<Suite> {
        self.bound(slot).map(|bound| bound.record.suite)
    }

    /// Installed slots, one bit each.
    pub fn slots(&self) -> u8 {
        (0..8)
            .filter(|slot| self.bound(*slot).is_some())
            .fold(0, |bits, slot| bits | (1 << slot))
    }

    /// Whether the record could be installed, or is there already.
    pub fn takes(&self, record: &KeyRecord) -> bool {
        match self.bound(record.slot) {
            Some(bound) => bound.record.suite == record.suite && bound.record.key == record.key,
            None => usize::from(record.slot) < MAX_KEY_SLOTS,
        }
    }

    /// Its records; each is a copy of the secret.
    pub fn into_records(self) -> Vec<KeyRecord> {
        let records = self.bound.iter().flatten().map(|bound| &bound.record);
        records
            .map(|record| KeyRecord::new(record.slot, record.suite, record.key))
            .collect()
    }

    /// Eight hex digits that tell a key of this overlay from another, and nothing of the key itself.
    pub fn fingerprint(&self, slot: u8) -> Option<String> {
        let mut print = [0; 4];
        self.root(slot)?.expand("fingerprint", &[], &mut print);
        Some(print.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether there is a record in the slot.
    pub fn has(&self, slot: u8) -> bool {
        self.bound(slot).is_some()
    }

    /// Slots whose record is not the same in `other`, or is in one of the two only; one bit each.
    pub fn differing(&self, other: &Self) -> u8 {
        let is_same = |slot: &u8| match (self.bound(*slot), other.bound(*slot)) {
            (Some(a), Some(b)) => {
                (a.record.suite, &a.record.key) == (b.record.suite, &b.record.key)
            }
            (None, None) => true,
            _ => false,
        };
        (0..8)
            .filter(|slot| !is_same(slot))
            .fold(0, |bits, slot| bits | (1 << slot))
    }

    /// The overlay that the records are bound to.
    pub fn overlay(&self) -> OverlayId {
        self.overlay
    }

    /// What names that overlay in headers.
    pub fn overlay_tag(&self) -> [u8; 8] {
        self.tag
    }

    pub(crate) fn root(&self, slot: u8) -> Option<&Arc<Root>> {
        self.bound(slot).map(|bound| &bound.root)
    }

    pub(crate) fn sip_key(&self, slot: u8) -> Option<&[u8; 16]> {
        self.bound(slot).map(|bound| &*bound.sip)
    }

    fn bound(&self, slot: u8) -> Option<&Bound> {
        self.bound.get(usize::from(slot))?.as_deref()
    }
}

fn parse_record(text: &str, line: u32) -> Result<(KeyRecord, bool), KeyringError> {
    let mut words = text.split_whitespace();
    let mut word = || words.next().ok_or(KeyringError::Syntax { line });
    let (slot, suite, role, key) = (word()?, word()?, word()?, word()?);
    if words.next().is_some() {
        return Err(KeyringError::Syntax { line });
    }
    let slot = match slot.as_bytes() {
        [digit @ b'0'..=b'7'] => digit - b'0',
        _ => return Err(KeyringError::Slot { line }),
    };
    let suite = match Suite::from_name(suite) {
        Some(suite) => suite,
        None if suite == AES_192_NAME => return Err(KeyringError::Aes192 { line }),
        None => return Err(KeyringError::Suite { line }),
    };
    let is_primary = match role {
        "primary" => true,
        "installed" => false,
        _ => return Err(KeyringError::Syntax { line }),
    };
    let mut record = KeyRecord::new(slot, suite, [0; 32]);
    if !hex_into(key, &mut record.key) {
        return Err(KeyringError::Key { line });
    }
    Ok((record, is_primary))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn parse(lines: &str) -> Result<Keyring, KeyringError> {
        Keyring::parse(&format!("{TITLE}\n{lines}"), OverlayId::from_name("test"))
    }

    #[test]
    fn the_text_form_reads_back() {
        let text = format!(
            "# of the test\n\n1 aes-128-gcm installed {KEY} # old\n3 chacha20-poly1305 primary {KEY}\n"
        );
        let ring = parse(&text).unwrap();
        assert_eq!((ring.primary_slot(), ring.slots()), (3, 0b1010));
        assert_eq!(ring.suite(1), Some(Suite::Aes128Gcm));
        assert_eq!(ring.suite(0), None);
        assert_eq!(ring.suite(200), None);
        let again = Keyring::parse(&ring.to_text(), ring.overlay()).unwrap();
        assert_eq!(again.to_text(), ring.to_text());
    }

    #[test]
    fn a_bad_file_is_refused_with_its_line() {
        let fault = |lines: &str| parse(lines).err().unwrap();
        let line = 2;
        assert_eq!(fault(""), KeyringError::NoPrimary);
        assert_eq!(
            fault("1 aes-256-gcm primary"),
            KeyringError::Syntax { line }
        );
        assert_eq!(
            fault(&format!("1 aes-256-gcm primary {KEY} x")),
            KeyringError::Syntax { line }
        );
        assert_eq!(
            fault(&format!("1 aes-256-gcm main {KEY}")),
            KeyringError::Syntax { line }
        );
        assert_eq!(
            fault(&format!("8 aes-256-gcm primary {KEY}")),
            KeyringError::Slot { line }
        );
        assert_eq!(
            fault(&format!("+1 aes-256-gcm primary {KEY}")),
            KeyringError::Slot { line }
        );
        assert_eq!(
            fault(&format!("1 rot13 primary {KEY}")),
            KeyringError::Suite { line }
        );
        assert_eq!(
            fault("1 aes-256-gcm primary 00"),
            KeyringError::Key { line }
        );
        assert_eq!(
            fault(&format!("1 aes-256-gcm installed {KEY}")),
            KeyringError::NoPrimary
        );
        let twice = format!("1 aes-256-gcm primary {KEY}\n2 aes-256-gcm primary {KEY}");
        assert_eq!(fault(&twice), KeyringError::TwoPrimaries);
        let same = format!("1 aes-256-gcm primary {KEY}\n1 aes-256-gcm installed {KEY}");
        assert_eq!(fault(&same), KeyringError::Duplicate { slot: 1 });
        let untitled = Keyring::parse("1 aes-256-gcm primary", OverlayId::ZERO).err();
        assert_eq!(untitled, Some(KeyringError::Title));
    }

    #[test]
    fn every_suite_reads_back_and_an_unknown_one_is_told_which_there_are() {
        let told = KeyringError::Suite { line: 2 }.to_string();
        for suite in Suite::ALL {
            let ring = parse(&format!("1 {suite} primary {KEY}")).unwrap();
            assert_eq!(ring.suite(1), Some(suite));
            assert!(ring.to_text().contains(&format!(" {suite} ")));
            assert!(told.contains(suite.name()), "{told}");
            assert_eq!(Suite::from_wire(suite as u8), Some(suite));
        }
    }

    #[cfg(not(feature = "aes-192"))]
    #[test]
    fn aes_192_is_named_as_reserved_where_it_is_not_built() {
        let fault = parse(&format!("1 aes-192-gcm primary {KEY}"))
            .err()
            .unwrap();
        assert_eq!(fault, KeyringError::Aes192 { line: 2 });
        assert!(fault.to_string().contains("reserved"));
        assert_eq!(Suite::from_wire(4), None);
    }

    #[test]
    fn a_rotation_installs_then_uses_then_removes() {
        let mut ring = parse(&format!("0 aes-256-gcm primary {KEY}")).unwrap();
        ring.install(KeyRecord::new(1, Suite::Aes128Gcm, [9; 32]))
            .unwrap();
        assert_eq!(ring.remove(0), Err(KeyringError::Primary));
        assert_eq!(ring.set_primary(5), Err(KeyringError::Missing));
        ring.set_primary(1).unwrap();
        let before = ring.share();
        ring.remove(0).unwrap();
        assert_eq!(ring.differing(&before), 0b1);
        assert_eq!(ring.remove(0), Err(KeyringError::Missing));
        ring.install(KeyRecord::new(0, Suite::Aes256Gcm, [1; 32]))
            .unwrap();
        assert_eq!((ring.differing(&before), ring.differing(&ring)), (0b1, 0));
        ring.remove(0).unwrap();
        assert_eq!((ring.primary_slot(), ring.slots()), (1, 0b10));
    }
}
