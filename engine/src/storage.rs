//! What a node keeps on disk: its id, the lock that makes it the only node of its directory, and per overlay a generation
//! and the addresses of members seen. Used by control threads only; no shard ever touches a disk. What a thread that is late has to
//! keep of an overlay that was forgotten meanwhile is dropped: its folder does not come back.
//!
//! ```text
//! DIR/lock                       held while the node runs; contains its pid
//! DIR/node                       32 hex digits
//! DIR/overlays/HEX/generation    decimal, raised and synced before each start
//! DIR/overlays/HEX/peers         one address a line, best first
//! ```

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidings_wire::{NodeId, OverlayId};

use crate::entropy;
use crate::limits::{CACHED_PEERS_MAX, STORED_FILE_BYTES_MAX};

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum StorageError {
    /// Another process holds the directory; its pid, if it wrote one.
    Held {
        /// What the lock file says.
        pid: String,
    },
    /// A file does not contain what it should. It is left as it is.
    Damaged(PathBuf),
    /// The system refused.
    Io(PathBuf, io::Error),
}

impl std::fmt::Display for StorageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Held { pid } => {
                write!(f, "the data directory is held by another node (pid {pid})")
            }
            Self::Damaged(path) => write!(f, "{} is damaged", path.display()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for StorageError {}

/// A locked data directory, or nothing at all for an ephemeral node.
pub(crate) struct Storage {
    dir: Option<PathBuf>,
    node: NodeId,
    /// The id was drawn just now, so no overlay can know an earlier life of it.
    fresh: bool,
    /// The overlays that were started and not forgotten since: something may be kept of them. Held while one is written or forgotten.
    started: Mutex<HashSet<OverlayId>>,
    /// Holds the lock for as long as it lives.
    _lock: Option<File>,
}

impl Storage {
    /// A node that forgets everything when it stops.
    pub(crate) fn ephemeral() -> Self {
        Self {
            dir: None,
            node: NodeId(entropy::bytes()),
            fresh: true,
            started: Mutex::default(),
            _lock: None,
        }
    }

    /// Opens or makes `dir`, takes its lock, reads or draws the node's id.
    pub(crate) fn open(dir: &Path) -> Result<Self, StorageError> {
        make_dir(dir)?;
        let lock = take_lock(&dir.join("lock"))?;
        let path = dir.join("node");
        let kept = read(&path)?;
        let fresh = kept.is_none();
        let node = match kept {
            Some(text) => NodeId::from_hex(text.trim()).ok_or(StorageError::Damaged(path))?,
            None => {
                let node = NodeId(entropy::bytes());
                replace(&path, format!("{node}\n").as_bytes())?;
                node
            }
        };
        Ok(Self {
            dir: Some(dir.to_owned()),
            node,
            fresh,
            started: Mutex::default(),
            _lock: Some(lock),
        })
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    fn started(&self) -> MutexGuard<'_, HashSet<OverlayId>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation for this start of the node in an overlay: one above the last, on disk before it is used. `None`:
    /// none was kept though the node is not new, so one is adopted from a peer or begun.
    pub(crate) fn raise_generation(&self, overlay: OverlayId) -> Result<Option<u64>, StorageError> {
        let mut started = self.started();
        let Some(path) = self.file(overlay, "generation")? else {
            return Ok(Some(1));
        };
        started.insert(overlay);
        let last = match read(&path)? {
            Some(text) => text.trim().parse().ok(),
            None if self.fresh => Some(0),
            None => return Ok(None),
        };
        let raised = last.and_then(|last: u64| last.checked_add(1));
        let raised = raised.ok_or_else(|| StorageError::Damaged(path.clone()))?;
        write_generation(&path, raised)?;
        Ok(Some(raised))
    }

    /// Keeps a generation that the overlay settled on, unless it was forgotten.
    pub(crate) fn keep_generation(
        &self,
        overlay: OverlayId,
        generation: u64,
    ) -> Result<(), StorageError> {
        let started = self.started();
        if !started.contains(&overlay) {
            return Ok(());
        }
        match self.file(overlay, "generation")? {
            Some(path) => write_generation(&path, generation),
            None => Ok(()),
        }
    }

    /// Addresses of members of an earlier life. A line that is no address is passed over: it is only a cache.
    pub(crate) fn peers(&self, overlay: OverlayId) -> Result<Vec<SocketAddr>, StorageError> {
        let Some(path) = self.file(overlay, "peers")? else {
            return Ok(Vec::new());
        };
        let text = match read(&path) {
            Ok(text) => text.unwrap_or_default(),
            Err(StorageError::Damaged(_)) => String::new(),
            Err(error) => return Err(error),
        };
        Ok(text
            .lines()
            .filter_map(|line| line.trim().parse().ok())
            .take(CACHED_PEERS_MAX)
            .collect())
    }

    /// Keeps members' addresses of an overlay, unless it was forgotten.
    pub(crate) fn keep_peers(
        &self,
        overlay: OverlayId,
        peers: &[SocketAddr],
    ) -> Result<(), StorageError> {
        let started = self.started();
        if !started.contains(&overlay) {
            return Ok(());
        }
        let Some(path) = self.file(overlay, "peers")? else {
            return Ok(());
        };
        let text: String = peers
            .iter()
            .take(CACHED_PEERS_MAX)
            .map(|peer| format!("{peer}\n"))
            .collect();
        replace(&path, text.as_bytes())
    }

    /// Removes all that is kept of an overlay.
    pub(crate) fn forget(&self, overlay: OverlayId) -> Result<(), StorageError> {
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        let mut started = self.started();
        started.remove(&overlay);
        let dir = dir.join("overlays").join(overlay.to_string());
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&dir, error)),
            _ => Ok(()),
        }
    }

    /// The overlays of which something is kept.
    pub(crate) fn overlays(&self) -> Result<Vec<OverlayId>, StorageError> {
        let Some(dir) = self.dir.as_ref().map(|dir| dir.join("overlays")) else {
            return Ok(Vec::new());
        };
        let mut kept = Vec::new();
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(kept),
            other => other.map_err(|error| at(&dir, error))?,
        };
        for entry in entries {
            let name = entry.map_err(|error| at(&dir, error))?.file_name();
            // What else somebody put there is theirs.
            kept.extend(name.to_str().and_then(OverlayId::from_hex));
        }
        Ok(kept)
    }

    fn file(&self, overlay: OverlayId, name: &str) -> Result<Option<PathBuf>, StorageError> {
        let Some(dir) = &self.dir else {
            return Ok(None);
        };
        let dir = dir.join("overlays").join(overlay.to_string());
        make_dir(&dir)?;
        Ok(Some(dir.join(name)))
    }
}

