//! The management service: its TCP address, free, or held by the daemon that answers at the configured socket, or by somebody
//! else; and until when its certificate is valid.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::finding::Finding;
use super::port::Daemon;
use crate::config::{HttpTls, Settings};
use crate::http::{self, Expiry};

/// Seconds before its end from which on a certificate is told: time enough to get another.
const SOON_S: i64 = 14 * 86_400;

/// Binds the address for a moment, as a node would, and looks at the certificate. Nothing where the service is off.
pub fn check(settings: &Settings) -> Vec<Finding> {
    let wanted = settings.node.bind;
    let Some(bind) = settings.http.bind.address(wanted, wanted.port()) else {
        return Vec::new();
    };
    let bound = TcpListener::bind(bind).map(drop);
    let is_held = bound
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    let holder = is_held.then(|| Daemon::of(settings));
    let mut found = vec![judge((bind, wanted), bound, holder.as_ref())];
    found.extend(certificate(settings));
    found
}

/// `wanted` is the UDP address of the node.
fn judge(
    (bind, wanted): (SocketAddr, SocketAddr),
    bound: io::Result<()>,
    holder: Option<&Daemon>,
) -> Finding {
    let what = format!("tcp {bind}");
    let Err(error) = bound else {
        return Finding::ok(what, "free");
    };
    let port = bind.port();
    let elsewhere = "choose another address with --http ADDR:PORT or http.bind, or none with off";
    match (holder, error.kind()) {
        (Some(Daemon::Told { name, bind: held }), _) if *held == wanted.to_string() => Finding::ok(
            what,
            format!("held, by the daemon {name} as it seems, which runs with this socket"),
        ),
        (Some(Daemon::Silent(why)), _) => Finding::warning(
            what,
            format!(
                "held, by the daemon of another user as it seems, which does not tell this one: {why}"
            ),
            "run this as the user who runs the daemon",
        ),
        (Some(_), _) => Finding::failure(
            what,
            "held by another process: a node would not start",
            format!("`ss -ltnp 'sport = :{port}'` tells which: stop it, or {elsewhere}"),
        ),
        (None, io::ErrorKind::AddrNotAvailable) => Finding::failure(
            what,
            "is no address of this host",
            format!("`ip address` shows those that are; {elsewhere}"),
        ),
        (None, io::ErrorKind::PermissionDenied) => Finding::failure(
            what,
            "this user may not bind it",
            format!("choose a port from 1024: {elsewhere}"),
        ),
        (None, _) => Finding::failure(what, format!("cannot be bound: {error}"), elsewhere),
    }
}

fn certificate(settings: &Settings) -> Option<Finding> {
    let self_made = http::self_made_certificate(&settings.node.data_dir);
    match &settings.http.tls {
        HttpTls::Off => None,
        HttpTls::Files { cert, .. } => Some(given(cert, read(cert))),
        HttpTls::SelfMade => Some(made(&self_made, read(&self_made))),
    }
}

/// `None`: it cannot be read. Loading has refused one that a node could not use.
fn read(path: &Path) -> Option<i64> {
    match http::not_after(path) {
        Ok(Expiry::At(at)) => Some(at),
        Ok(Expiry::Unreadable) | Err(_) => None,
    }
}

fn given(path: &Path, ends: Option<i64>) -> Finding {
    let (what, path) = ("management certificate", path.display());
    let remedy = format!(
        "put another one to {path}, with its key: a running node reads it on `tidings reload`"
    );
    let Some(ends) = ends else {
        let value = format!("{path}: it cannot be seen until when it is valid");
        return Finding::warning(what, value, remedy);
    };
    let (day, left) = (http::date(ends), Expiry::At(ends).left());
    match left {
        Some(left) if left <= 0 => {
            let value = format!("{path} ended on {day}: nobody who checks it connects");
            Finding::failure(what, value, remedy)
        }
        Some(left) if left < SOON_S => {
            Finding::warning(what, format!("{path} ends on {day}"), remedy)
        }
        _ => Finding::ok(what, format!("{path}, valid until {day}")),
    }
}

/// A node makes it anew before its end, also while it runs.
fn made(path: &Path, ends: Option<i64>) -> Finding {
    let (what, path) = ("management certificate", path.display());
    match ends {
        Some(ends) => {
            let day = http::date(ends);
            let value = format!("{path}, valid until {day}, made anew by the node before that");
            Finding::ok(what, value)
        }
        None => Finding::ok(what, format!("{path}, made by the node when it starts")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn judged(kind: io::ErrorKind, holder: Option<&Daemon>) -> Finding {
        let node = SocketAddr::from(([0, 0, 0, 0], 7400));
        let bind = SocketAddr::from(([127, 0, 0, 1], 7401));
        judge((bind, node), Err(kind.into()), holder)
    }

    fn told(bind: &str) -> Daemon {
        Daemon::Told {
            name: "host-a".to_owned(),
            bind: bind.to_owned(),
        }
    }

    #[test]
    fn who_holds_the_port_decides() {
        let ours = judged(io::ErrorKind::AddrInUse, Some(&told("0.0.0.0:7400")));
        assert_eq!(ours.state, State::Ok);
        for holder in [told("0.0.0.0:7500"), Daemon::None] {
            let finding = judged(io::ErrorKind::AddrInUse, Some(&holder));
            assert_eq!(finding.state, State::Failure);
            assert!(finding.remedy.contains("sport = :7401"), "{finding}");
        }
        let silent = Daemon::Silent("refused".to_owned());
        let finding = judged(io::ErrorKind::AddrInUse, Some(&silent));
        assert_eq!(finding.state, State::Warning);
        for kind in [
            io::ErrorKind::AddrNotAvailable,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::Unsupported,
        ] {
            let finding = judged(kind, None);
            assert_eq!(finding.state, State::Failure);
            assert!(finding.remedy.contains("--http"), "{finding}");
        }
    }

    #[test]
    fn a_certificate_is_judged_by_the_time_that_is_left() {
        let path = Path::new("/etc/tidings/host.pem");
        let now = -Expiry::At(0).left().unwrap();
        let state = |left: i64| given(path, Some(now + left)).state;
        assert_eq!(state(SOON_S + 3_600), State::Ok);
        assert_eq!(state(SOON_S - 3_600), State::Warning);
        assert_eq!(state(-3_600), State::Failure);
        assert_eq!(given(path, None).state, State::Warning);
        assert_eq!(made(path, None).state, State::Ok);
    }
}
