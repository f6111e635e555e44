//! The overlays of the node as they come, change and go while it runs. Every change is on disk before it is made, and is taken
//! back there if it cannot be made: a crash at any moment leaves the overlays of before or of after. Called by the management
//! service and by reloads (`overlays/turnover.rs`), one at a time; never by a shard.

#[cfg(test)]
mod tests;
mod turnover;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tidings_engine::{
    Engine, EngineError, Keyring, OverlayConfig, OverlayId, Policy, Profile, Redelivery,
    StorageError, Suite,
};

use super::clients::Clients;
use super::keys::{self, KeyChange, KeyRefusal, KeysView};
use super::reload;
use crate::config::{self, Discovery, Key, NodeSettings, OverlaySettings, Problems, Settings};
use crate::load::{Base, generate_key};
use crate::state::{OverlayState, State, StateError, StateFile};
use crate::verbs::keygen::new_keyring;

/// Why nothing was changed.
#[derive(Debug)]
pub enum Refusal {
    /// There is no overlay of this name; those that there are.
    Unknown(String, Vec<String>),
    /// There is one of this name already.
    Exists(String),
    /// There is one of this name, made by a request, that does not run: it could be neither started nor taken back.
    Idle(String),
    /// What is wrong with the options.
    Invalid(Problems),
    /// It stands in the configuration file, or is given by flags.
    Configured(String),
    /// A flag says what the option is.
    Fixed {
        /// The option.
        option: String,
        /// The flag.
        flag: String,
    },
    /// Another key would not do.
    Keys(KeyRefusal),
    /// The state cannot be written.
    State(StateError),
    /// The engine refused.
    Engine(EngineError),
    /// An overlay of a new configuration could not be started or changed.
    NotMade {
        /// The overlay.
        overlay: String,
        /// Why not.
        why: String,
        /// Overlays that were started or changed before it, and could not be taken back.
        left: Vec<String>,
    },
    /// The node stops.
    Stopping,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name, here) if here.is_empty() => {
                write!(f, "no overlay named {name:?}: this node runs none")
            }
            Self::Unknown(name, here) => write!(
                f,
                "no overlay named {name:?}: this node runs {}",
                here.join(", ")
            ),
            Self::Exists(name) => write!(f, "there is an overlay named {name:?} already"),
            Self::Idle(name) => {
                write!(
                    f,
                    "there is an overlay named {name:?} that could not be started"
                )
            }
            Self::Invalid(problems) => problems.fmt(f),
            Self::Configured(name) => {
                write!(f, "the overlay {name:?} stands in the node's configuration")
            }
            Self::Fixed { option, flag } => write!(f, "{option} is fixed by the flag {flag}"),
            Self::Keys(refusal) => refusal.fmt(f),
            Self::State(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
            Self::NotMade { overlay, why, .. } => write!(f, "overlay {overlay}: {why}"),
            Self::Stopping => f.write_str("the node is stopping"),
        }
    }
}

