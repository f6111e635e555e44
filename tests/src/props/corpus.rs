//! The committed corpora: small inputs that reach what a fuzzer found worth reaching.

use std::fs;
use std::path::{Path, PathBuf};

/// Every input of a target, by name.
pub fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let Ok(entries) = fs::read_dir(&dir) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .flatten()
        .filter_map(|entry| fs::read(entry.path()).ok().map(|read| (entry.path(), read)))
        .collect();
    files.sort();
    files
}
