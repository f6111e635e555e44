//! A reload: from what runs to what the configuration says now. New overlays are started first, then options of those that stay are
//! changed; what of these cannot be made takes back the rest, and nothing has changed. Only then what is the node's own is taken over,
//! which each overlay tells its members, then keys, and those that are gone from the configuration are left: none of that can
//! be taken back, so that what fails of it is told and the rest holds.

use tidings_engine::{Engine, Keyring, OverlayEntry, OverlayId};

use super::{Overlays, Refusal, apply, end, shard_of, start};
use crate::config::show::{Row, rows};
use crate::config::{OverlaySettings, Raw, Settings};
use crate::load::{Loaded, load_with};
use crate::node::reload::{self, Report, Turnover};
use crate::node::{keys, log};
use crate::state::State;

/// An overlay whose options a reload has changed.
struct Changed<'a> {
    old: &'a OverlaySettings,
    new: OverlaySettings,
    /// The shard that it ran on.
    ran_on: Option<usize>,
}

/// What a reload has started and changed so far.
struct Made<'a> {
    engine: &'a Engine,
    begun: Vec<&'a OverlaySettings>,
    changed: Vec<Changed<'a>>,
    /// Changes of overlays that do not run, and why not.
    passed_over: Vec<String>,
}

impl Made<'_> {
    /// As it was before; the names of those that could not be taken back.
    fn undo(self) -> Vec<String> {
        let mut left = Vec::new();
        for Changed { old, new, ran_on } in self.changed {
            let before = OverlaySettings {
                shard: ran_on,
                ..old.clone()
            };
            if let Err(error) = apply(self.engine, &new, &before) {
                tracing::error!(overlay = old.name, %error, "what was changed stays changed, though the reload failed");
                left.push(new.name);
            }
        }
        for new in self.begun {
            if let Err(error) = end(self.engine, &new.name) {
                tracing::error!(overlay = new.name, %error, "what was started stays, though the reload failed");
                left.push(new.name.clone());
            }
        }
        left
    }

    /// What was done, a line each.
    fn lines(&self) -> Vec<String> {
        let changed = self.changed.iter();
        let changed = changed.flat_map(|it| reload::differences(it.old, &it.new));
        let begun = self.begun.iter();
        let begun = begun.map(|new| format!("overlay {}: started", new.name));
        changed.chain(begun).collect()
    }
}

impl Overlays {
    /// Reads the configuration file again and makes it hold, as far as a running node can. A mistake anywhere changes nothing, nor does an
    /// overlay that cannot be started or changed.
    pub fn reload(&self) -> Result<Report, Refusal> {
        let mut held = self.begin()?;
        let engine = self.engine()?;
        let new = held.base.again()?;
        let loaded = load_with(new, self.state.read(State::clone))?;
        let (started, settings) = (&held.started, &loaded.settings);
        let raw = loaded.base.with(&loaded.state)?;
        let rows = (rows(&Raw::default(), started), rows(&raw, settings));
        let mut report = Report {
            applied: Vec::new(),
            refused: reload::needs_restart(&rows.0, &rows.1),
        };
        let overruled = loaded.base.overruled(&held.base, &loaded.state);
        let overruled = overruled.iter();
        let overruled = overruled.map(|(name, found)| reload::overruled(name, found));
        report.refused.extend(overruled);
        report.refused.extend(log::overruled(&raw));
        let differing = |key: &str| {
            let value = |rows: &[Row]| {
                let row = rows.iter().find(|row| row.key == key);
                row.map(|row| row.value.clone()).unwrap_or_default()
            };
            let (old, new) = (value(&rows.0), value(&rows.1));
            (old != new).then(|| reload::step(key, &old, &new))
        };
        let Loaded {
            base,
            settings,
            keyrings,
            clients,
            ..
        } = loaded;
        // Those that are started now have the node's own from the beginning.
        let told = engine.overlays();
        let before: Vec<OverlaySettings> = self.running().values().cloned().collect();
        let turnover = Turnover::new(&before, &settings.overlays);
        let theirs = settings.overlays.iter().zip(keyrings);
        let (begun, stayed): (Vec<_>, Vec<_>) =
            theirs.partition(|(new, _)| turnover.begun.contains(&&new.name));
        let made = self.make(&engine, begun, &turnover, &settings)?;
        let lines = made.lines();
        report.refused.extend(made.passed_over);
        {
            let mut running = self.running();
            let begun = made.begun.into_iter().cloned();
            let changed = made.changed.into_iter().map(|it| it.new);
            let now = begun.chain(changed);
            running.extend(now.map(|new| (new.name.clone(), new)));
        }
        held.base = base;
        // What was refused is tried again by the next reload.
        let node = settings.node.clone();
        // A stop is not kept waiting by shards that do not answer.
        let set_metadata = |id| {
            self.goes_on()?;
            Ok(engine.set_metadata(id, node.metadata.clone())?)
        };
        let set_rack = |id| {
            self.goes_on()?;
            Ok(engine.set_rack(id, &node.rack)?)
        };
        if let Some(what) = differing("node.metadata")
            && tell_each(&told, &what, &mut report, set_metadata)
        {
            held.started.node.metadata.clone_from(&node.metadata);
        }
        if let Some(what) = differing("node.rack")
            && tell_each(&told, &what, &mut report, set_rack)
        {
            held.started.node.rack.clone_from(&node.rack);
        }
        if let Some(what) = differing("node.log") {
            let done = log::change(&node.log);
            if done.is_ok() {
                held.started.node.log = node.log;
            }
            report.add(done, what);
        }
        report.applied.extend(differing("client.clients_file"));
        held.started.clients_file.clone_from(&settings.clients_file);
        if self.clients.reload(clients) {
            report.applied.push("clients".to_owned());
        }
        report.applied.extend(lines);
        for (new, keyring) in stayed {
            if let Err(stopping) = self.goes_on() {
                if keyring.is_some() {
                    report.add(Err(stopping), format!("overlay {}: keys", new.name));
                }
                continue;
            }
            let runs_on = shard_of(&engine, &new.name);
            let fixed = reload::fixed(new, runs_on, engine.shards());
            report.refused.extend(fixed);
            self.take_keys(&engine, new, keyring, &mut report);
        }
        for old in turnover.ended {
            if let Err(stopping) = self.goes_on() {
                report.add(Err(stopping), format!("overlay {}: left", old.name));
                continue;
            }
            self.leave(&engine, old, &mut report);
        }
        self.drop_leftovers(&held.base);
        drop(held);
        (self.on_change)();
        Ok(report)
    }