impl Refusal {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unknown(..) => "name one of those, or make it first".to_owned(),
            Self::Exists(_) => "change that one, or choose another name".to_owned(),
            Self::Idle(_) => {
                "remove it first, or reload the configuration, which tries to start it".to_owned()
            }
            Self::Invalid(_) => "mend what is named, and try again; nothing was changed".to_owned(),
            Self::Configured(_) => {
                "remove it there, and reload the configuration (SIGHUP)".to_owned()
            }
            Self::Fixed { .. } => "start the node without that flag".to_owned(),
            Self::Keys(refusal) => refusal.remedy(),
            Self::State(error) => error.remedy(),
            Self::Engine(EngineError::Discovery(_)) => {
                "raise the daemon's limits of threads and open files, and ask again".to_owned()
            }
            Self::Engine(EngineError::NoShard(_)) => {
                "name one of those, or start the node again, which makes those of its configuration"
                    .to_owned()
            }
            Self::Engine(_) => "see the daemon's log".to_owned(),
            Self::NotMade { left, .. } if left.is_empty() => {
                "mend what is named, and reload again; nothing was changed".to_owned()
            }
            Self::NotMade { left, .. } => format!(
                "mend what is named, and reload again; what was begun of {} could not be taken back",
                left.join(", ")
            ),
            Self::Stopping => "try again when it is back".to_owned(),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<StateError> for Refusal {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<KeyRefusal> for Refusal {
    fn from(refusal: KeyRefusal) -> Self {
        Self::Keys(refusal)
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<Problems> for Refusal {
    fn from(problems: Problems) -> Self {
        Self::Invalid(problems)
    }
}

/// A new overlay.
pub struct Wish {
    /// Its name.
    pub name: String,
    /// Options that differ from the defaults, in the form of the configuration file.
    pub options: Map<String, Value>,
    /// Its keyring in text form. `None`: a new key is made.
    pub keyring: Option<String>,
    /// The cipher of a new key.
    pub suite: Suite,
}

/// How long a change that is under way is waited for when the node stops: the longest of its steps is a farewell, of 3 s at most.
const LAST_STEP: Duration = Duration::from_secs(4);

/// What is told when overlays came or went.
type OnChange = Box<dyn Fn() + Send + Sync>;

/// See the module.
pub struct Overlays {
    engine: Weak<Engine>,
    state: Arc<StateFile>,
    /// Held while a change is made, so that there is one at a time.
    held: Mutex<Held>,
    /// What runs, as it was applied. Held for a look only.
    running: Mutex<BTreeMap<String, OverlaySettings>>,
    clients: Arc<Clients>,
    on_change: OnChange,
    /// The node stops: a change ends with its next step.
    stops: AtomicBool,
}

struct Held {
    /// What file and flags say.
    base: Base,
    /// What the node was started with; what of it changes while it runs is as it is now.
    started: Settings,
}

impl Overlays {
    /// For a running node, which was started with `settings`.
    pub fn new(
        engine: Weak<Engine>,
        state: Arc<StateFile>,
        (base, settings): (Base, Settings),
        clients: Arc<Clients>,
        on_change: OnChange,
    ) -> Self {
        let running = settings.overlays.iter();
        let running = running.map(|overlay| (overlay.name.clone(), overlay.clone()));
        let overlays = Self {
            engine,
            state,
            running: Mutex::new(running.collect()),
            held: Mutex::new(Held {
                base,
                started: settings,
            }),
            clients,
            on_change,
            stops: AtomicBool::new(false),
        };
        overlays.drop_leftovers(&overlays.held().base);
        overlays
    }

    fn engine(&self) -> Result<Arc<Engine>, Refusal> {
        self.engine.upgrade().ok_or(Refusal::Stopping)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a change that begins.
    fn begin(&self) -> Result<MutexGuard<'_, Held>, Refusal> {
        let held = self.held();
        self.goes_on()?;
        Ok(held)
    }

    fn goes_on(&self) -> Result<(), Refusal> {
        match self.stops.load(Ordering::Acquire) {
            true => Err(Refusal::Stopping),
            false => Ok(()),
        }
    }

    /// The node stops: no change is begun from now on, and one that is under way ends with its next step, which is waited for, at
    /// most [`LAST_STEP`]. What such a reload has started is left with the others.
    pub fn stop(&self) {
        self.stops.store(true, Ordering::Release);
        let until = Instant::now() + LAST_STEP;
        while matches!(self.held.try_lock(), Err(TryLockError::WouldBlock)) {
            if Instant::now() >= until {
                tracing::warn!(
                    "a change of overlays is still under way; the node stops all the same"
                );
                return;
            }
            std::thread::sleep(LAST_STEP / 400);
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, OverlaySettings>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clients that may attach by name.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// The options of an overlay as they hold now.
    pub fn options(&self, name: &str) -> Result<OverlaySettings, Refusal> {
        let running = self.running();
        let found = running.get(name).cloned();
        found.ok_or_else(|| Refusal::Unknown(name.to_owned(), running.keys().cloned().collect()))
    }

    /// Changes what else is kept of an overlay that runs, as its tokens.
    pub fn change_kept<T, E: From<Refusal> + From<StateError>>(
        &self,
        name: &str,
        change: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        self.state.change(|state| {
            // One that is being removed is not running any more, and its entry goes after that.
            self.options(name)?;
            change(state)
        })
    }

    /// Makes an overlay and starts it. `with` adds what else is kept of it, in the same change.
    pub fn create<T, E: From<Refusal> + From<StateError>>(
        &self,
        wish: Wish,
        with: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<(OverlaySettings, T), E> {
        let held = self.begin()?;
        let engine = self.engine()?;
        let name = wish.name.clone();
        check_name(&name)?;
        let is_there = engine.overlays().iter().any(|entry| entry.name == name);
        if is_there || held.base.names(&name) {
            return Err(Refusal::Exists(name).into());
        }
        let (text, keyring) = keyring(&wish)?;
        let (settings, added) = self.state.change(|state| {
            if state.overlays.get(&name).is_some_and(|kept| kept.created) {
                // Left by a command, it starts again with the node.
                let refusal = match self.options(&name) {
                    Ok(_) => Refusal::Exists,
                    Err(_) => Refusal::Idle,
                };
                return Err(refusal(name.clone()).into());
            }
            let entry = OverlayState {
                created: true,
                options: wish.options,
                keyring: Some(text),
                tokens: Vec::new(),
            };
            state.overlays.insert(name.clone(), entry);
            let settings = settings_of(&held.base, state, &name)?;
            Ok::<_, E>((settings, with(state)?))
        })?;
        let config = config_of(&settings, keyring, &held.started.node);
        if let Err(error) = engine.add_overlay(config) {
            self.take_back(&name, |state| drop(state.overlays.remove(&name)));
            // Its folder is there already, perhaps. That it cannot be removed is told at the next start.
            let _ = engine.forget_overlay(OverlayId::from_name(&name));
            return Err(Refusal::Engine(error).into());
        }
        self.running().insert(name.clone(), settings.clone());
        (self.on_change)();
        tracing::info!(overlay = name, "made and started");
        Ok((settings, added))
    }

    /// Changes options of an overlay: `null` takes one back to what the configuration file or the default says.
    pub fn change(
        &self,
        name: &str,
        patch: &Map<String, Value>,
    ) -> Result<OverlaySettings, Refusal> {
        self.set(name, patch, |options| config::merge(options, patch))
    }

    /// Replaces all that was set of an overlay's options; those that are left out are what the configuration file or the default
    /// says.
    pub fn replace(
        &self,
        name: &str,
        options: &Map<String, Value>,
    ) -> Result<OverlaySettings, Refusal> {
        self.set(name, options, |kept| kept.clone_from(options))
    }

    fn set(
        &self,
        name: &str,
        named: &Map<String, Value>,
        change: impl FnOnce(&mut Map<String, Value>),
    ) -> Result<OverlaySettings, Refusal> {
        let held = self.begin()?;
        let engine = self.engine()?;
        let before = self.options(name)?;
        if let Some((option, flag)) = held.base.fixed(name, named.keys().map(String::as_str)) {
            return Err(Refusal::Fixed {
                option: option.to_owned(),
                flag,
            });
        }
        let was = self.state.read(|state| {
            let kept = state.overlays.get(name);
            kept.map(|kept| kept.options.clone()).unwrap_or_default()
        });
        let after = self.state.change(|state| {
            set_options(state, name, change);
            let after = settings_of(&held.base, state, name)?;
            match after.shard.is_some_and(|shard| shard >= engine.shards())
                && named.contains_key("shard")
            {
                true => Err(Refusal::Engine(EngineError::NoShard(engine.shards()))),
                false => Ok(reload::takeable(&before, &after, engine.shards())),
            }
        })?;
        if let Err(error) = apply(&engine, &before, &after) {
            self.take_back(name, |state| set_options(state, name, |now| *now = was));
            return Err(Refusal::Engine(error));
        }
        self.running().insert(name.to_owned(), after.clone());
        tracing::info!(overlay = name, "options changed");
        Ok(after)
    }

    /// The keys of an overlay, and who has them.
    pub fn keys(&self, name: &str) -> Result<KeysView, Refusal> {
        self.options(name)?;
        Ok(keys::view(&*self.engine()?, OverlayId::from_name(name))?)
    }

    /// Changes the keyring of an overlay. It is on disk, where it was read from, before the engine has it.
    pub fn change_keys(&self, name: &str, change: &KeyChange) -> Result<KeysView, Refusal> {
        let _held = self.begin()?;
        let engine = self.engine()?;
        let settings = self.options(name)?;
        let id = OverlayId::from_name(name);
        let before = engine.keyring(id)?;
        let mut after = before.share();
        change.make(&mut after)?;
        if !change.is_forced() {
            keys::check(&engine, id, &before, &after)?;
        }
        if keys::are_same(&before, &after) {
            return Ok(keys::view(&engine, id)?);
        }
        self.keep_keys(&settings, &before, &after)?;
        if let Err(error) = engine.set_keyring(id, after.share()) {
            if let Err(refusal) = self.keep_keys(&settings, &after, &before) {
                tracing::error!(overlay = name, %refusal, "keys that could not be changed stay changed on disk");
            }
            return Err(error.into());
        }
        tracing::info!(overlay = name, "{change}");
        Ok(keys::view(&engine, id)?)
    }

    /// Puts a keyring in the place of `before`, where the overlay's is kept.
    fn keep_keys(
        &self,
        settings: &OverlaySettings,
        before: &Keyring,
        after: &Keyring,
    ) -> Result<(), Refusal> {
        if let Some(path) = settings.key.path() {
            return Ok(keys::keep(path, before, after)?);
        }
        self.state.change(|state| {
            let kept = state.overlays.get_mut(&settings.name);
            let kept = kept.ok_or_else(|| Refusal::Unknown(settings.name.clone(), Vec::new()))?;
            kept.keyring = Some(after.to_text());
            Ok(())
        })
    }

    /// Leaves an overlay gracefully and forgets it; one that is kept and does not run, too.
    pub fn remove(&self, name: &str) -> Result<(), Refusal> {
        let held = self.begin()?;
        let engine = self.engine()?;
        let is_kept = |state: &State| state.overlays.get(name).is_some_and(|kept| kept.created);
        if !self.state.read(is_kept) {
            self.options(name)?;
        }
        if held.base.names(name) {
            return Err(Refusal::Configured(name.to_owned()));
        }
        let running = self.running().remove(name);
        let put_back = || {
            self.running()
                .extend(running.clone().map(|settings| (name.to_owned(), settings)));
        };
        let removed = self
            .state
            .change(|state| Ok::<_, StateError>(state.overlays.remove(name)));
        let entry = removed.inspect_err(|_| put_back())?;
        if let Err(error) = end(&engine, name) {
            put_back();
            self.take_back(name, |state| {
                state
                    .overlays
                    .extend(entry.map(|entry| (name.to_owned(), entry)));
            });
            return Err(Refusal::Engine(error));
        }
        (self.on_change)();
        tracing::info!(overlay = name, "left and forgotten");
        Ok(())
    }

    // What was changed of an overlay of the configuration ends with its entry there.
    fn drop_leftovers(&self, base: &Base) {
        let dropped = self.state.change(|state| {
            state
                .overlays
                .retain(|name, kept| kept.created || base.names(name));
            Ok::<_, StateError>(())
        });
        if let Err(error) = dropped {
            tracing::warn!(%error, "what was changed of former overlays stays in the state");
        }
    }

    // What is on disk shall be what runs.
    fn take_back(&self, name: &str, change: impl FnOnce(&mut State)) {
        let taken = self.state.change(|state| {
            change(state);
            Ok::<_, StateError>(())
        });
        if let Err(error) = taken {
            tracing::error!(overlay = name, %error, "a change that could not be made stays on disk");
        }
    }
}

/// Changes the options that are kept of an overlay; nothing is kept of one without any.
fn set_options(state: &mut State, name: &str, change: impl FnOnce(&mut Map<String, Value>)) {
    let entry = state.overlays.entry(name.to_owned()).or_default();
    change(&mut entry.options);
    if *entry == OverlayState::default() {
        state.overlays.remove(name);
    }
}

/// Names that could not be asked for: the configuration file may have spaces around one, and users have theirs.
fn check_name(name: &str) -> Result<(), Refusal> {
    let user = name.split(':').next().unwrap_or_default();
    let (wrong, remedy) = if name != name.trim() {
        ("begins or ends with a space", "write it without")
    } else if matches!(user, "user" | "superuser") {
        // `Authorization: Basic OVERLAY:TOKEN` would be taken for that user's password.
        (
            "is or begins with the name of a user",
            "choose another name",
        )
    } else {
        return Ok(());
    };
    let problems = Problems::one("request", "name", format!("{name:?} {wrong}"), remedy);
    Err(Refusal::Invalid(problems))
}

/// Why an overlay of the configuration does not start.
#[derive(Debug)]
pub enum NotStarted {
    /// It has no key.
    Key(String),
    /// The engine refused.
    Engine(EngineError),
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(what) => f.write_str(what),
            Self::Engine(EngineError::Storage(error)) => {
                write!(f, "its generation cannot be kept: {error}")
            }
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl NotStarted {
    /// What to do about it, where there is more to say than what is wrong.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Engine(EngineError::Storage(error)) => Some(storage_remedy(error)),
            Self::Key(_) | Self::Engine(_) => None,
        }
    }
}

/// What to do about a data directory that does not take what a node must keep before it speaks.
pub fn storage_remedy(error: &StorageError) -> String {
    let path = match error {
        StorageError::Held { .. } => return "stop that node".to_owned(),
        StorageError::Damaged(path) => {
            return format!(
                "bring {} back from a backup, or remove it: a new one is then agreed on with the members",
                path.display()
            );
        }
        StorageError::Io(path, _) => path.display(),
    };
    format!(
        "make room on the disk of {path}, or mend it or its rights, and start again: a node that cannot keep who it is and how often it has started would be taken for an earlier life of itself"
    )
}

/// Starts an overlay of the configuration, with a fresh key if it has none yet and generates its own.
pub fn start(
    engine: &Engine,
    overlay: &OverlaySettings,
    keyring: Option<Keyring>,
    node: &NodeSettings,
) -> Result<(), NotStarted> {
    let keyring = match (keyring, &overlay.key) {
        (Some(keyring), _) => keyring,
        (None, Key::Kept) => {
            let what = "the node's state has no key of it";
            return Err(NotStarted::Key(what.to_owned()));
        }
        (None, Key::Generated(path) | Key::File(path)) => {
            generate_key(overlay, path).map_err(|error| {
                let path = path.display();
                NotStarted::Key(format!("its key cannot be made at {path}: {error}"))
            })?
        }
    };
    let added = engine.add_overlay(config_of(overlay, keyring, node));
    added.map(|_| ()).map_err(NotStarted::Engine)
}

/// The shard that an overlay runs on.
fn shard_of(engine: &Engine, name: &str) -> Option<usize> {
    let entries = engine.overlays();
    let entry = entries.iter().find(|entry| entry.name == name);
    entry.map(|entry| entry.shard)
}

/// Leaves an overlay, if it runs, and forgets what is kept of it.
fn end(engine: &Engine, name: &str) -> Result<(), EngineError> {
    let id = OverlayId::from_name(name);
    match engine.remove_overlay(id) {
        // Left before, by a command.
        Ok(()) | Err(EngineError::Unknown) => engine.forget_overlay(id),
        Err(error) => Err(error),
    }
}

/// Forgets what is kept of overlays that are not in the configuration any more: nobody will ask for it, and a node that was
/// killed while it removed one goes on with that.
pub fn forget_others(engine: &Engine, settings: &[OverlaySettings]) {
    let ids: Vec<_> = settings
        .iter()
        .map(|overlay| OverlayId::from_name(&overlay.name))
        .collect();
    let forgotten = engine.kept_overlays().and_then(|kept| {
        kept.into_iter()
            .filter(|id| !ids.contains(id))
            .try_for_each(|id| {
                tracing::info!(%id, "what was kept of an overlay that is no more is removed");
                engine.forget_overlay(id)
            })
    });
    if let Err(error) = forgotten {
        tracing::warn!(%error, "what is kept of former overlays cannot be removed");
    }
}

fn settings_of(base: &Base, state: &State, name: &str) -> Result<OverlaySettings, Refusal> {
    let overlays = base.settings(state)?.overlays;
    let names = || {
        overlays
            .iter()
            .map(|overlay| overlay.name.clone())
            .collect()
    };
    let found = overlays.iter().find(|overlay| overlay.name == name);
    found
        .cloned()
        .ok_or_else(|| Refusal::Unknown(name.to_owned(), names()))
}

/// The keyring that a new overlay shall have, as text and read.
fn keyring(wish: &Wish) -> Result<(String, Keyring), Refusal> {
    let text = match &wish.keyring {
        Some(text) => text.clone(),
        None => new_keyring(wish.suite, 0).map_err(|error| {
            Refusal::Invalid(Problems::one(
                "request",
                "suite",
                format!("a key cannot be made: {error}"),
                "give a keyring made by `tidings keygen`",
            ))
        })?,
    };
    match Keyring::parse(&text, OverlayId::from_name(&wish.name)) {
        // Without comments, of which a file may have megabytes.
        Ok(keyring) => Ok((keyring.to_text(), keyring)),
        Err(error) => Err(Refusal::Invalid(Problems::one(
            "request",
            "keyring",
            error.to_string(),
            "give the text of a file made by `tidings keygen`",
        ))),
    }
}

/// Makes what was set hold, all of it or nothing.
fn apply(
    engine: &Engine,
    before: &OverlaySettings,
    after: &OverlaySettings,
) -> Result<(), EngineError> {
    let ran_on = shard_of(engine, &after.name);
    let applied = turn(engine, before, after, after.shard);
    if applied.is_err() {
        match turn(engine, after, before, ran_on) {
            // One that is gone has nothing to take back.
            Ok(()) | Err(EngineError::Unknown) => {}
            Err(error) => {
                tracing::error!(overlay = after.name, %error, "options that could not be changed hold in part");
            }
        }
    }
    applied
}

fn turn(
    engine: &Engine,
    before: &OverlaySettings,
    after: &OverlaySettings,
    shard: Option<usize>,
) -> Result<(), EngineError> {
    let id = OverlayId::from_name(&after.name);
    if before.join != after.join {
        engine.set_join(id, &after.join)?;
    }
    if engine.policy(id)? != policy_of(after) {
        engine.set_policy(id, policy_of(after))?;
    }
    engine.set_discovery(id, after.discovery == Discovery::Lan)?;
    // Where none is asked for it stays, and where that is one which the next start makes.
    let shard = shard.filter(|&shard| shard < engine.shards());
    shard.map_or(Ok(()), |shard| engine.move_overlay(id, shard))
}

/// What the engine is told of an overlay that starts.
fn config_of(overlay: &OverlaySettings, keyring: Keyring, node: &NodeSettings) -> OverlayConfig {
    let mut config = OverlayConfig::new(&overlay.name, keyring);
    config.join.clone_from(&overlay.join);
    config.discovery = overlay.discovery == Discovery::Lan;
    config.shard = overlay.shard;
    config.metadata = Some(node.metadata.clone());
    config.rack = Some(node.rack.clone());
    config.policy = policy_of(overlay);
    config
}

/// What the engine is told of an overlay that runs.
fn policy_of(overlay: &OverlaySettings) -> Policy {
    Policy {
        profile: profile(overlay.profile),
        max_message: overlay.max_message,
        max_datagram: overlay.max_datagram,
        retain: overlay.retain,
        redelivery: Redelivery {
            attempts: overlay.attempts,
            every_ms: u32::try_from(overlay.every.as_millis()).unwrap_or(u32::MAX),
        },
        park_max: nanos(overlay.park_max),
        client_grace: nanos(overlay.client_grace),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn profile(profile: config::Profile) -> Profile {
    match profile {
        config::Profile::Lan => Profile::LAN,
        config::Profile::Wan => Profile::WAN,
        config::Profile::Local => Profile::LOCAL,
    }
}
