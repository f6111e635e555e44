//! The keys of an overlay that runs: which there are and who has them, what may be changed of them without losing a member, and
//! where they are kept. A key is never told.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tidings_engine::{Engine, EngineError, Keyring, Member, NodeId, OverlayId};
use tidings_wire::KeyringError;
use tidings_wire::digest::MemberState;
use utoipa::ToSchema;

use crate::files::{self, SecretFileError};

/// The keys of an overlay.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeysView {
    /// Whether all members that are there are known: before that no key can be used or removed.
    synced: bool,
    /// The slot of the key that seals.
    primary: u8,
    /// Those that this node has.
    keys: Vec<KeyView>,
    /// The members that are not known to have left, this node first.
    members: Vec<KeyHolder>,
    /// Those of them that are behind this node: they lack a key that it has, seal with another, or still talk with it under one that does
    /// not seal here.
    laggards: Vec<Laggard>,
}

/// A member that is behind this node.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Laggard {
    /// Its name.
    #[schema(example = "host-b")]
    name: String,
    /// Its id.
    id: String,
    /// Where it is reached; empty if that is not known.
    #[schema(example = "192.0.2.8:7400")]
    address: String,
    /// `alive`, `suspect` or `dead`.
    #[schema(value_type = String, example = "alive")]
    state: &'static str,
    /// The slots of the keys that it lacks.
    lacks: Vec<u8>,
    /// The slot of the key that it seals with, if that is another than here; null of one that is dead.
    seals_with: Option<u8>,
    /// The slots of the keys under which it and this node talk still, though another seals here: it has not followed yet, which takes a
    /// minute at most, or holds another key in the same slot.
    talks_under: Vec<u8>,
}

/// One key.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct KeyView {
    /// Its slot, 0 to 7.
    slot: u8,
    /// The cipher that it is for.
    #[schema(value_type = String, example = "aes-256-gcm")]
    suite: &'static str,
    /// To compare it with another node's: the same for the same key of the same overlay. Tells nothing of the key.
    #[schema(example = "2f1c09ab")]
    fingerprint: String,
    /// Whether it seals here.
    primary: bool,
    /// Whether a session or a stream of this node depends on it.
    used: bool,
}

/// Which keys a member has, by its own word.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct KeyHolder {
    /// Its name.
    #[schema(example = "host-a")]
    name: String,
    /// Its id.
    id: String,
    /// Where it is reached; empty if that is not known.
    #[schema(example = "192.0.2.7:7400")]
    address: String,
    /// `alive`, `suspect` or `dead`.
    #[schema(value_type = String, example = "alive")]
    state: &'static str,
    /// The slots in which it has keys.
    slots: Vec<u8>,
    /// The slot of the key that it seals with.
    primary: u8,
}

/// A change of a keyring.
pub enum KeyChange {
    /// Adds the keys of a keyring in its text form.
    Install {
        /// The text, which is a secret.
        keyring: String,
        /// The overlay that they are for.
        overlay: OverlayId,
    },
    /// Makes a key the one that seals.
    Use {
        /// Its slot.
        slot: u8,
        /// Though members lack it.
        force: bool,
    },
    /// Drops a key.
    Remove {
        /// Its slot.
        slot: u8,
        /// Though it is in use.
        force: bool,
    },
}

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, slot, force) = match self {
            Self::Install { .. } => return f.write_str("keys installed"),
            Self::Use { slot, force } => ("seals now", slot, force),
            Self::Remove { slot, force } => ("is removed", slot, force),
        };
        let forced = if *force { " by force" } else { "" };
        write!(f, "key {slot} {what}{forced}")
    }
}

impl KeyChange {
    /// Whether nobody's need is asked for.
    pub fn is_forced(&self) -> bool {
        matches!(
            self,
            Self::Use { force: true, .. } | Self::Remove { force: true, .. }
        )
    }

