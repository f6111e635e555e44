//! Where things are: what `install` made, and the folder in which the services of a run live.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidings_loadgen::{Error, Place, While};

/// What `install` made: as told, or in the target folder that this program lies in.
fn installed() -> PathBuf {
    if let Some(folder) = std::env::var_os("TIDINGS_PEERS_INSTALLED") {
        return folder.into();
    }
    let own = std::env::current_exe().unwrap_or_default();
    let target = own.parent().and_then(Path::parent);
    target.unwrap_or(Path::new(".")).join("installed")
}

/// A program: of those that were installed, or of the system.
pub(crate) fn program(name: &str) -> Result<PathBuf, Error> {
    let installed = installed();
    let own = [
        installed.join("venv/bin"),
        installed.join("aeron/binaries"),
        PathBuf::from("/usr/sbin"),
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = own.into_iter().chain(std::env::split_paths(&path));
    folders
        .find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
        .ok_or_else(|| {
            Error::Failed(format!(
                "there is no program {name}: call bench/peers/install"
            ))
        })
}

/// Why a part was not built, as `install` or the build script noted it.
pub(crate) fn why_without(part: &str) -> String {
    let noted = fs::read_to_string(installed().join("errors").join(part)).ok();
    let built = match part {
        "aeron" => option_env!("WHY_NO_AERON"),
        "libnats" => option_env!("WHY_NO_LIBNATS"),
        _ => None,
    };
    let why = noted.or(built.map(str::to_owned));
    why.unwrap_or_else(|| format!("this program was built without {part}"))
}

/// A folder for the services of a run, in memory. Those that killed runs left are removed first.
pub(crate) fn folder() -> Result<TempDir, Error> {
    let memory = Path::new("/dev/shm");
    for entry in fs::read_dir(memory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if owner(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Somebody else's: it stays.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(memory)
        .during("make a folder in /dev/shm")
}

const PREFIX: &str = "tidings-peers-";

/// The process that made a folder of this name.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

/// A port of loopback that was free a moment ago, for TCP.
pub(crate) fn free_tcp_port() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").during("find a free port")?;
    listener.local_addr().during("find a free port")
}

/// Whether somebody takes connections there.
pub(crate) fn is_served(addr: SocketAddr) -> bool {
    TcpStream::connect(addr).is_ok()
}

/// The address of the server, or of the subscribing side.
pub(crate) fn addr(place: &Place) -> Result<SocketAddr, Error> {
    place
        .join
        .ok_or_else(|| Error::Usage("a peer needs --join here".to_owned()))
}

/// The folder of a process: certificates, or a media driver's files. A place has no other field for it.
pub(crate) fn folder_of(place: &Place) -> Result<&Path, Error> {
    place
        .socket
        .as_deref()
        .ok_or_else(|| Error::Usage("a peer needs --socket here: its folder".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_tells_whose_it_is_and_goes() {
        let folder = folder().unwrap();
        let name = folder.path().file_name().unwrap().to_string_lossy();
        assert_eq!(owner(&name), Some(std::process::id()));
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_process_left_is_removed() {
        let left = format!("/dev/shm/{PREFIX}{}-test", u32::MAX);
        fs::create_dir_all(&left).unwrap();
        drop(folder().unwrap());
        assert!(!Path::new(&left).exists());
        assert_eq!(owner("somebody-else-1"), None);
    }

    #[test]
    fn a_missing_program_is_told_with_the_remedy() {
        let error = program("no-such-program-of-a-peer")
            .unwrap_err()
            .to_string();
        assert!(error.contains("bench/peers/install"), "{error}");
        assert!(program("sh").is_ok());
    }
}
