//! How the verbs reach the daemon, and what they say when they cannot.

use std::path::Path;
use std::time::Duration;

use tidings_client::{Client, Error, ErrorCode, Options, Secret};

use crate::args::ClientArgs;
use crate::files;
use crate::output::Failure;
use crate::paths;

/// Attaches to the daemon.
pub fn attach(args: &ClientArgs) -> Result<Client, Failure> {
    let socket = args.socket.clone().unwrap_or_else(paths::socket);
    let mut options = Options::new(socket.clone());
    if let Some(name) = &args.name {
        if !tidings_wire::client::valid_client_name(name) {
            return Err(Failure::Usage(format!(
                "error: --as {name:?}: use 1 to 64 of a-z A-Z 0-9 . _ -"
            )));
        }
        options = options.name(name);
    }
    if let Some(file) = &args.secret_file {
        options = options.secret(read_secret(file)?);
    }
    Client::connect(options).map_err(|error| explain(error, &socket))
}

fn read_secret(file: &Path) -> Result<Secret, Failure> {
    let wrong = |wrong: String, remedy: String| {
        Failure::Usage(format!(
            "error: --secret-file {}: {wrong}\n  remedy: {remedy}",
            file.display()
        ))
    };
    let text =
        files::read_secret(file).map_err(|error| wrong(error.to_string(), error.remedy(file)))?;
    let bytes = files::parse_secret(&text).ok_or_else(|| {
        wrong(
            "is not a secret of 64 hex digits".to_owned(),
            "make one with `tidings keygen --client NAME FILE`".to_owned(),
        )
    })?;
    Ok(Secret::new(bytes))
}

fn explain(error: Error, socket: &std::path::Path) -> Failure {
    match error {
        Error::NoDaemon { error, .. } => Failure::Failed(format!(
            "no daemon at {}: {error}\n  remedy: start one with `tidings run`, or name its socket with --socket or {}",
            socket.display(),
            paths::SOCKET_VARIABLE,
        )),
        Error::Untrusted { ref distrust, .. } => {
            let remedy = distrust.remedy();
            Failure::Failed(format!("{error}\n  remedy: {remedy}"))
        }
        Error::Refused {
            code: ErrorCode::Denied,
            text,
        } => Failure::Failed(format!(
            "{text}\n  remedy: run as the daemon's user, or attach with --as NAME --secret-file FILE"
        )),
        error => Failure::new(error),
    }
}

/// Seconds as the user gave them.
pub fn seconds(flag: &str, seconds: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        Failure::Usage(format!(
            "error: {flag} {seconds}: write a number of seconds, as 2.5"
        ))
    })
}