    /// Makes it of a keyring.
    pub fn make(&self, ring: &mut Keyring) -> Result<(), KeyRefusal> {
        match self {
            Self::Install { keyring, overlay } => {
                let given = Keyring::parse(keyring, *overlay).map_err(KeyRefusal::Malformed)?;
                let given = given.into_records();
                if let Some(record) = given.iter().find(|record| !ring.takes(record)) {
                    return Err(KeyRefusal::Occupied {
                        slot: record.slot,
                        free: (0..8).find(|slot| !ring.has(*slot)),
                    });
                }
                for record in given {
                    if !ring.has(record.slot) {
                        ring.install(record).map_err(KeyRefusal::Malformed)?;
                    }
                }
                Ok(())
            }
            Self::Use { slot, .. } => ring
                .set_primary(*slot)
                .map_err(|_| KeyRefusal::missing(*slot, ring)),
            Self::Remove { slot, .. } => match ring.remove(*slot) {
                Ok(()) => Ok(()),
                Err(KeyringError::Primary) => Err(KeyRefusal::Primary { slot: *slot }),
                Err(_) => Err(KeyRefusal::missing(*slot, ring)),
            },
        }
    }
}

/// Why a keyring is not changed.
#[derive(Debug)]
pub enum KeyRefusal {
    /// The text is none.
    Malformed(KeyringError),
    /// There is another key in the slot.
    Occupied {
        /// The slot.
        slot: u8,
        /// One that is free.
        free: Option<u8>,
    },
    /// There is no key in the slot.
    Missing {
        /// The slot.
        slot: u8,
        /// Those with keys.
        there: Vec<u8>,
    },
    /// It seals.
    Primary {
        /// Its slot.
        slot: u8,
    },
    /// Members that are there do not have it.
    Laggards {
        /// Its slot.
        slot: u8,
        /// Who they are.
        members: Vec<String>,
    },
    /// Members that are held dead do not have it, and could not come back.
    Dead {
        /// Its slot.
        slot: u8,
        /// Who they are.
        members: Vec<String>,
    },
    /// Who else is there is not known.
    NotSynced,
    /// It is in use.
    InUse {
        /// Its slot.
        slot: u8,
        /// These members seal with it.
        members: Vec<String>,
        /// Links or streams of this node to these depend on it.
        links: Vec<String>,
        /// The slot of the one that seals instead.
        primary: u8,
    },
    /// The file says something else than what runs.
    NotReloaded(PathBuf),
    /// The file cannot be read or written.
    Unsaved(PathBuf, SecretFileError),
    /// The overlay does not run.
    Engine(EngineError),
}

impl fmt::Display for KeyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::Occupied { slot, .. } => write!(f, "there is another key in slot {slot}"),
            Self::Missing { slot, there } => {
                let there: Vec<String> = there.iter().map(u8::to_string).collect();
                let there = there.join(", ");
                write!(f, "there is no key in slot {slot}, only in {there}")
            }
            Self::Primary { slot } => write!(f, "key {slot} is the one that seals"),
            Self::Laggards { slot, members } => {
                write!(f, "key {slot} is not on {}", members.join(", "))
            }
            Self::Dead { slot, members } => {
                let (are, dead) = (members.join(", "), is_dead(members.len()));
                write!(f, "key {slot} is not on {are}, {dead}")
            }
            Self::NotSynced => f.write_str("not all members are known yet"),
            Self::InUse {
                slot,
                members,
                links,
                ..
            } => {
                write!(f, "key {slot} is in use: ")?;
                match (members.is_empty(), links.is_empty()) {
                    (false, _) => write!(f, "it seals on {}", members.join(", ")),
                    (true, false) => {
                        write!(
                            f,
                            "this node's links with {} depend on it",
                            links.join(", ")
                        )
                    }
                    (true, true) => f.write_str("links of this node depend on it"),
                }
            }
            Self::NotReloaded(path) => {
                write!(f, "{} is not what the node runs with", path.display())
            }
            Self::Unsaved(path, error) => write!(f, "{} {error}", path.display()),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KeyRefusal {}

impl From<EngineError> for KeyRefusal {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl KeyRefusal {
    fn missing(slot: u8, ring: &Keyring) -> Self {
        let there = (0..8).filter(|slot| ring.has(*slot)).collect();
        Self::Missing { slot, there }
    }

    /// Whether what was asked for is no keyring, or no slot.
    pub fn is_mistake(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::Missing { .. })
    }

