//! Files with secrets: only their owner may read them, they appear whole or not at all, and none is ever overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};
use tidings_wire::client::key::SECRET_SIZE;

/// Largest file that is read as a secret: a keyring of eight records takes under 1 KiB, a client file of thousands of
/// clients under 1 MiB.
const MAX_SECRET_FILE: u64 = 4 << 20;
/// Largest file of the node's state: 256 overlays with 256 tokens of 200 bytes, eight keys of 100 and 64 addresses of 260 each are
/// 18 MiB.
pub const STATE_BYTES_MAX: u64 = 32 << 20;

/// Why a file with secrets cannot be used.
#[derive(Debug)]
pub enum SecretFileError {
    /// It cannot be read.
    Io(io::Error),
    /// It cannot be written.
    NotWritten(io::Error),
    /// Others than its owner may read or write it.
    Mode(u32),
    /// It belongs to another user.
    Owner(u32),
    /// It is not a file, or too big.
    NotPlain,
}

impl std::fmt::Display for SecretFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::NotWritten(error) => write!(f, "cannot be written: {error}"),
            Self::Mode(mode) => write!(f, "has mode {mode:04o}: others than its owner may use it"),
            Self::Owner(uid) => write!(f, "belongs to uid {uid}, not to this user"),
            Self::NotPlain => write!(f, "is not a plain file of text, or is too large"),
        }
    }
}

impl SecretFileError {
    /// What to do about it.
    pub fn remedy(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                "check the path; `tidings keygen` makes key files".to_owned()
            }
            Self::Io(_) | Self::NotWritten(_) | Self::NotPlain => {
                format!("look at it with `ls -l {path}`")
            }
            Self::Mode(_) => format!("chmod 600 {path}"),
            Self::Owner(_) => format!("chown it to the user who runs this, and chmod 600 {path}"),
        }
    }
}

/// Folder in which the service manager puts what `LoadCredential=` names: root's, readable for one service alone.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Reads a file that nobody but its owner may read. Root may own it, too. One that the service manager put there for this
/// service is readable by what the system counts as a group, which is this service alone.
pub fn read_secret(path: &Path) -> Result<String, SecretFileError> {
    let credentials = std::env::var_os(CREDENTIALS_VARIABLE);
    read_secret_beside(path, credentials.as_deref().map(Path::new), MAX_SECRET_FILE)
}

/// The same of the node's state, which may be larger.
pub fn read_state(path: &Path) -> Result<String, SecretFileError> {
    read_secret_beside(path, None, STATE_BYTES_MAX)
}

fn read_secret_beside(
    path: &Path,
    credentials: Option<&Path>,
    bytes_max: u64,
) -> Result<String, SecretFileError> {
    let file = File::open(path).map_err(SecretFileError::Io)?;
    let meta = file.metadata().map_err(SecretFileError::Io)?;
    if !meta.is_file() || meta.len() > bytes_max {
        return Err(SecretFileError::NotPlain);
    }
    let mode = meta.permissions().mode() & 0o7777;
    let is_credential = credentials.is_some() && path.parent() == credentials;
    let too_much = if is_credential { 0o037 } else { 0o077 };
    if mode & too_much != 0 {
        return Err(SecretFileError::Mode(mode));
    }
    if meta.uid() != 0 && meta.uid() != crate::paths::uid() && crate::paths::uid() != 0 {
        return Err(SecretFileError::Owner(meta.uid()));
    }
    io::read_to_string(file).map_err(SecretFileError::Io)
}

/// Writes a new file of mode 0600: a temporary one is filled, synced and linked to its name, which must be free.
pub fn write_new_secret(path: &Path, text: &str) -> io::Result<()> {
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("is not the path of a file"))?;
    let temporary = dir.join(format!(".{}.{}", name.to_string_lossy(), random_hex(8)?));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::hard_link(&temporary, path)
        });
    let removed = fs::remove_file(&temporary);
    written?;
    removed?;
    File::open(dir)?.sync_all()
}

/// Writes a file of mode 0600 in the place of the one that is there, if any: a crash at any moment leaves either.
pub fn replace_secret(path: &Path, text: &str) -> io::Result<()> {
    // A name that nobody else gives a file: the one beside it may be the user's own.
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("is not the path of a file"))?;
    let aside = path.with_file_name(format!(".{}.tidings-new", name.to_string_lossy()));
    // Left over from a crash, perhaps with another mode.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&aside, path));
    if let Err(error) = written {
        // A full disk is not kept full by what could not be written.
        let _ = fs::remove_file(&aside);
        return Err(error);
    }
    // It is in its place: that a power cut may undo it is no reason to say that it is not.
    let synced = File::open(path.parent().unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all());
    if let Err(error) = synced {
        tracing::warn!(path = %path.display(), %error, "its folder cannot be synced");
    }
    Ok(())
}

/// `len` random bytes as hex.
pub fn random_hex(len: usize) -> io::Result<String> {
    let mut bytes = vec![0; len];
    random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Fills `bytes` from the system's random generator.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| io::Error::other("the system's random generator failed"))
}

/// Reads a client secret: 64 hex digits.
pub fn parse_secret(text: &str) -> Option<[u8; SECRET_SIZE]> {
    let digits = text.trim().as_bytes();
    if digits.len() != 2 * SECRET_SIZE {
        return None;
    }
    let mut secret = [0; SECRET_SIZE];
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (
            char::from(pair[0]).to_digit(16)?,
            char::from(pair[1]).to_digit(16)?,
        );
        *byte = (high << 4 | low) as u8;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_secret_file_is_private_and_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        write_new_secret(&path, "one").unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            write_new_secret(&path, "two").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(read_secret(&path).unwrap(), "one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_replaced_secret_file_is_private_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        fs::write(dir.path().join(".state.json.tidings-new"), "from a crash").unwrap();
        for text in ["one", "two"] {
            replace_secret(&path, text).unwrap();
            assert_eq!(read_secret(&path).unwrap(), text);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_secret_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        write_new_secret(&path, "one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = read_secret(&path).unwrap_err();
        assert!(matches!(error, SecretFileError::Mode(0o644)));
        assert!(error.remedy(&path).starts_with("chmod 600 "));
    }

    #[test]
    fn what_the_service_manager_put_there_may_be_readable_for_its_group() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("news.key");
        write_new_secret(&path, "one").unwrap();
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let read = |credentials| read_secret_beside(&path, credentials, MAX_SECRET_FILE);
        set(0o440);
        assert_eq!(read(Some(dir.path())).unwrap(), "one");
        for elsewhere in [None, Some(Path::new("/run/credentials/other"))] {
            assert!(matches!(read(elsewhere), Err(SecretFileError::Mode(0o440))));
        }
        for mode in [0o444, 0o460] {
            set(mode);
            assert!(matches!(
                read(Some(dir.path())),
                Err(SecretFileError::Mode(_))
            ));
        }
    }

    #[test]
    fn secrets_are_64_hex_digits() {
        assert_eq!(
            parse_secret(&format!("{}\n", "0f".repeat(32))),
            Some([15; 32])
        );
        assert_eq!(parse_secret("0f"), None);
        assert_eq!(parse_secret(&"zz".repeat(32)), None);
    }
}
