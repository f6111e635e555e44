//! The files of a node: its data directory, its keys, the folder of its socket, and who looks at them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};
use tidings_client::Distrust;

use super::finding::Finding;
use crate::config::{Key, units};
use crate::load::Loaded;
use crate::paths;

/// Bytes that a node needs to start: two files of one block each and their successors for each overlay, and its id.
const NEED_BYTES_OVERLAY: u64 = 16 << 10;
/// See [`NEED_BYTES_OVERLAY`].
const NEED_BYTES_NODE: u64 = 64 << 10;
/// With less than this free something else is about to fill the disk: a guess.
const SPARE_BYTES: u64 = 16 << 20;
/// Entries of the data directory that are looked at: more than 256 overlays have.
const ENTRIES_MAX: usize = 1_024;

/// Looks at everything that the configuration names.
pub fn check(loaded: &Loaded) -> Vec<Finding> {
    let settings = &loaded.settings;
    let dir = &settings.node.data_dir;
    let mut found = keys(loaded);
    found.push(judge_dir(dir, &look(dir)));
    let place = existing(dir);
    if let Ok(free) = statvfs(&place) {
        let free_bytes = free.f_bavail.saturating_mul(free.f_frsize);
        let free_files = (free.f_files > 0).then_some(free.f_favail);
        found.push(judge_room(
            &place,
            free_bytes,
            free_files,
            settings.overlays.len(),
        ));
    }
    let owner = fs::metadata(&place).map(|meta| meta.uid()).ok();
    let other = owner.filter(|owner| paths::uid() == 0 && *owner != 0);
    found.push(socket(&CLIENTS, &settings.socket, other));
    found.push(socket(&MANAGEMENT, &settings.http.socket, other));
    found.extend(other.map(|other| viewer(other, dir)));
    found
}

fn keys(loaded: &Loaded) -> Vec<Finding> {
    let overlays = loaded.settings.overlays.iter().zip(&loaded.keyrings);
    overlays
        .map(|(overlay, keyring)| {
            let what = format!("key of overlay {:?}", overlay.name);
            let path = &overlay.key;
            let suite = keyring
                .as_ref()
                .and_then(|ring| ring.suite(ring.primary_slot()));
            match (suite, &overlay.key) {
                (Some(suite), _) => Finding::ok(what, format!("{path}, {}", suite.name())),
                (None, Key::Generated(_)) => {
                    Finding::ok(what, format!("{path}, made at the first start"))
                }
                // Loading has refused such a file already.
                (None, Key::File(_) | Key::Kept) => Finding::failure(
                    what,
                    format!("{path} has no key"),
                    "`tidings keygen FILE` makes one",
                ),
            }
        })
        .collect()
}

/// What was seen of a data directory.
struct Seen {
    /// The directory, or the one that it would be made in.
    place: PathBuf,
    /// Whether this user may make files there.
    writable: io::Result<()>,
    /// A file in it that this user may not use.
    foreign: Option<PathBuf>,
}

fn look(dir: &Path) -> Seen {
    let place = existing(dir);
    let writable = match fs::metadata(&place) {
        Ok(meta) if !meta.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
        Ok(_) => access(&place, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from),
        Err(error) => Err(error),
    };
    let foreign = if place == dir { foreign(dir) } else { None };
    Seen {
        place,
        writable,
        foreign,
    }
}

/// The nearest directory above, or this one, that is there.
fn existing(dir: &Path) -> PathBuf {
    let above = dir.ancestors().find(|dir| dir.exists());
    match above {
        Some(place) if !place.as_os_str().is_empty() => place.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A file of the directory that this user may not read and write.
fn foreign(dir: &Path) -> Option<PathBuf> {
    let mut dirs = vec![dir.to_owned()];
    let mut left = ENTRIES_MAX;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).ok()?.flatten() {
            left = left.checked_sub(1)?;
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(path.clone());
            }
            if access(&path, Access::READ_OK | Access::WRITE_OK).is_err() {
                return Some(path);
            }
        }
    }
    None
}

fn judge_dir(dir: &Path, seen: &Seen) -> Finding {
    let what = "data directory";
    let (is_there, dir, place) = (seen.place == dir, dir.display(), seen.place.display());
    match (&seen.writable, &seen.foreign) {
        (Err(error), _) => {
            let remedy = match is_there {
                true => {
                    format!("let it belong to the user who runs the node: `chown -R USER {dir}`")
                }
                false => format!(
                    "make it for the user who runs the node: `install -d -o USER -m 700 {dir}`"
                ),
            };
            Finding::failure(
                what,
                format!("{dir}: {place} cannot be written to: {error}"),
                format!("{remedy}; or choose another with --data-dir DIR or node.data_dir"),
            )
        }
        (Ok(()), Some(file)) => Finding::failure(
            what,
            format!("{dir}: {} cannot be used by this user", file.display()),
            format!(
                "a node ran here as somebody else: `chown -R USER {dir}` for the user who runs it"
            ),
        ),
        (Ok(()), None) => Finding::ok(what, format!("{dir} can be written to")),
    }
}