    /// Its kind, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "bad_keyring",
            Self::Occupied { .. } => "slot_taken",
            Self::Missing { .. } => "no_key",
            Self::Primary { .. } => "primary",
            Self::Laggards { .. } | Self::Dead { .. } => "laggards",
            Self::NotSynced => "not_synced",
            Self::InUse { .. } => "in_use",
            Self::NotReloaded(_) => "not_reloaded",
            Self::Unsaved(..) => "unsaved",
            Self::Engine(_) => "failed",
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Malformed(_) => "give the text of a file made by `tidings keygen`".to_owned(),
            Self::Occupied {
                free: Some(free), ..
            } => {
                format!("make the new key with `tidings keygen FILE --slot {free}`")
            }
            Self::Occupied { free: None, .. } => "remove one that is not used any more".to_owned(),
            Self::Missing { .. } => "name one of those, or install it first".to_owned(),
            Self::Primary { .. } => "use another one first".to_owned(),
            Self::Laggards { slot, .. } => format!(
                "install key {slot} there first; by force those members go on under the old key until they have it"
            ),
            Self::NotSynced => {
                "wait until the node is ready; by force nobody is asked for".to_owned()
            }
            Self::Dead { slot, .. } => format!(
                "start it and install key {slot} there, or wait until it is forgotten; by force (--force) it cannot come back until it has that key"
            ),
            Self::InUse {
                slot,
                members,
                primary,
                ..
            } if members.is_empty() => format!(
                "wait until they have changed over, which takes a minute at most; who stays longer holds another key in slot {primary}, or has not followed: compare fingerprints there and here with `tidings keys list`; by force whoever has nothing but key {slot} is lost"
            ),
            Self::InUse { slot, .. } => format!(
                "use another key there first, and wait until links have changed over, which takes a minute at most; by force whoever has nothing but key {slot} is lost"
            ),
            Self::NotReloaded(_) => {
                "reload the configuration first (SIGHUP), or write the file as it was".to_owned()
            }
            Self::Unsaved(path, _) => format!(
                "give the daemon the right to replace {0}, or change {0} yourself and reload (SIGHUP)",
                path.display()
            ),
            Self::Engine(_) => "see the daemon's log".to_owned(),
        }
    }
}

/// The keys of an overlay, as they are shown.
pub fn view(engine: &Engine, id: OverlayId) -> Result<KeysView, EngineError> {
    let (ring, usage) = (engine.keyring(id)?, engine.key_use(id)?);
    let key = |slot: u8| {
        Some(KeyView {
            slot,
            suite: ring.suite(slot)?.name(),
            fingerprint: ring.fingerprint(slot)?,
            primary: slot == ring.primary_slot(),
            used: usage.used & (1 << slot) != 0,
        })
    };
    let members = engine.members(id)?;
    let talks = engine.key_peers(id)?;
    let here = members.iter().filter(|m| m.state != MemberState::Left);
    let laggard = |member: &Member| {
        let under = talks.iter().find(|(node, _)| *node == member.node);
        laggard(member, &ring, under.map_or(0, |(_, bits)| *bits))
    };
    Ok(KeysView {
        synced: engine.is_synced(id)?,
        primary: ring.primary_slot(),
        keys: (0..8).filter_map(key).collect(),
        members: here.clone().map(holder).collect(),
        laggards: here.filter(|m| !m.is_self).filter_map(laggard).collect(),
    })
}

/// What a member is behind in, if it is; `talks` are the slots of the keys that links with it depend on, one bit each.
fn laggard(member: &Member, ring: &Keyring, talks: u8) -> Option<Laggard> {
    let (dead, primary) = (member.state == MemberState::Dead, ring.primary_slot());
    let lacks = ring.slots() & !member.keys;
    let seals_otherwise = !dead && member.primary != primary;
    let old = talks & !(1 << primary);
    (lacks != 0 || seals_otherwise || old != 0).then(|| Laggard {
        name: member.name.clone(),
        id: member.node.to_string(),
        address: address(member),
        state: super::view::state(member.state),
        lacks: slots(lacks).collect(),
        seals_with: seals_otherwise.then_some(member.primary),
        talks_under: slots(old).collect(),
    })
}

/// The end of a sentence about so many.
fn is_dead(count: usize) -> &'static str {
    match count {
        1 => "which is dead",
        _ => "which are dead",
    }
}

fn holder(member: &Member) -> KeyHolder {
    KeyHolder {
        name: member.name.clone(),
        id: member.node.to_string(),
        address: address(member),
        state: super::view::state(member.state),
        slots: slots(member.keys).collect(),
        primary: member.primary,
    }
}

