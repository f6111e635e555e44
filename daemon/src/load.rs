//! Everything that a node needs before it starts: flags laid over what was changed while it ran, that over the file, all
//! made settings; keyrings and the client file read. Nothing is started, and only `run` lets a missing generated key be made.

use std::fs;
use std::path::{Path, PathBuf};

use tidings_wire::{Keyring, OverlayId, Suite};

use crate::args::RunArgs;
use crate::config::clients::{ClientGrant, read_clients};
use crate::config::{
    self, Discovery, Given, HttpTls, Key, Origin, OverlaySettings, Overruled, Problem, Problems,
    Raw, RawOverlay, Settings,
};
use crate::files;
use crate::http;
use crate::paths::DEMO_OVERLAY;
use crate::state::{State, StateFile};
use crate::verbs::keygen::new_keyring;

/// What file and flags say: the base of what was changed while the node ran.
#[derive(Clone)]
pub struct Base {
    args: RunArgs,
    raw: Raw,
    problems: Problems,
    folder: PathBuf,
}

/// What a node runs with.
pub struct Loaded {
    /// What it was made of.
    pub base: Base,
    /// What was changed while it ran.
    pub state: State,
    /// Checked settings.
    pub settings: Settings,
    /// The keyring of each overlay, in their order. `None`: generated, and not there yet.
    pub keyrings: Vec<Option<Keyring>>,
    /// Clients that may attach by name.
    pub clients: Vec<ClientGrant>,
}

impl Base {
    /// Reads the configuration file and lays the flags over it.
    pub fn read(args: &RunArgs) -> Result<Self, Problems> {
        let (mut raw, problems) = match &args.config {
            Some(path) => read_file(path)?,
            None => (Raw::default(), Problems::default()),
        };
        overlay_flags(&mut raw, args)?;
        node_flags(&mut raw, args);
        let folder = args.config.as_deref().and_then(Path::parent);
        Ok(Self {
            args: args.clone(),
            raw,
            problems,
            folder: folder.unwrap_or(Path::new("")).to_owned(),
        })
    }

    /// The same, read anew.
    pub fn again(&self) -> Result<Self, Problems> {
        Self::read(&self.args)
    }

    /// Where the node's state is.
    pub fn data_dir(&self) -> PathBuf {
        config::data_dir(&self.raw, &self.folder)
    }

    /// Whether file or flags name this overlay.
    pub fn names(&self, overlay: &str) -> bool {
        self.overlay(overlay).is_some()
    }

    fn overlay(&self, name: &str) -> Option<&RawOverlay> {
        let is_it = |raw: &&RawOverlay| {
            raw.name
                .as_ref()
                .is_some_and(|given| given.value.trim() == name)
        };
        self.raw.overlays.iter().find(is_it)
    }

    /// The first of these options of an overlay that a flag fixes, with the flag.
    pub fn fixed<'a>(
        &self,
        overlay: &str,
        options: impl IntoIterator<Item = &'a str>,
    ) -> Option<(&'a str, String)> {
        let raw = self.overlay(overlay)?;
        let given = |option: &str| match option {
            "join" => raw.join.as_ref().map(|given| &given.origin),
            "discovery" => raw.discovery.as_ref().map(|given| &given.origin),
            _ => None,
        };
        options.into_iter().find_map(|option| {
            let origin = given(option).filter(|origin| origin.is_flag())?;
            Some((option, origin.key.clone()))
        })
    }

    /// What file and flags say of overlays and changes made while the node ran overrule, with the overlay's name; `before` is what
    /// they said when they were read last.
    pub fn overruled(&self, before: &Self, state: &State) -> Vec<(String, Overruled)> {
        let mut found = Vec::new();
        for (name, kept) in &state.overlays {
            let Some(now) = self.overlay(name) else {
                continue;
            };
            // What is kept was read before: it has no mistakes.
            if let Ok(over) = config::options(config::CHANGED, &kept.options) {
                let before = before.overlay(name).unwrap_or(now);
                let overruled = config::overruled(before, now, &over).into_iter();
                found.extend(overruled.map(|overruled| (name.clone(), overruled)));
            }
        }
        found
    }

    /// With what was changed while the node ran laid between file and flags.
    pub fn with(&self, state: &State) -> Result<Raw, Problems> {
        let mut raw = self.raw.clone();
        for (name, kept) in &state.overlays {
            let over = config::options(config::CHANGED, &kept.options)?;
            let named = |raw: &&mut RawOverlay| {
                raw.name
                    .as_ref()
                    .is_some_and(|given| given.value.trim() == *name)
            };
            match raw.overlays.iter_mut().find(named) {
                Some(overlay) => overlay.lay(over),
                // Of those of the file that are gone from it nothing is left to change.
                None if !kept.created => {}
                None => raw.overlays.push(RawOverlay {
                    is_kept: true,
                    name: Some(Given {
                        value: name.clone(),
                        origin: Origin {
                            source: config::CHANGED.into(),
                            line: 0,
                            key: "overlay.name".to_owned(),
                        },
                    }),
                    ..over
                }),
            }
        }
        Ok(raw)
    }

    /// The settings with what was changed while the node ran.
    pub fn settings(&self, state: &State) -> Result<Settings, Problems> {
        config::check(self.with(state)?, self.problems.clone(), &self.folder)
    }
}

