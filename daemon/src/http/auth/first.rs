//! Passwords of the first start: nobody has a default one. Called when the service starts; what it makes is written to a file
//! that only the daemon's user may read.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::credential::User;
use super::passwords::{Cost, hash};
use crate::files;
use crate::state::{StateError, StateFile};

/// Name of the file in the data directory. Nothing reads it: it may be removed.
pub const FILE: &str = "passwords";
/// Random bytes of a password: 192 bits, 32 letters.
const BYTES: usize = 24;

/// Why the first passwords cannot be made.
#[derive(Debug)]
pub enum FirstError {
    /// Nobody could be told of them.
    NotWritten(PathBuf, io::Error),
    /// They cannot be kept.
    State(StateError),
}

impl fmt::Display for FirstError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWritten(path, error) => {
                write!(f, "{} cannot be written: {error}", path.display())
            }
            Self::State(error) => error.fmt(f),
        }
    }
}

impl FirstError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotWritten(path, _) => {
                let dir = path.parent().unwrap_or(path);
                format!("look at the disk and the rights of {}", dir.display())
            }
            Self::State(error) => error.remedy(),
        }
    }
}

impl From<StateError> for FirstError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

/// Makes passwords for all users unless there are some. A file of an earlier life, whose hashes are gone, is replaced.
pub fn passwords(state: &StateFile, dir: &Path) -> Result<(), FirstError> {
    if state.read(|state| !state.passwords.is_empty()) {
        return Ok(());
    }
    let path = dir.join(FILE);
    let (mut text, mut hashes) = (String::new(), Vec::new());
    let failed = |error| FirstError::NotWritten(path.clone(), error);
    for user in User::ALL {
        let mut bytes = [0; BYTES];
        files::random(&mut bytes).map_err(failed)?;
        let password = URL_SAFE_NO_PAD.encode(bytes);
        hashes.push((user, hash(&password, Cost::Quick).map_err(failed)?));
        text.push_str(&format!("{}: {password}\n", user.name()));
    }
    // The file first: hashes of passwords that nobody knows would lock everybody out.
    files::replace_secret(&path, &text).map_err(failed)?;
    state.change(|state| {
        let hashes = hashes.into_iter();
        state.passwords = hashes
            .map(|(user, hash)| (user.name().to_owned(), hash))
            .collect();
        Ok::<_, StateError>(())
    })?;
    tracing::info!(file = %path.display(), "passwords of the management service were made");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_start_makes_passwords_and_no_later_one_needs_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, "of an earlier life").unwrap();
        let state = StateFile::open(dir.path()).unwrap();
        passwords(&state, dir.path()).unwrap();
        let text = files::read_secret(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("superuser: ") && lines[1].starts_with("user: "));
        assert_eq!(lines[1].len(), "user: ".len() + 32);
        let hashes = state.read(|state| state.passwords.clone());
        assert_eq!(hashes.len(), 2);
        let kept = fs::read_to_string(dir.path().join("state.json")).unwrap();
        assert!(!kept.contains(&lines[1]["user: ".len()..]));
        fs::remove_file(&path).unwrap();
        passwords(&state, dir.path()).unwrap();
        assert!(!path.exists());
        assert_eq!(state.read(|state| state.passwords.clone()), hashes);
    }
}