fn address(member: &Member) -> String {
    let first = member.addresses.first();
    first.map(ToString::to_string).unwrap_or_default()
}

/// A member in words: several may have the same name.
fn called(member: &Member) -> String {
    format!("{} ({})", member.name, address(member))
}

fn slots(bits: u8) -> impl Iterator<Item = u8> {
    (0..8).filter(move |slot| bits & (1 << slot) != 0)
}

/// Whether the members can do with `after` in the place of `before`: they have what seals, and nobody depends on what goes. Of one
/// that is held dead nothing is known but the keys that it had: it has to have what seals, or it might not come back.
pub fn check(
    engine: &Engine,
    id: OverlayId,
    before: &Keyring,
    after: &Keyring,
) -> Result<(), KeyRefusal> {
    let changed = before.differing(after);
    let is_more = changed & before.slots() == 0 && before.primary_slot() == after.primary_slot();
    if !is_more && !engine.is_synced(id)? {
        return Err(KeyRefusal::NotSynced);
    }
    let (gone, primary) = (before.slots() & changed, after.primary_slot());
    let members = engine.members(id)?;
    let is_there = |m: &Member| matches!(m.state, MemberState::Alive | MemberState::Suspect);
    let is_dead = |m: &Member| m.state == MemberState::Dead;
    let names = |those: &dyn Fn(&Member) -> bool| -> Vec<String> {
        let others = members.iter().filter(|member| !member.is_self);
        let those = others.filter(|member| those(member));
        those.map(called).collect()
    };
    let lacks = |member: &Member| member.keys & (1 << primary) == 0;
    let seals = before.primary_slot() != primary || changed & (1 << primary) != 0;
    if seals {
        let laggards = names(&|member| is_there(member) && lacks(member));
        if !laggards.is_empty() {
            return Err(KeyRefusal::Laggards {
                slot: primary,
                members: laggards,
            });
        }
    }
    if seals || gone != 0 {
        let dead = names(&|member| is_dead(member) && lacks(member));
        if !dead.is_empty() {
            return Err(KeyRefusal::Dead {
                slot: primary,
                members: dead,
            });
        }
    }
    let (used, talks) = (engine.key_use(id)?.used, engine.key_peers(id)?);
    for slot in slots(gone) {
        let members = names(&|member| is_there(member) && member.primary == slot);
        let depends = |(_, bits): &&(NodeId, u8)| bits & (1 << slot) != 0;
        let nodes: Vec<NodeId> = talks
            .iter()
            .filter(depends)
            .map(|(node, _)| *node)
            .collect();
        let links = names(&|member| nodes.contains(&member.node));
        if !members.is_empty() || !links.is_empty() || used & (1 << slot) != 0 {
            return Err(KeyRefusal::InUse {
                slot,
                members,
                links,
                primary,
            });
        }
    }
    Ok(())
}

/// Whether two keyrings have the same records, and the same of them seals.
pub fn are_same(one: &Keyring, other: &Keyring) -> bool {
    one.primary_slot() == other.primary_slot() && one.differing(other) == 0
}

/// Gives an overlay a keyring that was read again; tells whether that is another than it had.
pub fn take(engine: &Engine, id: OverlayId, keyring: Keyring) -> Result<bool, KeyRefusal> {
    let before = engine.keyring(id)?;
    if are_same(&before, &keyring) {
        return Ok(false);
    }
    check(engine, id, &before, &keyring)?;
    engine.set_keyring(id, keyring)?;
    Ok(true)
}

/// Puts `after` in the place of `before` in a key file, whole or not at all.
pub fn keep(path: &Path, before: &Keyring, after: &Keyring) -> Result<(), KeyRefusal> {
    let unsaved = |error| KeyRefusal::Unsaved(path.to_owned(), error);
    let text = files::read_secret(path).map_err(unsaved)?;
    let read = Keyring::parse(&text, before.overlay());
    if !read.is_ok_and(|ring| are_same(&ring, before)) {
        return Err(KeyRefusal::NotReloaded(path.to_owned()));
    }
    // Behind a symbolic link the file is replaced, not the link.
    let io = |error: io::Error| unsaved(SecretFileError::NotWritten(error));
    let path = path.canonicalize().map_err(io)?;
    files::replace_secret(&path, &after.to_text()).map_err(io)
}
