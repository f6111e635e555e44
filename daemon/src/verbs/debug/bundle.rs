//! The archive: what was collected, cleaned once more and listed.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::collect::Part;
use super::redact::redact;
use crate::output::Table;

/// The folder in the archive.
const FOLDER: &str = "tidings-debug";

/// Writes a new archive of mode 0600, and returns its listing.
pub fn write(file: &Path, parts: &[Part], now: u64) -> io::Result<String> {
    let mut listing = Table::new(&["FILE", "BYTES", "WHAT"]);
    let texts: Vec<String> = parts.iter().map(|part| redact(&part.text)).collect();
    for (part, text) in parts.iter().zip(&texts) {
        listing.row([
            part.name.clone(),
            text.len().to_string(),
            part.what.to_owned(),
        ]);
    }
    let listing = listing.to_string();
    let packed = pack(parts, &texts, &listing, now)?;
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    out.write_all(&packed)?;
    Ok(listing)
}

fn pack(parts: &[Part], texts: &[String], listing: &str, now: u64) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut add = |name: &str, text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        let path = format!("{FOLDER}/{name}");
        archive.append_data(&mut header, path, text.as_bytes())
    };
    add("LISTING", &format!("{listing}\n"))?;
    for (part, text) in parts.iter().zip(texts) {
        add(&part.name, text)?;
    }
    archive.into_inner()?.finish()
}