/// Reads everything that the flags, the configuration file and the node's state name.
pub fn load(args: &RunArgs) -> Result<Loaded, Problems> {
    let base = Base::read(args)?;
    let file = StateFile::open(&base.data_dir()).map_err(|error| {
        let folder = base.data_dir().display().to_string();
        Problems::one(
            &folder,
            "state of the node",
            error.to_string(),
            &error.remedy(),
        )
    })?;
    load_with(base, file.read(State::clone))
}

/// The same with a state that was read.
pub fn load_with(base: Base, state: State) -> Result<Loaded, Problems> {
    let settings = base.settings(&state)?;
    let mut problems = Problems::default();
    let keyrings = settings
        .overlays
        .iter()
        .map(|overlay| keyring(overlay, &state, &mut problems))
        .collect();
    let clients = match &settings.clients_file {
        None => Vec::new(),
        Some(path) => read_clients(path).unwrap_or_else(|found| {
            problems.0.extend(found.0);
            Vec::new()
        }),
    };
    certificate(&settings, &mut problems);
    influx(&settings, &mut problems);
    problems.or(Loaded {
        base,
        state,
        settings,
        keyrings,
        clients,
    })
}

fn read_file(path: &Path) -> Result<(Raw, Problems), Problems> {
    let source = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| {
        Problems(vec![Problem {
            origin: Origin {
                source: source.as_str().into(),
                line: 0,
                key: "configuration file".to_owned(),
            },
            value: String::new(),
            wrong: format!("cannot be read: {error}"),
            remedy: "check the path; without --config the node runs with defaults".to_owned(),
        }])
    })?;
    Ok(config::read(&source, &text))
}

fn node_flags(raw: &mut Raw, args: &RunArgs) {
    let text =
        |flag: &str, value: &Option<String>| value.clone().map(|value| Given::flag(flag, value));
    let node = &mut raw.node;
    node.data_dir = text("--data-dir", &args.data_dir).or(node.data_dir.take());
    node.bind = text("--bind", &args.bind).or(node.bind.take());
    node.name = text("--name", &args.name).or(node.name.take());
    node.shards = args
        .shards
        .map(|shards| Given::flag("--shards", shards))
        .or(node.shards.take());
    node.on_terminate = text("--on-terminate", &args.on_terminate).or(node.on_terminate.take());
    node.ready_timeout = text("--ready-timeout", &args.ready_timeout).or(node.ready_timeout.take());
    raw.http.bind = text("--http", &args.http).or(raw.http.bind.take());
    raw.client.socket = text("--socket", &args.socket).or(raw.client.socket.take());
    if !args.advertise.is_empty() {
        node.advertise = Some(Given::flag("--advertise", args.advertise.clone()));
    }
}