/// `free_files`: `None` where the file system does not count them.
fn judge_room(place: &Path, free_bytes: u64, free_files: Option<u64>, overlays: usize) -> Finding {
    let what = "free space";
    let overlays = overlays as u64;
    let need = NEED_BYTES_NODE + NEED_BYTES_OVERLAY * overlays;
    let value = format!("{} below {}", size(free_bytes), place.display());
    let remedy = "free some, or choose another disk with --data-dir DIR or node.data_dir";
    if free_files.is_some_and(|files| files < 8 + 4 * overlays) {
        let value = format!("{value}, but no more files can be made");
        return Finding::failure(what, value, remedy);
    }
    if free_bytes < need {
        return Finding::failure(what, format!("{value}: {} are needed", size(need)), remedy);
    }
    if free_bytes < SPARE_BYTES {
        return Finding::warning(what, format!("{value}: the disk is nearly full"), remedy);
    }
    Finding::ok(what, value)
}

/// A size for people: whole MiB where there are many.
fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => units::show_size(bytes >> 10 << 10),
        _ => format!("{}MiB", bytes >> 20),
    }
}

/// One of the two sockets of a node.
struct Socket {
    what: &'static str,
    /// Who comes there.
    whom: &'static str,
    /// What chooses another path.
    setting: &'static str,
}

const CLIENTS: Socket = Socket {
    what: "clients' socket",
    whom: "the clients",
    setting: "--socket PATH or client.socket",
};
const MANAGEMENT: Socket = Socket {
    what: "management socket",
    whom: "the commands",
    setting: "http.socket",
};

/// The folder of a socket: who comes there refuses one where others may write. `other`: see [`viewer`].
fn socket(socket: &Socket, path: &Path, other: Option<u32>) -> Finding {
    let (what, at) = (socket.what, path);
    let path = at.display();
    match tidings_client::check_folder(at) {
        Err(Distrust::FolderOwner { uid, .. }) if other == Some(uid) => {
            let value = format!("{path}, for {} of uid {uid}", socket.whom);
            return Finding::ok(what, value);
        }
        Err(distrust) => {
            return Finding::failure(what, format!("{path}: {distrust}"), distrust.remedy());
        }
        Ok(()) => {}
    }
    let folder = at.parent().unwrap_or(Path::new("."));
    let place = existing(folder);
    match access(&place, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Finding::ok(what, path.to_string()),
        Err(error) => Finding::failure(
            what,
            format!(
                "{path}: {} cannot be written to: {}",
                place.display(),
                io::Error::from(error)
            ),
            format!(
                "let the user who runs the node write there (`RuntimeDirectory=tidings` in a unit), or choose another path with {}",
                socket.setting
            ),
        ),
    }
}

/// Root may do everything, so that it looks in vain for what a node of the user `other`, whose directory it is, may not do.
fn viewer(other: u32, dir: &Path) -> Finding {
    let dir = dir.display();
    Finding::warning(
        "user",
        format!(
            "root looks, but {dir} belongs to uid {other}: what that one may not do is not seen"
        ),
        format!(
            "run it as that user: `setpriv --reuid={other} --regid={other} --clear-groups tidings doctor ...`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn seen(writable: io::Result<()>, foreign: Option<&str>) -> Seen {
        Seen {
            place: "/var/lib".into(),
            writable,
            foreign: foreign.map(PathBuf::from),
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_judged_by_the_one_above() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b/c");
        assert_eq!(existing(&dir), home.path());
        assert_eq!(judge_dir(&dir, &look(&dir)).state, State::Ok);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        assert_eq!(existing(Path::new("nowhere-at-all")), Path::new("."));
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_a_failure() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(judge_dir(&file, &look(&file)).state, State::Failure);
    }

    #[test]
    fn what_this_user_may_not_write_is_named() {
        let dir = Path::new("/var/lib/tidings");
        let denied = seen(Err(io::ErrorKind::PermissionDenied.into()), None);
        let finding = judge_dir(dir, &denied);
        assert_eq!(finding.state, State::Failure);
        assert!(finding.value.contains("/var/lib/tidings: /var/lib cannot"));
        assert!(finding.remedy.contains("install -d"), "{finding}");
        let foreign = judge_dir(dir, &seen(Ok(()), Some("/var/lib/tidings/node")));
        assert_eq!(foreign.state, State::Failure);
        assert!(foreign.remedy.contains("chown -R"), "{foreign}");
    }

    #[test]
    fn room_is_judged_by_the_number_of_overlays_and_by_files_too() {
        let judge = |bytes, files| judge_room(Path::new("/"), bytes, files, 4).state;
        assert_eq!(judge(1 << 30, Some(1 << 20)), State::Ok);
        assert_eq!(judge(1 << 30, None), State::Ok);
        assert_eq!(judge(1 << 30, Some(3)), State::Failure);
        assert_eq!(judge(1 << 20, None), State::Warning);
        assert_eq!(judge(127 << 10, None), State::Failure);
    }

    #[test]
    fn root_is_told_that_it_looks_with_other_eyes() {
        let dir = Path::new("/d");
        let told = viewer(7, dir);
        assert!(told.remedy.contains("--reuid=7"), "{told}");
    }
}
