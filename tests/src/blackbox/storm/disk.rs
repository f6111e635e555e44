//! A small disk for a node's data, which outlives its daemon, and can be filled.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::blackbox::{Node, beside_mounts_of, on_a_small_disk};
use crate::host::Process;

/// Room for a lock, an id, a generation and addresses.
const BYTES: usize = 256 << 10;

/// The disk. A process without anything to do holds its mount namespace open.
#[derive(Debug)]
pub(super) struct SmallDisk {
    holder: Process,
    filling: PathBuf,
}

impl SmallDisk {
    /// Makes the disk under the data directory of `node`.
    pub(super) fn at(node: Node<'_>) -> SmallDisk {
        let data = node.home().join("data");
        let mut command = node.host().command("sleep");
        command.arg("infinity");
        on_a_small_disk(&mut command, &data, BYTES);
        let holder = node.host().spawn("disk", command).expect("sleep starts");
        // The holder's view of the disk: no other process sees it there.
        let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
        let inside = data.strip_prefix("/").expect("an absolute path");
        let filling = root.join(inside).join("filling");
        SmallDisk { holder, filling }
    }

    /// Makes the command see it.
    pub(super) fn give(&self, command: &mut Command) {
        beside_mounts_of(command, self.holder.id()).expect("the holder lives");
    }

    /// Fills it to the last byte. Returns whether it is full.
    pub(super) fn fill(&self) -> bool {
        let Ok(mut file) = File::create(&self.filling) else {
            return true;
        };
        let zeros = [0; 4096];
        (0..=BYTES / zeros.len()).any(|_| file.write_all(&zeros).is_err())
    }

    /// Makes room again.
    pub(super) fn clear(&self) {
        // There may be nothing to remove.
        let _ = std::fs::remove_file(&self.filling);
    }
}
