//! Clients that may attach by name and secret: those of the client file, and those that were added while the node ran. Changes hold
//! at once; who is attached under what is no more has to log in again.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use tidings_engine::gateway::{Gateway, Grant};
use tidings_wire::client::key::SECRET_SIZE;
use tidings_wire::client::valid_client_name;
use tidings_wire::{Pattern, validate_pattern};
use utoipa::ToSchema;

use crate::config::clients::ClientGrant;
use crate::files;
use crate::state::{State, StateError, StateFile};

/// Clients that may be added; each entry is looked at when a client logs in.
const CLIENTS_MAX: usize = 4096;
/// Overlays and patterns of one.
const RIGHTS_MAX: usize = 64;

/// What a client may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRights {
    /// Overlays that it may use; `*` stands for all.
    pub overlays: Vec<String>,
    /// Patterns of topics that it may publish on.
    #[serde(default)]
    pub publish: Vec<String>,
    /// Patterns that it may subscribe to, or narrower ones.
    #[serde(default)]
    pub subscribe: Vec<String>,
}

/// A client that was added while the node ran, as the state has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptClient {
    /// Its secret in hex: what it proves is derived from it.
    secret: String,
    /// What it may do.
    rights: ClientRights,
}

impl fmt::Debug for KeptClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rights.fmt(f)
    }
}

/// A client as it is shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ClientView {
    /// Its name.
    #[schema(example = "worker")]
    name: String,
    /// Overlays that it may use; `*` stands for all.
    #[schema(example = json!(["news"]))]
    overlays: Vec<String>,
    /// Patterns of topics that it may publish on.
    #[schema(example = json!(["orders.*"]))]
    publish: Vec<String>,
    /// Patterns that it may subscribe to, or narrower ones.
    #[schema(example = json!(["*"]))]
    subscribe: Vec<String>,
    /// Whether it stands in the client file, where alone it can be changed.
    in_file: bool,
}

/// A client with its secret, which is told this once.
#[derive(Serialize, ToSchema)]
pub struct NewSecret {
    /// Its name.
    #[schema(example = "worker")]
    pub name: String,
    /// 64 hex digits, for its secret file.
    pub secret: String,
}

/// Why nothing was changed.
#[derive(Debug)]
pub enum ClientRefusal {
    /// No client may be named so.
    BadName(String),
    /// An overlay, or a pattern, is none.
    BadRight(String),
    /// There are as many as there may be.
    TooMany,
    /// There is one of this name.
    Exists(String),
    /// There is none of this name.
    Unknown(String),
    /// It stands in the client file.
    InFile(String),
    /// The system gave no random numbers.
    Randomness(io::Error),
    /// The state cannot be written.
    State(StateError),
}

impl fmt::Display for ClientRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(name) => write!(f, "{name:?} is not the name of a client"),
            Self::BadRight(text) => write!(f, "{text:?} is no pattern of topics"),
            Self::TooMany => write!(
                f,
                "there may be {CLIENTS_MAX} clients, with {RIGHTS_MAX} overlays and patterns each"
            ),
            Self::Exists(name) => write!(f, "there is a client named {name:?} already"),
            Self::Unknown(name) => write!(f, "there is no client named {name:?}"),
            Self::InFile(name) => write!(f, "the client {name:?} stands in the client file"),
            Self::Randomness(error) => write!(f, "no secret can be made: {error}"),
            Self::State(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ClientRefusal {}

impl From<StateError> for ClientRefusal {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl ClientRefusal {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::BadName(_) => "use 1 to 64 of a-z A-Z 0-9 . _ -",
            Self::BadRight(_) => "write a topic, a prefix as \"orders.*\", or \"*\"",
            Self::TooMany => "remove those that are not used any more, or give wider patterns",
            Self::Exists(_) => "rotate its secret, or choose another name",
            Self::Unknown(_) => {
                "GET /v1/clients, or `tidings clients list`, names those that there are"
            }
            Self::InFile(_) => "change it there, and reload the configuration (SIGHUP)",
            Self::Randomness(_) => "see the daemon's log",
            Self::State(error) => return error.remedy(),
        }
        .to_owned()
    }
}

/// See the module.
pub struct Clients {
    gateway: Weak<Gateway>,
    state: Arc<StateFile>,
    /// Those of the client file. Held while a change is made, so that the gateway has the last.
    file: Mutex<Vec<ClientGrant>>,
}

impl Clients {
    /// For a gateway that was opened for these.
    pub fn new(gateway: Weak<Gateway>, state: Arc<StateFile>, file: Vec<ClientGrant>) -> Self {
        let clients = Self {
            gateway,
            state,
            file: Mutex::default(),
        };
        clients.drop_shadowed(&file);
        *clients.file() = file;
        clients
    }

    // Those that the file names, too, are its own from now on: else an older secret would count again when the file's entry goes.
    fn drop_shadowed(&self, file: &[ClientGrant]) {
        let is_in_file = |name: &String| file.iter().any(|client| client.name == *name);
        let dropped = self.state.change(|state| {
            let before = state.clients.len();
            state.clients.retain(|name, _| !is_in_file(name));
            Ok::<_, StateError>(before - state.clients.len())
        });
        match dropped {
            Ok(0) => {}
            Ok(count) => tracing::warn!(
                count,
                "clients that were added while the node ran stand in the client file now: what was kept of them is dropped"
            ),
            Err(error) => {
                tracing::warn!(%error, "what was kept of clients of the client file stays in the state")
            }
        }
    }

