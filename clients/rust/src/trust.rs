//! Whether what listens at a socket may be the daemon. Anybody can make a folder in `/tmp` before the daemon does, and
//! listen there: without a secret only the system can tell who it is.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why a socket is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// Its folder belongs to neither this user nor root.
    FolderOwner {
        /// The folder.
        folder: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Others than its folder's owner may replace it.
    FolderMode {
        /// The folder.
        folder: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Whoever listens is neither this user nor root.
    Listener {
        /// Who it is.
        uid: u32,
    },
}

impl Distrust {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::FolderMode { folder, .. } => format!("chmod go-w {}", folder.display()),
            Self::FolderOwner { .. } => {
                "name a socket in a folder of your own with --socket or TIDINGS_SOCKET, or set XDG_RUNTIME_DIR".to_owned()
            }
            Self::Listener { .. } => {
                "a daemon of another user is proven by a secret: attach with a name and the secret of its client file".to_owned()
            }
        }
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FolderOwner { folder, uid } => {
                let folder = folder.display();
                write!(
                    f,
                    "its folder {folder} belongs to uid {uid}, neither to this user nor to root"
                )
            }
            Self::FolderMode { folder, mode } => {
                let folder = folder.display();
                write!(
                    f,
                    "its folder {folder} has mode {mode:04o}: others may replace what is in it"
                )
            }
            Self::Listener { uid } => {
                write!(f, "uid {uid} listens there, neither this user nor root")
            }
        }
    }
}

impl std::error::Error for Distrust {}

/// Whether the folder of `socket` keeps other users from putting theirs in its place: it belongs to this user or root, and
/// nobody else may write there but in the sticky way of `/tmp`. A folder that is missing, or cannot be looked at, is left
/// to whoever uses it next.
pub fn check_folder(socket: &Path) -> Result<(), Distrust> {
    let folder = match socket.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Of a link, the one who owns it chooses the folder.
    for meta in [fs::symlink_metadata(folder), fs::metadata(folder)] {
        let Ok(meta) = meta else { continue };
        if !is_trusted(meta.uid()) {
            return Err(Distrust::FolderOwner {
                folder: folder.to_owned(),
                uid: meta.uid(),
            });
        }
        let mode = meta.mode() & 0o7777;
        if !meta.is_symlink() && mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
            return Err(Distrust::FolderMode {
                folder: folder.to_owned(),
                mode,
            });
        }
    }
    Ok(())
}

/// Whether this user or root listens at the other end.
pub fn check_listener(socket: &UnixStream) -> io::Result<Result<(), Distrust>> {
    let uid = socket_peercred(socket)?.uid.as_raw();
    Ok(if is_trusted(uid) {
        Ok(())
    } else {
        Err(Distrust::Listener { uid })
    })
}

fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn folder(mode: u32) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        dir
    }

    #[test]
    fn a_folder_where_others_may_write_is_not_trusted() {
        for (mode, trusted) in [
            (0o700, true),
            (0o755, true),
            (0o1777, true),
            (0o777, false),
            (0o770, false),
        ] {
            let dir = folder(mode);
            let checked = check_folder(&dir.path().join("tidings.sock"));
            assert_eq!(checked.is_ok(), trusted, "{mode:o}: {checked:?}");
        }
    }

    #[test]
    fn a_folder_or_link_of_another_user_is_not_trusted() {
        if geteuid().as_raw() != 0 {
            return; // Only root can give files away.
        }
        let dir = folder(0o700);
        let good = dir.path().join("good");
        let (theirs, link) = (dir.path().join("theirs"), dir.path().join("link"));
        fs::create_dir(&good).unwrap();
        fs::create_dir(&theirs).unwrap();
        chown(&theirs, Some(12_345), None).unwrap();
        symlink(&good, &link).unwrap();
        assert_eq!(check_folder(&link.join("s")), Ok(()));
        std::os::unix::fs::lchown(&link, Some(12_345), None).unwrap();
        for folder in [theirs, link] {
            let expected = Distrust::FolderOwner {
                folder: folder.clone(),
                uid: 12_345,
            };
            assert_eq!(check_folder(&folder.join("s")), Err(expected));
        }
    }
}