    /// Starts and changes overlays, all of them or none.
    fn make<'a>(
        &self,
        engine: &'a Engine,
        begun: Vec<(&'a OverlaySettings, Option<Keyring>)>,
        turnover: &Turnover<'a>,
        settings: &Settings,
    ) -> Result<Made<'a>, Refusal> {
        let mut made = Made {
            engine,
            begun: Vec::new(),
            changed: Vec::new(),
            passed_over: Vec::new(),
        };
        for (new, keyring) in begun {
            // What was made so far is left with the others.
            self.goes_on()?;
            if let Err(why) = start(engine, new, keyring, &settings.node) {
                return Err(Refusal::NotMade {
                    overlay: new.name.clone(),
                    why: format!("it cannot be started: {why}"),
                    left: made.undo(),
                });
            }
            made.begun.push(new);
        }
        for &(old, new) in &turnover.kept {
            self.goes_on()?;
            let new = reload::takeable(old, new, engine.shards());
            if *old == new {
                continue;
            }
            let ran_on = shard_of(engine, &new.name);
            if ran_on.is_none() {
                let lines = reload::differences(old, &new).into_iter();
                let lines = lines.map(|line| format!("{line}: it was left by a command"));
                made.passed_over.extend(lines);
                continue;
            }
            if let Err(error) = apply(engine, old, &new) {
                let what = reload::differences(old, &new).join(", ");
                return Err(Refusal::NotMade {
                    overlay: new.name,
                    why: format!("it cannot be changed: {error} ({what})"),
                    left: made.undo(),
                });
            }
            made.changed.push(Changed { old, new, ran_on });
        }
        Ok(made)
    }

    /// Leaves an overlay that is not configured any more.
    fn leave(&self, engine: &Engine, old: &OverlaySettings, report: &mut Report) {
        let running = self.running().remove(&old.name);
        let ended = end(engine, &old.name);
        if ended.is_err() {
            // The next reload tries it again.
            let running = running.map(|settings| (old.name.clone(), settings));
            self.running().extend(running);
        }
        report.add(ended, format!("overlay {}: left", old.name));
    }

    // The key file of an overlay that runs was read again.
    fn take_keys(
        &self,
        engine: &Engine,
        new: &OverlaySettings,
        keyring: Option<Keyring>,
        report: &mut Report,
    ) {
        let Some(keyring) = keyring else {
            return;
        };
        let what = format!("overlay {}: keys", new.name);
        match keys::take(engine, OverlayId::from_name(&new.name), keyring) {
            Ok(changed) => {
                if let Some(running) = self.running().get_mut(&new.name) {
                    let (old, new_file) = (running.key.to_string(), new.key.to_string());
                    if old != new_file {
                        let what = format!("overlay {}: key_file", new.name);
                        report.applied.push(reload::step(&what, &old, &new_file));
                    }
                    running.key = new.key.clone();
                }
                if changed {
                    report.applied.push(what);
                }
            }
            Err(refusal) => {
                let remedy = refusal.remedy();
                report.refused.push(format!("{what}: {refusal}; {remedy}"));
            }
        }
    }
}

/// Has each of these overlays tell its members what is the node's own; whether all do.
fn tell_each(
    told: &[OverlayEntry],
    what: &str,
    report: &mut Report,
    tell: impl Fn(OverlayId) -> Result<(), Refusal>,
) -> bool {
    let mut all = true;
    for entry in told {
        let done = tell(entry.id);
        all &= done.is_ok();
        report.add(done, format!("overlay {}: {what}", entry.name));
    }
    all
}