fn write_generation(path: &Path, generation: u64) -> Result<(), StorageError> {
    replace(path, format!("{generation}\n").as_bytes())
}

fn make_dir(dir: &Path) -> Result<(), StorageError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| at(dir, error))
}

fn at(path: &Path, error: io::Error) -> StorageError {
    StorageError::Io(path.to_owned(), error)
}

fn take_lock(path: &Path) -> Result<File, StorageError> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut lock = options.open(path).map_err(|error| at(path, error))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The holder may just be writing it: then the message names no pid.
            let _ = lock.take(32).read_to_string(&mut pid);
            return Err(StorageError::Held {
                pid: pid.trim().to_owned(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(at(path, error)),
    }
    lock.set_len(0).map_err(|error| at(path, error))?;
    writeln!(lock, "{}", std::process::id()).map_err(|error| at(path, error))?;
    Ok(lock)
}

fn read(path: &Path) -> Result<Option<String>, StorageError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path, error)),
    };
    let mut text = String::new();
    match file.take(STORED_FILE_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(StorageError::Damaged(path.to_owned()))
        }
        Err(error) => Err(at(path, error)),
    }
}

/// Writes a file so that a crash leaves either the old or the new one: aside, synced, renamed, the directory synced.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let aside = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| at(path, error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_id_stays_and_each_start_raises_the_generation() {
        let dir = tempfile::tempdir().unwrap();
        let (overlay, later) = (OverlayId::from_name("a"), OverlayId::from_name("b"));
        let node = {
            let storage = Storage::open(dir.path()).unwrap();
            let first = storage.raise_generation(overlay).unwrap();
            assert_eq!(first, Some(1), "a new node has no earlier life");
            storage.keep_generation(overlay, 41).unwrap();
            storage.node()
        };
        let storage = Storage::open(dir.path()).unwrap();
        assert_eq!(storage.node(), node);
        assert_eq!(storage.raise_generation(overlay).unwrap(), Some(42));
        assert_eq!(storage.raise_generation(overlay).unwrap(), Some(43));
        let unknown = storage.raise_generation(later).unwrap();
        assert_eq!(unknown, None, "it may have been lost");
        let ephemeral = Storage::ephemeral().raise_generation(later).unwrap();
        assert_eq!(ephemeral, Some(1));
    }

    #[test]
    fn a_second_node_on_the_directory_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let _held = Storage::open(dir.path()).unwrap();
        match Storage::open(dir.path()) {
            Err(StorageError::Held { pid }) => assert_eq!(pid, std::process::id().to_string()),
            other => panic!("{:?}", other.map(|storage| storage.node())),
        }
    }

    #[test]
    fn a_damaged_id_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("node"), "not hex").unwrap();
        assert!(matches!(
            Storage::open(dir.path()),
            Err(StorageError::Damaged(_))
        ));
        assert_eq!(
            fs::read_to_string(dir.path().join("node")).unwrap(),
            "not hex"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_is_in_the_files_is_taken_as_it_stands_or_refused_and_left_alone(
            node in "[0-9a-fA-F]{32}\n|[0-9a-f ]{0,40}|.{0,40}",
            generation in "[0-9]{1,20}\n?|18446744073709551615|-?[0-9]{0,3}|.{0,24}",
            peers in "((10\\.0\\.0\\.[0-9]{1,3}|\\[::[0-9a-f]\\]):[0-9]{1,6}\n|.{0,12}\n){0,8}",
            junk in proptest::collection::vec(any::<u8>(), 0..16),
            tail in 0..3,
        ) {
            let dir = tempfile::tempdir()?;
            let overlay = OverlayId::from_name("a");
            let below = dir.path().join("overlays").join(overlay.to_string());
            fs::create_dir_all(&below)?;
            let mut files = [
                (dir.path().join("node"), node.into_bytes()),
                (below.join("generation"), generation.into_bytes()),
                (below.join("peers"), peers.into_bytes()),
            ];
            files[tail as usize].1.extend(junk);
            for (path, bytes) in &files {
                fs::write(path, bytes)?;
            }
            let is_as_it_was = |at: usize| fs::read(&files[at].0).unwrap() == files[at].1;
            let storage = match Storage::open(dir.path()) {
                Err(error) => {
                    assert!(matches!(error, StorageError::Damaged(path) if path == files[0].0));
                    assert!(is_as_it_was(0));
                    return Ok(());
                }
                Ok(storage) => storage,
            };
            let text = String::from_utf8(files[0].1.clone()).unwrap();
            assert_eq!(storage.node().to_string(), text.trim().to_lowercase());
            match storage.raise_generation(overlay) {
                Ok(raised) => {
                    let kept = fs::read_to_string(&files[1].0)?;
                    let text = String::from_utf8(files[1].1.clone()).unwrap();
                    let last: u64 = text.trim().parse().unwrap();
                    assert!(raised == Some(last + 1) && kept == format!("{}\n", last + 1));
                }
                Err(error) => {
                    assert!(matches!(error, StorageError::Damaged(path) if path == files[1].0));
                    assert!(is_as_it_was(1));
                }
            }
            assert!(storage.peers(overlay)?.len() <= CACHED_PEERS_MAX);
            assert!(is_as_it_was(2));
        }
    }

    #[test]
    fn a_forgotten_overlay_leaves_nothing_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(OverlayId::from_name);
        let storage = Storage::open(dir.path()).unwrap();
        assert!(storage.overlays().unwrap().is_empty());
        storage.raise_generation(a).unwrap();
        storage.raise_generation(b).unwrap();
        fs::create_dir(dir.path().join("overlays").join("notes")).unwrap();
        storage.forget(a).unwrap();
        storage.forget(a).unwrap();
        assert_eq!(storage.overlays().unwrap(), [b]);
        assert_eq!(storage.raise_generation(b).unwrap(), Some(2));
    }

    #[test]
    fn what_comes_late_does_not_bring_a_forgotten_overlay_back() {
        let dir = tempfile::tempdir().unwrap();
        let overlay = OverlayId::from_name("a");
        let storage = Storage::open(dir.path()).unwrap();
        let late = || {
            storage.keep_generation(overlay, 7).unwrap();
            let peers = ["10.0.0.1:7".parse().unwrap()];
            storage.keep_peers(overlay, &peers).unwrap();
        };
        storage.raise_generation(overlay).unwrap();
        storage.forget(overlay).unwrap();
        late();
        assert!(storage.overlays().unwrap().is_empty());
        storage.raise_generation(overlay).unwrap();
        late();
        assert_eq!(storage.raise_generation(overlay).unwrap(), Some(8));
    }

    #[test]
    fn peers_come_back_and_junk_lines_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let overlay = OverlayId::from_name("a");
        let storage = Storage::open(dir.path()).unwrap();
        storage.raise_generation(overlay).unwrap();
        let peers: Vec<SocketAddr> =
            vec!["10.0.0.1:7".parse().unwrap(), "[::1]:9".parse().unwrap()];
        storage.keep_peers(overlay, &peers).unwrap();
        assert_eq!(storage.peers(overlay).unwrap(), peers);
        let path = dir
            .path()
            .join("overlays")
            .join(overlay.to_string())
            .join("peers");
        fs::write(path, "junk\n10.0.0.1:7\n").unwrap();
        assert_eq!(storage.peers(overlay).unwrap(), peers[..1]);
        assert!(Storage::ephemeral().peers(overlay).unwrap().is_empty());
    }
}
