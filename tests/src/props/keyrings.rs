//! Key files: whatever is read as a keyring is written as one that is read as the same.

use tidings_wire::{Keyring, OverlayId};

/// The text of a key file.
pub fn keyrings(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let overlay = OverlayId::ZERO;
    let Ok(ring) = Keyring::parse(&text, overlay) else {
        return;
    };
    let primary = ring.primary_slot();
    assert!(primary < 8 && ring.slots() >> primary & 1 == 1);
    let suites = |ring: &Keyring| (0..=255).map(|slot| ring.suite(slot)).collect::<Vec<_>>();
    assert!(
        (0..=255)
            .all(|slot| ring.suite(slot).is_some() == (slot < 8 && ring.slots() >> slot & 1 == 1))
    );
    let written = ring.to_text();
    let again = Keyring::parse(&written, overlay).expect("what was written can be read");
    assert_eq!(again.to_text(), written);
    assert_eq!(again.primary_slot(), primary);
    assert_eq!(suites(&again), suites(&ring));
}