/// Lays `--overlay`, `--key-file`, `--join` and `--discover` over the overlays of the file: `--overlay` names the one that the
/// others are about, else there must be only one. A node that is not told of any runs the demo overlay.
fn overlay_flags(raw: &mut Raw, args: &RunArgs) -> Result<(), Problems> {
    let named = |overlay: &RawOverlay| overlay.name.as_ref().map(|name| name.value.clone());
    if raw.overlays.is_empty() && !raw.no_overlay
        || args.overlay.as_ref().is_some_and(|name| {
            !raw.overlays
                .iter()
                .any(|overlay| named(overlay).as_ref() == Some(name))
        })
    {
        let name = args.overlay.clone().unwrap_or(DEMO_OVERLAY.to_owned());
        raw.overlays.push(RawOverlay {
            name: Some(Given::flag("--overlay", name)),
            ..RawOverlay::default()
        });
    }
    if args.key_file.is_none() && args.join.is_empty() && !args.discover {
        return Ok(());
    }
    let many = raw.overlays.len() > 1;
    let meant = match &args.overlay {
        Some(name) => raw
            .overlays
            .iter_mut()
            .find(|overlay| named(overlay).as_ref() == Some(name)),
        None if many => None,
        None => raw.overlays.first_mut(),
    };
    let Some(overlay) = meant else {
        let flag = match (&args.key_file, args.join.is_empty()) {
            (Some(_), _) => "--key-file",
            (None, false) => "--join",
            (None, true) => "--discover",
        };
        return Err(Problems(vec![Problem {
            origin: Origin::flag(flag),
            value: String::new(),
            wrong: "there are several overlays, and it is not said which is meant".to_owned(),
            remedy: "add --overlay NAME".to_owned(),
        }]));
    };
    if let Some(file) = &args.key_file {
        overlay.key_file = Some(Given::flag("--key-file", file.clone()));
    }
    if !args.join.is_empty() {
        overlay.join = Some(Given::flag("--join", args.join.clone()));
    }
    if args.discover {
        overlay.discovery = Some(Given::flag("--discover", Discovery::Lan.name().to_owned()));
    }
    Ok(())
}

/// Looks at the certificate of the management service, if the configuration names one.
fn certificate(settings: &Settings, problems: &mut Problems) {
    let HttpTls::Files { cert, key } = &settings.http.tls else {
        return;
    };
    if let Err(error) = http::read_certificate(cert, key) {
        problems.0.push(Problem {
            origin: Origin {
                source: error.path.display().to_string().as_str().into(),
                line: 0,
                key: "certificate of http".to_owned(),
            },
            value: String::new(),
            wrong: error.wrong,
            remedy: error.remedy,
        });
    }
}

/// Looks at the secret and the authorities of where statistics are sent, if they are.
fn influx(settings: &Settings, problems: &mut Problems) {
    let checked = settings.influx.as_ref().map(http::check_influx);
    if let Some(Err(error)) = checked {
        problems.0.push(Problem {
            origin: Origin {
                source: error.path.display().to_string().as_str().into(),
                line: 0,
                key: "file of influxdb".to_owned(),
            },
            value: String::new(),
            wrong: error.wrong,
            remedy: error.remedy,
        });
    }
}

fn keyring(overlay: &OverlaySettings, state: &State, problems: &mut Problems) -> Option<Keyring> {
    let problem = |wrong: String, remedy: String| Problem {
        origin: Origin {
            source: overlay.key.to_string().as_str().into(),
            line: 0,
            key: format!("key of overlay {:?}", overlay.name),
        },
        value: String::new(),
        wrong,
        remedy,
    };
    let Some(path) = overlay.key.path() else {
        let kept = state.overlays.get(&overlay.name);
        let text = kept.and_then(|kept| kept.keyring.as_deref()).unwrap_or("");
        return match Keyring::parse(text, OverlayId::from_name(&overlay.name)) {
            Ok(ring) => Some(ring),
            Err(error) => {
                let remedy = "bring state.json back from a backup, or remove the overlay from it";
                problems.push(problem(error.to_string(), remedy.to_owned()))
            }
        };
    };
    if matches!(overlay.key, Key::Generated(_)) && !path.exists() {
        return None;
    }
    let text = match files::read_secret(path) {
        Ok(text) => text,
        Err(error) => return problems.push(problem(error.to_string(), error.remedy(path))),
    };
    match Keyring::parse(&text, OverlayId::from_name(&overlay.name)) {
        Ok(ring) => Some(ring),
        Err(error) => {
            let remedy =
                "make a key with `tidings keygen FILE`, or copy another member's file again";
            problems.push(problem(error.to_string(), remedy.to_owned()))
        }
    }
}

/// Makes the key of an overlay that generates its own.
pub fn generate_key(overlay: &OverlaySettings, path: &Path) -> std::io::Result<Keyring> {
    let text = new_keyring(Suite::Aes256Gcm, 0)?;
    files::write_new_secret(path, &text)?;
    Keyring::parse(&text, OverlayId::from_name(&overlay.name)).map_err(std::io::Error::other)
}
