//! Nodes for the tests: an overlay with a fixed key on loopback.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod log;

use std::time::{Duration, Instant};

use tidings_engine::{
    Engine, EngineBuilder, KeyRecord, Keyring, OverlayConfig, OverlayId, PresenceKind, Seed, Suite,
};

pub(crate) fn config(name: &str, join: &[&Engine]) -> OverlayConfig {
    let key = KeyRecord::new(0, Suite::Aes256Gcm, [9; 32]);
    let keyring = Keyring::new(OverlayId::from_name(name), vec![key], 0).unwrap();
    OverlayConfig::new(name, keyring)
        .join(join.iter().map(|engine| Seed::Address(engine.local_addr())))
}

pub(crate) fn builder() -> EngineBuilder {
    Engine::builder().bind("127.0.0.1:0".parse().unwrap())
}

/// Two nodes in one overlay.
pub(crate) fn pair(name: &str, make: impl Fn() -> EngineBuilder) -> (Engine, Engine, OverlayId) {
    let (a, b) = (
        make().name("a").start().unwrap(),
        make().name("b").start().unwrap(),
    );
    let id = a.add_overlay(config(name, &[])).unwrap();
    b.add_overlay(config(name, &[&a])).unwrap();
    (a, b, id)
}

/// Whether it is about a member that a busy machine kept silent for a moment, which the others notice.
pub(crate) fn is_passing(kind: PresenceKind) -> bool {
    matches!(kind, PresenceKind::Quarantine | PresenceKind::Rejoin)
}

/// Waits until `holds`, at most 60 s.
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
