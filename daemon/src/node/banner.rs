//! What a person sees when the node is up: who it is, and commands that can be typed next as they stand.

use std::env;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tidings_engine::Engine;

use crate::config::{Discovery, HttpTls, Settings};
use crate::paths;

/// The lines to print. `http` is where management is reached besides its Unix socket.
pub fn banner(engine: &Engine, settings: &Settings, http: Option<SocketAddr>) -> String {
    let node = engine.node().to_string();
    let mut text = format!(
        "tidings {} - node {} ({}), pid {}\n",
        env!("CARGO_PKG_VERSION"),
        settings.node.name,
        &node[..8],
        std::process::id()
    );
    let advertised: Vec<String> = engine
        .advertised()
        .iter()
        .map(ToString::to_string)
        .collect();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "  peers     udp {}, reached at {}",
        engine.local_addr(),
        list(&advertised)
    );
    let _ = writeln!(text, "  clients   {}", settings.socket.display());
    let _ = writeln!(text, "  manage    {}", management(settings, http));
    let _ = writeln!(text, "  state     {}", settings.node.data_dir.display());
    for overlay in &settings.overlays {
        let join = if overlay.join.is_empty() {
            String::new()
        } else {
            format!(", joins {}", overlay.join_text())
        };
        let discovery = match overlay.discovery {
            Discovery::Off => "",
            Discovery::Lan => ", looks for members on this network",
        };
        let _ = writeln!(
            text,
            "  overlay   {}, key {}{join}{discovery}",
            overlay.name, overlay.key
        );
    }
    text.push_str(&next_commands(
        settings,
        advertised.first().map(String::as_str),
    ));
    text
}

fn management(settings: &Settings, http: Option<SocketAddr>) -> String {
    let socket = settings.http.socket.display();
    let scheme = match settings.http.tls {
        HttpTls::Off => "http",
        HttpTls::SelfMade | HttpTls::Files { .. } => "https",
    };
    match http {
        Some(address) => format!("{scheme}://{address}, {socket}"),
        None => socket.to_string(),
    }
}

fn list(addresses: &[String]) -> String {
    match addresses {
        [] => "no address".to_owned(),
        [first] => first.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

fn next_commands(settings: &Settings, address: Option<&str>) -> String {
    let Some(overlay) = settings.overlays.first() else {
        return String::new();
    };
    let program = quote(&program());
    let socket = match settings.socket == paths::socket() {
        true => String::new(),
        false => format!(
            " --socket {}",
            quote(&settings.socket.display().to_string())
        ),
    };
    let name = quote(&overlay.name);
    let mut text = format!(
        "\nTry in another terminal:\n  {program} sub {name} 'hello.*'{socket}\n  {program} pub {name} hello.world 'Good news!'{socket}\n  {program} members {name}{socket}\n"
    );
    if let (Some(address), Some(key)) = (address, overlay.key.path()) {
        let file = key.file_name().map_or_else(
            || "overlay.key".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        let how = match overlay.discovery {
            Discovery::Off => format!("--join {address}"),
            Discovery::Lan => "--discover".to_owned(),
        };
        let _ = writeln!(
            text,
            "Another host joins with a copy of {}:\n  tidings run --overlay {name} --key-file {} {how}",
            key.display(),
            quote(&file),
        );
    }
    text.push_str("Ctrl-C leaves gracefully, a second one stops at once.");
    text
}

/// How this program can be called: by its name if the shell finds it, else by its path.
fn program() -> String {
    let Ok(this) = env::current_exe() else {
        return "tidings".to_owned();
    };
    let name = this.file_name().map(PathBuf::from).unwrap_or_default();
    let found = env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|dir| same_file(&dir.join(&name), &this)));
    if found {
        return name.display().to_string();
    }
    let here = env::current_dir()
        .ok()
        .and_then(|here| this.strip_prefix(here).ok().map(Path::to_owned));
    here.map_or_else(
        || this.display().to_string(),
        |relative| format!("./{}", relative.display()),
    )
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// `text` as one word of a shell.
fn quote(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_if_a_shell_would_change_them() {
        assert_eq!(quote("target/release/tidings"), "target/release/tidings");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn many_addresses_are_not_all_told() {
        assert_eq!(
            list(&["a".to_owned(), "b".to_owned(), "c".to_owned()]),
            "a and 2 more"
        );
    }
}