    fn file(&self) -> MutexGuard<'_, Vec<ClientGrant>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, by name.
    pub fn list(&self) -> Vec<ClientView> {
        let file = self.file();
        let kept = self.state.read(|state| state.clients.clone());
        let kept = kept.into_iter().map(|(name, kept)| ClientView {
            name,
            overlays: kept.rights.overlays,
            publish: kept.rights.publish,
            subscribe: kept.rights.subscribe,
            in_file: false,
        });
        let given = file.iter().map(|client| ClientView {
            name: client.name.clone(),
            overlays: client.overlays.clone(),
            publish: client.publish.clone(),
            subscribe: client.subscribe.clone(),
            in_file: true,
        });
        let all = kept.chain(given).map(|view| (view.name.clone(), view));
        all.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// Adds one, with a fresh secret.
    pub fn add(&self, name: &str, rights: ClientRights) -> Result<NewSecret, ClientRefusal> {
        check(name, &rights)?;
        self.change(name, |clients| {
            if clients.contains_key(name) {
                return Err(ClientRefusal::Exists(name.to_owned()));
            }
            if clients.len() >= CLIENTS_MAX {
                return Err(ClientRefusal::TooMany);
            }
            let secret = fresh_secret()?;
            let kept = KeptClient {
                secret: secret.clone(),
                rights,
            };
            clients.insert(name.to_owned(), kept);
            Ok(NewSecret {
                name: name.to_owned(),
                secret,
            })
        })
    }

    /// Removes one. Its session ends.
    pub fn remove(&self, name: &str) -> Result<(), ClientRefusal> {
        self.change(name, |clients| match clients.remove(name) {
            Some(_) => Ok(()),
            None => Err(ClientRefusal::Unknown(name.to_owned())),
        })
    }

    /// Gives one another secret. The old one counts no more, and a session under it ends.
    pub fn rotate(&self, name: &str) -> Result<NewSecret, ClientRefusal> {
        self.change(name, |clients| {
            let Some(kept) = clients.get_mut(name) else {
                return Err(ClientRefusal::Unknown(name.to_owned()));
            };
            kept.secret = fresh_secret()?;
            Ok(NewSecret {
                name: name.to_owned(),
                secret: kept.secret.clone(),
            })
        })
    }

    /// Takes what the client file says now; whether that is something else.
    pub fn reload(&self, new: Vec<ClientGrant>) -> bool {
        let mut file = self.file();
        let changed = *file != new;
        if changed {
            self.drop_shadowed(&new);
            *file = new;
            self.tell(&file);
        }
        changed
    }

    fn change<T>(
        &self,
        name: &str,
        change: impl FnOnce(&mut BTreeMap<String, KeptClient>) -> Result<T, ClientRefusal>,
    ) -> Result<T, ClientRefusal> {
        let file = self.file();
        if file.iter().any(|client| client.name == name) {
            return Err(ClientRefusal::InFile(name.to_owned()));
        }
        let result = self.state.change(|state| change(&mut state.clients))?;
        self.tell(&file);
        Ok(result)
    }

    /// Logins of clients that were refused since the start, by reason.
    pub fn logins_refused(&self) -> Vec<(&'static str, u64)> {
        let gateway = self.gateway.upgrade();
        gateway.map_or_else(Vec::new, |gateway| gateway.logins_refused().to_vec())
    }

    fn tell(&self, file: &[ClientGrant]) {
        // Without a gateway the node is stopping.
        if let Some(gateway) = self.gateway.upgrade() {
            gateway.set_grants(self.state.read(|state| grants(file, state)));
        }
    }
}

fn fresh_secret() -> Result<String, ClientRefusal> {
    files::random_hex(SECRET_SIZE).map_err(ClientRefusal::Randomness)
}

fn check(name: &str, rights: &ClientRights) -> Result<(), ClientRefusal> {
    if !valid_client_name(name) {
        return Err(ClientRefusal::BadName(name.to_owned()));
    }
    let ClientRights {
        overlays,
        publish,
        subscribe,
    } = rights;
    if overlays.len() + publish.len() + subscribe.len() > RIGHTS_MAX {
        return Err(ClientRefusal::TooMany);
    }
    let mut patterns = publish.iter().chain(subscribe);
    match patterns.find(|pattern| validate_pattern(pattern).is_err()) {
        Some(wrong) => Err(ClientRefusal::BadRight(wrong.clone())),
        None => Ok(()),
    }
}

/// What the gateway is told: of those of the client file, and of those that are kept. Where both name one, the file counts.
pub fn grants(file: &[ClientGrant], state: &State) -> Vec<Grant> {
    let is_in_file = |name: &str| file.iter().any(|client| client.name == name);
    let kept = state.clients.iter().filter(|(name, _)| !is_in_file(name));
    let kept = kept.filter_map(|(name, kept)| {
        let Some(secret) = files::parse_secret(&kept.secret) else {
            tracing::error!(
                client = name,
                "what is kept of its secret is none; it may not attach"
            );
            return None;
        };
        let ClientRights {
            overlays,
            publish,
            subscribe,
        } = &kept.rights;
        Some(Grant {
            name: name.clone(),
            secret,
            overlays: overlays.clone(),
            publish: patterns(publish),
            subscribe: patterns(subscribe),
        })
    });
    let given = file.iter().map(|client| Grant {
        name: client.name.clone(),
        secret: client.secret,
        overlays: client.overlays.clone(),
        publish: patterns(&client.publish),
        subscribe: patterns(&client.subscribe),
    });
    given.chain(kept).collect()
}

fn patterns(texts: &[String]) -> Vec<Pattern> {
    // They were checked: what is no pattern is not among them.
    let read = texts.iter().filter_map(|text| Pattern::parse(text).ok());
    read.collect()
}
