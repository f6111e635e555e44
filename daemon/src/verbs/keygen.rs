//! `tidings keygen`: the key of an overlay, or the secret of a client.

use std::io;
use std::path::Path;

use tidings_wire::client::key::SECRET_SIZE;
use tidings_wire::client::valid_client_name;
use tidings_wire::{KeyRecord, Keyring, OverlayId, Suite};

use crate::args::{KeygenArgs, SuiteName};
use crate::files;
use crate::output::{Failure, line};

/// Runs the verb.
pub fn keygen(args: KeygenArgs) -> Result<(), Failure> {
    match &args.client {
        None => {
            let text = new_keyring(suite(args.suite)).map_err(Failure::new)?;
            write(&args.file, &text)?;
            if args.file != Path::new("-") {
                let file = args.file.display();
                line(format_args!(
                    "{file} holds a new overlay key. Copy it to every member, as a secret:\n\
                     tidings run --overlay NAME --key-file {file} --join HOST"
                ))?;
            }
            Ok(())
        }
        Some(name) => client_secret(name, &args.file),
    }
}

fn client_secret(name: &str, file: &Path) -> Result<(), Failure> {
    if !valid_client_name(name) {
        return Err(Failure::Usage(format!(
            "error: {name:?} is not a client name; use 1 to 64 of a-z A-Z 0-9 . _ -"
        )));
    }
    let secret = files::random_hex(SECRET_SIZE).map_err(Failure::new)?;
    write(file, &format!("{secret}\n"))?;
    if file == Path::new("-") {
        return Ok(());
    }
    line(format_args!(
        "{0} holds the secret of the client {name}, who uses it with --as {name} --secret-file {0}\n\
         The daemon's client file (client.clients_file in its configuration, mode 0600) needs this entry:\n\n\
         [[client]]\n\
         name = \"{name}\"\n\
         secret_file = {1:?}\n\
         overlays = [\"demo\"]\n\
         publish = [\"*\"]       # patterns of topics that it may publish on\n\
         subscribe = [\"*\"]     # patterns that it may subscribe to",
        file.display(),
        std::path::absolute(file).unwrap_or(file.to_owned())
    ))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    if file == Path::new("-") {
        return line(text.trim_end());
    }
    files::write_new_secret(file, text).map_err(|error| {
        let file = file.display();
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::Failed(format!("{file} is there already; keys are never overwritten. Remove it first, or choose another name"))
            }
            _ => Failure::Failed(format!("cannot write {file}: {error}")),
        }
    })
}

fn suite(name: SuiteName) -> Suite {
    match name {
        SuiteName::Aes128Gcm => Suite::Aes128Gcm,
        SuiteName::Aes256Gcm => Suite::Aes256Gcm,
        SuiteName::ChaCha20Poly1305 => Suite::ChaCha20Poly1305,
    }
}

/// The text of a keyring with one fresh key. The text does not depend on the overlay.
pub fn new_keyring(suite: Suite) -> io::Result<String> {
    let mut key = [0; 32];
    files::random(&mut key)?;
    let ring = Keyring::new(OverlayId::ZERO, vec![KeyRecord::new(0, suite, key)], 0);
    Ok(ring.map_err(io::Error::other)?.to_text())
}
