//! Where things are by default: state, the socket, the name of this host; and what the environment says of the log. Read once
//! per use.

use std::env;
use std::path::{Path, PathBuf};

/// Overlay of a node that was told of none.
pub const DEMO_OVERLAY: &str = "demo";
/// Environment variable that names the daemon's socket.
pub const SOCKET_VARIABLE: &str = "TIDINGS_SOCKET";
/// Environment variable that says what is logged, as `debug` or `tidings_engine=trace`.
pub const LOG_VARIABLE: &str = "TIDINGS_LOG";
/// Longest path of a Unix socket: `sun_path` less its terminating zero.
pub const MAX_SOCKET_PATH: usize = 107;

/// Where a node keeps its state: `$XDG_DATA_HOME/tidings`, else `~/.local/share/tidings`, else a folder of this user
/// in `/var/tmp`.
pub fn data_dir() -> PathBuf {
    absolute("XDG_DATA_HOME")
        .map(|dir| dir.join("tidings"))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share/tidings")))
        .unwrap_or_else(|| PathBuf::from(format!("/var/tmp/tidings-{}", uid())))
}

/// The daemon's socket: `$TIDINGS_SOCKET`, else in `$XDG_RUNTIME_DIR`, else in `/run/user/UID` if it exists, else in a
/// folder of this user in `/tmp`.
pub fn socket() -> PathBuf {
    if let Some(path) = socket_of_environment() {
        return path;
    }
    let run = PathBuf::from(format!("/run/user/{}", uid()));
    let dir = absolute("XDG_RUNTIME_DIR")
        .map(|dir| dir.join("tidings"))
        .or_else(|| run.is_dir().then(|| run.join("tidings")))
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/tidings-{}", uid())));
    dir.join("tidings.sock")
}

/// The management service's socket, unless the configuration says otherwise: `tidings.sock` has `tidings.http.sock` beside it.
/// Where that would be longer than a path may be, the last letters go.
pub fn management_socket(clients: &Path) -> PathBuf {
    let path = clients.with_extension("http.sock");
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return clients.with_file_name("h");
    }
    path
}

/// Whether the environment says which socket.
pub fn socket_is_of_environment() -> bool {
    socket_of_environment().is_some()
}

fn socket_of_environment() -> Option<PathBuf> {
    let path = env::var_os(SOCKET_VARIABLE).filter(|path| !path.is_empty());
    path.map(PathBuf::from)
}

/// What the environment says is to be logged, if it says anything.
pub fn log_of_environment() -> Option<String> {
    let text = env::var_os(LOG_VARIABLE).filter(|text| !text.is_empty());
    text.map(|text| text.to_string_lossy().into_owned())
}

/// The effective user id.
pub fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The host's name, cut to `max` bytes.
pub fn host_name(max: usize) -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .trim()
        .to_owned();
    let mut end = name.len().min(max);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    if name.is_empty() {
        "node".to_owned()
    } else {
        name[..end].to_owned()
    }
}

/// A variable that holds an absolute path, as the XDG base directory specification demands.
fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}
