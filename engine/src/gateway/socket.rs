//! A listening Unix socket of a daemon: made, guarded against a second daemon, removed at the end. For local clients, and for the
//! daemon's management service.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A listening socket that removes its path when it is dropped.
pub struct Listening {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the path as we made it.
    made: (u64, u64),
}

impl Listening {
    /// Binds `path`. A folder that is missing is made for this user alone. With `open` every user may connect and has to
    /// prove a secret; without, only this one may.
    pub fn bind(path: &Path, open: bool) -> io::Result<Self> {
        if let Some(dir) = path
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(if open { 0o755 } else { 0o700 })
                .create(dir)?;
        }
        remove_stale(path)?;
        let listener = UnixListener::bind(path)?;
        set_mode(path, open)?;
        listener.set_nonblocking(true)?;
        let meta = fs::symlink_metadata(path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            made: (meta.dev(), meta.ino()),
        })
    }

    /// Lets every user connect, or this one alone.
    pub(crate) fn set_open(&self, open: bool) -> io::Result<()> {
        set_mode(&self.path, open)
    }

    /// The listening end again. It takes connections for as long as either of the two is there.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

fn set_mode(path: &Path, open: bool) -> io::Result<()> {
    let mode = if open { 0o666 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Removes a socket that nobody listens on any more. One that somebody listens on is an error.
fn remove_stale(path: &Path) -> io::Result<()> {
    // Nobody listens at a file either, which is no reason to remove it.
    if fs::symlink_metadata(path).is_ok_and(|meta| !meta.file_type().is_socket()) {
        let text = "something that is no socket is there";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another daemon listens there",
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.made);
        if ours {
            // A path that cannot be removed is found stale by the next daemon.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_socket_is_left_alone_and_a_stale_one_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/tidings.sock");
        let first = Listening::bind(&path, false).unwrap();
        assert_eq!(
            Listening::bind(&path, false).err().unwrap().kind(),
            io::ErrorKind::AddrInUse
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::mem::forget(first.listener.try_clone().unwrap());
        let Listening { made, .. } = &first;
        assert_ne!(*made, (0, 0));
        drop(first);
        assert!(!path.exists());
        // A daemon that was killed leaves its path behind.
        drop(UnixListener::bind(&path).unwrap());
        Listening::bind(&path, true).unwrap();
        fs::write(&path, "a file that is none of ours").unwrap();
        assert!(Listening::bind(&path, false).is_err());
        assert!(path.exists());
    }
}
