//! What changes of an overlay while it runs: keys, policy, whom it joins and how it looks for them, what it tells of this node.

use std::sync::Arc;

use tidings_protocol::Policy;
use tidings_wire::{Keyring, OverlayId};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::join::Seed;
use crate::limits::RESOLVE_FIRST;
use crate::resolver;

impl Engine {
    /// Replaces the keyring of an overlay while it runs. Links change over to its primary key within a minute, without losing
    /// what was accepted; what is derived from a record that it lacks ends at once. Members that do not hold the primary key
    /// are talked with under another that both have; members without any in common are lost. So: install on all, then
    /// use on all, then remove, and look at [`Engine::members`] and [`Engine::key_use`] in between. The keyring of another overlay
    /// is `EngineError::Unknown`.
    pub fn set_keyring(&self, id: OverlayId, keyring: Keyring) -> Result<(), EngineError> {
        let ring = keyring.share();
        match self
            .inner
            .ask(id, move |now, overlay| overlay.set_keyring(now, keyring))?
        {
            true => {
                self.inner.discovery.set_keyring(id, ring);
                Ok(())
            }
            false => Err(EngineError::Unknown),
        }
    }

    /// Turns discovery on or off for an overlay. On: beacons, sealed under the overlay's key, tell the nodes of this network segment
    /// where this one is reached, and whoever of them is heard is tried, as a seed is. An overlay without another member then waits for
    /// one before it publishes, for 5 s at most, as after a start. Members that are there stay when it is turned off.
    pub fn set_discovery(&self, id: OverlayId, on: bool) -> Result<(), EngineError> {
        if on == self.inner.discovery.is_on(id) {
            return self.inner.running(id).map(|_| ());
        }
        if !on {
            self.inner.discovery.turn_off(id);
            return Ok(());
        }
        let ring = self.inner.ask(id, |now, overlay| {
            overlay.begin_joining(now);
            overlay.core.keyring().share()
        })?;
        {
            // While the overlays are held none of them ends.
            let overlays = self.inner.overlays();
            if !overlays.running.contains_key(&id) {
                return Err(EngineError::Unknown);
            }
            let on = self.inner.discovery.turn_on(&self.inner, id, ring);
            on.map_err(EngineError::Discovery)?;
        }
        // Changed in between: what was asked for first is not the last word.
        match self.keyring(id) {
            Ok(ring) => self.inner.discovery.set_keyring(id, ring),
            Err(error) => {
                self.inner.discovery.turn_off(id);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Replaces what may change of an overlay while it runs. It holds when this returns, for members, paths, subscriptions and
    /// messages that are there, too. Publishers that are open take no message that their rings do not hold; clients' publishers
    /// are told another largest message at once.
    pub fn set_policy(&self, id: OverlayId, policy: Policy) -> Result<(), EngineError> {
        self.inner
            .ask(id, move |now, overlay| overlay.set_policy(now, policy))
    }

    /// What an overlay's policy is now.
    pub fn policy(&self, id: OverlayId) -> Result<Policy, EngineError> {
        self.inner
            .ask(id, |_, overlay| overlay.core.config().policy)
    }

    /// Replaces where an overlay joins. Waits at most 2 s for names; those that resolve later are used as soon as they do. An overlay
    /// that had nobody to join and has no other member publishes nothing from then on before it knows the subscriptions there, for
    /// 5 s at most, as after a start.
    pub fn set_join(&self, id: OverlayId, join: &[Seed]) -> Result<(), EngineError> {
        let seeds: Arc<[Seed]> = join.into();
        let resolved = resolver::first(&self.inner.resolver, &seeds, RESOLVE_FIRST);
        let (before, begins) = {
            let mut overlays = self.inner.overlays();
            let running = overlays.running.get_mut(&id).ok_or(EngineError::Unknown)?;
            let before = std::mem::replace(&mut running.seeds, Arc::clone(&seeds));
            let begins = before.is_empty() && !seeds.is_empty();
            (before, begins)
        };
        let told = self.inner.set_seeds(id, resolved, begins);
        if told.is_err() {
            let mut overlays = self.inner.overlays();
            let running = overlays.running.get_mut(&id);
            // Unless somebody else replaced them meanwhile.
            if let Some(running) = running.filter(|now| Arc::ptr_eq(&now.seeds, &seeds)) {
                running.seeds = before;
            }
        }
        // Those of before, too, if it comes to that. A resolver that is gone means that the node ends.
        let _ = self.inner.resolver.send(resolver::Message::Started(id));
        told
    }

    /// Replaces this node's tags in an overlay.
    pub fn set_metadata(&self, id: OverlayId, metadata: Vec<u8>) -> Result<(), EngineError> {
        let set = self.inner.ask(id, move |_, overlay| {
            overlay.touched = true;
            overlay.core.set_metadata(&metadata)
        })?;
        Ok(set?)
    }

    /// Replaces this node's rack in an overlay: 64 bytes at most.
    pub fn set_rack(&self, id: OverlayId, rack: &str) -> Result<(), EngineError> {
        let rack = rack.to_owned();
        let set = self.inner.ask(id, move |_, overlay| {
            overlay.touched = true;
            overlay.core.set_rack(&rack)
        })?;
        Ok(set?)
    }
}
