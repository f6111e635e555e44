//! Follows many files that grow, line by line.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often all files are read on: the error of every time that is taken from them.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(5);

struct Tail {
    number: usize,
    file: File,
    rest: Vec<u8>,
}

/// The files followed. A clone follows the same.
#[derive(Clone, Default)]
pub(super) struct Tails(Arc<Mutex<Vec<Tail>>>);

impl Tails {
    /// Follows one more file, which exists.
    pub(super) fn follow(&self, number: usize, path: PathBuf) {
        let file = File::open(path).expect("an output");
        let tail = Tail {
            number,
            file,
            rest: Vec::new(),
        };
        self.0.lock().expect("no thread panics with it").push(tail);
    }

    /// Hands every new line to `line` with the number of its file, until `line` says that nobody listens any more.
    pub(super) fn run(&self, mut line: impl FnMut(usize, &str) -> bool) {
        let mut bytes = vec![0; 1 << 16];
        loop {
            for tail in self.0.lock().expect("no thread panics with it").iter_mut() {
                let read = tail.file.read(&mut bytes).unwrap_or(0);
                tail.rest.extend(&bytes[..read]);
                while let Some(end) = tail.rest.iter().position(|&byte| byte == b'\n') {
                    let text: Vec<u8> = tail.rest.drain(..=end).collect();
                    if !line(tail.number, String::from_utf8_lossy(&text).trim_end()) {
                        return;
                    }
                }
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
