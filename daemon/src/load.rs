//! Everything that a node needs before it starts: file and flags made settings, keyrings and the client file read.
//! Nothing is started, and only `run` lets a missing generated key be made.

use std::fs;
use std::path::Path;

use tidings_wire::{Keyring, OverlayId, Suite};

use crate::args::RunArgs;
use crate::config::clients::{ClientGrant, read_clients};
use crate::config::{
    self, Given, Key, Origin, OverlaySettings, Problem, Problems, Raw, RawOverlay, Settings,
};
use crate::files;
use crate::paths::DEMO_OVERLAY;
use crate::verbs::keygen::new_keyring;

/// What a node runs with.
pub struct Loaded {
    /// Checked settings.
    pub settings: Settings,
    /// The keyring of each overlay, in their order. `None`: generated, and not there yet.
    pub keyrings: Vec<Option<Keyring>>,
    /// Clients that may attach by name.
    pub clients: Vec<ClientGrant>,
}

/// Reads everything that the flags and the configuration file name.
pub fn load(args: &RunArgs) -> Result<Loaded, Problems> {
    let (mut raw, problems) = match &args.config {
        Some(path) => read_file(path)?,
        None => (Raw::default(), Problems::default()),
    };
    overlay_flags(&mut raw, args)?;
    node_flags(&mut raw, args);
    let base = args
        .config
        .as_deref()
        .and_then(Path::parent)
        .unwrap_or(Path::new(""));
    let settings = config::check(raw, problems, base)?;
    let mut problems = Problems::default();
    let keyrings = settings
        .overlays
        .iter()
        .map(|overlay| keyring(overlay, &mut problems))
        .collect();
    let clients = match &settings.clients_file {
        None => Vec::new(),
        Some(path) => read_clients(path).unwrap_or_else(|found| {
            problems.0.extend(found.0);
            Vec::new()
        }),
    };
    problems.or(Loaded {
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
    raw.client.socket = text("--socket", &args.socket).or(raw.client.socket.take());
    if !args.advertise.is_empty() {
        node.advertise = Some(Given::flag("--advertise", args.advertise.clone()));
    }
}

/// Lays `--overlay`, `--key-file` and `--join` over the overlays of the file: `--overlay` names the one that the
/// others are about, else there must be only one. A node without any runs the demo overlay.
fn overlay_flags(raw: &mut Raw, args: &RunArgs) -> Result<(), Problems> {
    let named = |overlay: &RawOverlay| overlay.name.as_ref().map(|name| name.value.clone());
    if raw.overlays.is_empty()
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
    if args.key_file.is_none() && args.join.is_empty() {
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
        let flag = if args.key_file.is_some() {
            "--key-file"
        } else {
            "--join"
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
    Ok(())
}

fn keyring(overlay: &OverlaySettings, problems: &mut Problems) -> Option<Keyring> {
    let path = overlay.key.path();
    if matches!(overlay.key, Key::Generated(_)) && !path.exists() {
        return None;
    }
    let problem = |wrong: String, remedy: String| Problem {
        origin: Origin {
            source: path.display().to_string().as_str().into(),
            line: 0,
            key: format!("key of overlay {:?}", overlay.name),
        },
        value: String::new(),
        wrong,
        remedy,
    };
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
    let text = new_keyring(Suite::Aes256Gcm)?;
    files::write_new_secret(path, &text)?;
    Keyring::parse(&text, OverlayId::from_name(&overlay.name)).map_err(std::io::Error::other)
}
