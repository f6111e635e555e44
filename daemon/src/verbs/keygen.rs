//! `tidings keygen`: the key of an overlay, or the secret of a client.

use std::io::{self, Write};
use std::path::Path;

use tidings_wire::client::key::SECRET_SIZE;
use tidings_wire::client::valid_client_name;
use tidings_wire::{KeyRecord, Keyring, OverlayId, Suite};

use crate::args::{KeygenArgs, SuiteName};
use crate::doctor;
use crate::files;
use crate::output::{Failure, line};

/// Runs the verb.
pub fn keygen(args: KeygenArgs) -> Result<(), Failure> {
    match &args.client {
        None => {
            let chosen = args.suite.map_or(Suite::Aes256Gcm, suite);
            let text = new_keyring(chosen, args.slot).map_err(Failure::new)?;
            write(&args.file, &text)?;
            if let Some(note) = note(args.suite, doctor::has_aes()) {
                // The key is made, whether anybody reads the note or not.
                let _ = writeln!(io::stderr(), "{note}");
            }
            if args.file != Path::new("-") {
                let file = args.file.display();
                if args.slot > 0 {
                    return line(format_args!(
                        "{file} holds a new overlay key for slot {}. Copy it to every member, as a secret, and run there:\n\
                         tidings keys rotate NAME {file}",
                        args.slot
                    ));
                }
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

/// What to tell somebody who chose no cipher where the usual one is slow.
fn note(chosen: Option<SuiteName>, has_aes: bool) -> Option<&'static str> {
    let is_slow = chosen.is_none() && !has_aes;
    is_slow.then_some(
        "note: this processor has no instructions for AES: if the other members have none either, a key made with\n      \
         --suite chacha20-poly1305 costs much less",
    )
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

/// The cipher of a name.
pub fn suite(name: SuiteName) -> Suite {
    match name {
        SuiteName::Aes128Gcm => Suite::Aes128Gcm,
        SuiteName::Aes192Gcm => Suite::Aes192Gcm,
        SuiteName::Aes256Gcm => Suite::Aes256Gcm,
        SuiteName::ChaCha20Poly1305 => Suite::ChaCha20Poly1305,
    }
}

/// The text of a keyring with one fresh key. The text does not depend on the overlay.
pub fn new_keyring(suite: Suite, slot: u8) -> io::Result<String> {
    let mut key = [0; 32];
    files::random(&mut key)?;
    let ring = Keyring::new(
        OverlayId::ZERO,
        vec![KeyRecord::new(slot, suite, key)],
        slot,
    );
    Ok(ring.map_err(io::Error::other)?.to_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cipher_has_a_flag_of_its_name_and_makes_a_keyring_that_reads_back() {
        use clap::ValueEnum;
        assert_eq!(SuiteName::value_variants().len(), Suite::ALL.len());
        for name in SuiteName::value_variants() {
            let flag = name.to_possible_value().unwrap();
            let text = new_keyring(suite(*name), 3).unwrap();
            let ring = Keyring::parse(&text, OverlayId::ZERO).unwrap();
            assert_eq!(ring.suite(3).map(Suite::name), Some(flag.get_name()));
        }
    }

    #[test]
    fn another_cipher_is_recommended_only_to_who_chose_none_where_aes_is_slow() {
        let told = note(None, false).unwrap();
        assert!(told.contains("--suite chacha20-poly1305"));
        assert_eq!(note(None, true), None);
        assert_eq!(note(Some(SuiteName::Aes256Gcm), false), None);
    }
}
