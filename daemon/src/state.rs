//! What was changed while the node ran, on disk: overlays made through the management service, options that were changed,
//! keyrings, tokens and passwords (hashes of them). One file, `DATA_DIR/state.json`, mode 0600, that is replaced as a whole,
//! so that a crash at any moment leaves the state before a change or the one after it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::files::{self, SecretFileError};
use crate::node::KeptClient;

/// Name of the file in the data directory.
const FILE: &str = "state.json";
/// Version of its layout. A newer one is refused rather than misread.
const VERSION: u32 = 1;

/// Everything that outlives the process and is not in the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// By name: those that were made here, and those of the configuration file of which something was changed.
    #[serde(default)]
    pub overlays: BTreeMap<String, OverlayState>,
    /// By name of the user: the hash of the password, in PHC text form.
    #[serde(default)]
    pub passwords: BTreeMap<String, String>,
    /// By name: clients that were added here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<String, KeptClient>,
}

/// What is kept of one overlay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlayState {
    /// Made through the service. `false`: it stands in the configuration file, and ends with its entry there.
    pub created: bool,
    /// Options that were set, under the names and in the form of the configuration file.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// The keyring in its text form. `None`: the key file's.
    #[serde(default)]
    pub keyring: Option<String>,
    /// Tokens that may manage this overlay.
    #[serde(default)]
    pub tokens: Vec<Token>,
}

/// A token, of which only the hash is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its name within the overlay, to rotate or revoke it by.
    pub name: String,
    /// SHA-256 of the token, in hex: a token is 256 random bits, which need no slow hash.
    pub sha256: String,
    /// When it was made, in s since 1970.
    pub created: u64,
    /// From when on it is refused, in s since 1970; `None`: never.
    #[serde(default)]
    pub expires: Option<u64>,
}

/// Why the state cannot be read or written.
#[derive(Debug)]
pub enum StateError {
    /// The file is there and cannot be used. It is left as it is.
    Unusable(PathBuf, SecretFileError),
    /// It is not what a node wrote.
    Damaged(PathBuf, serde_json::Error),
    /// It was written by a later version.
    Newer(PathBuf, u32),
    /// It could not be replaced; the old one stands.
    NotWritten(PathBuf, io::Error),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(path, error) => write!(f, "{} {error}", path.display()),
            Self::Damaged(path, error) => write!(f, "{} is damaged: {error}", path.display()),
            Self::Newer(path, version) => write!(
                f,
                "{} has layout {version}, this version knows {VERSION}",
                path.display()
            ),
            Self::NotWritten(path, error) => {
                write!(f, "{} cannot be written: {error}", path.display())
            }
        }
    }
}

impl StateError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unusable(path, error) => error.remedy(path),
            Self::Damaged(path, _) => format!(
                "bring {0} back from a backup, or move it away: overlays, options and tokens that were made while the node ran are then gone",
                path.display()
            ),
            Self::Newer(..) => "run the version that wrote it, or a later one".to_owned(),
            Self::NotWritten(path, _) => format!(
                "look at the disk and the rights of {}",
                path.parent().unwrap_or(path).display()
            ),
        }
    }
}

impl std::error::Error for StateError {}

/// The layout on disk: the version first, so that another one can be told from damage.
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    #[serde(flatten)]
    state: &'a State,
}

/// The state and its file.
pub struct StateFile {
    path: PathBuf,
    state: Mutex<State>,
}

impl StateFile {
    /// Reads the state of the data directory `dir`; nothing kept there is an empty one.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let path = dir.join(FILE);
        let state = match files::read_state(&path) {
            Ok(text) => parse(&path, &text)?,
            Err(SecretFileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                State::default()
            }
            Err(error) => return Err(StateError::Unusable(path, error)),
        };
        Ok(Self {
            path,
            state: Mutex::new(state),
        })
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // A change that panicked had only its own copy in hand.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state as it is now.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.locked())
    }

    /// Changes the state: on disk first, here only once it is there. What `change` refuses or the disk does not take
    /// changes nothing.
    pub fn change<T, E: From<StateError>>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut current = self.locked();
        let mut next = current.clone();
        let result = change(&mut next)?;
        if next != *current {
            self.write(&next)?;
            *current = next;
        }
        Ok(result)
    }

    fn write(&self, state: &State) -> Result<(), StateError> {
        let written = Written {
            version: VERSION,
            state,
        };
        serde_json::to_string_pretty(&written)
            .map_err(io::Error::other)
            .and_then(|text| match text.len() as u64 >= files::STATE_BYTES_MAX {
                // It could not be read at the next start.
                true => Err(io::Error::other("it would be larger than 32 MiB")),
                false => files::replace_secret(&self.path, &(text + "\n")),
            })
            .map_err(|error| StateError::NotWritten(self.path.clone(), error))
    }
}

fn parse(path: &Path, text: &str) -> Result<State, StateError> {
    let damaged = |error| StateError::Damaged(path.to_owned(), error);
    let mut fields: Map<String, Value> = serde_json::from_str(text).map_err(damaged)?;
    let version = fields.remove("version").unwrap_or_default();
    match serde_json::from_value::<u32>(version).map_err(damaged)? {
        VERSION => serde_json::from_value(Value::Object(fields)).map_err(damaged),
        other => Err(StateError::Newer(path.to_owned(), other)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn with_overlay(state: &mut State) -> Result<(), StateError> {
        let overlay = state.overlays.entry("news".to_owned()).or_default();
        overlay.created = true;
        overlay.options.insert("retain".into(), "8MiB".into());
        Ok(())
    }

    #[test]
    fn what_was_changed_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::open(dir.path()).unwrap();
        assert_eq!(file.read(Clone::clone), State::default());
        file.change(with_overlay).unwrap();
        let again = StateFile::open(dir.path()).unwrap();
        assert_eq!(again.read(Clone::clone), file.read(Clone::clone));
        assert!(again.read(|state| state.overlays["news"].created));
    }

    #[test]
    fn a_refused_change_and_one_that_the_disk_does_not_take_leave_everything_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::open(dir.path()).unwrap();
        let refused = file.change(|state| {
            with_overlay(state)?;
            Err::<(), _>(StateError::Newer(PathBuf::new(), 9))
        });
        assert!(refused.is_err());
        assert_eq!(file.read(Clone::clone), State::default());
        // A directory in its place cannot be replaced by a file.
        fs::create_dir(dir.path().join(FILE)).unwrap();
        let error = file.change(with_overlay).unwrap_err();
        assert!(matches!(error, StateError::NotWritten(..)), "{error}");
        assert_eq!(file.read(Clone::clone), State::default());
    }

    #[test]
    fn what_is_damaged_or_newer_is_told_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for (text, wanted) in [
            ("{", "is damaged"),
            ("{}", "is damaged"),
            ("{\"version\": 2}", "has layout 2, this version knows 1"),
            ("{\"version\": 1, \"overlay\": {}}", "unknown field"),
        ] {
            let _ = fs::remove_file(&path);
            files::write_new_secret(&path, text).unwrap();
            let error = StateFile::open(dir.path()).err().expect("refused");
            assert!(error.to_string().contains(wanted), "{error}");
            assert!(!error.remedy().is_empty());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
