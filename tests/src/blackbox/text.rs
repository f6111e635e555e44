//! A file of real lines, collected from this machine: package lists, changelogs, licences, documentation.

use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A text file.
#[derive(Clone, Debug)]
pub struct RealText {
    /// Where it lies.
    pub path: PathBuf,
    /// How many lines it has.
    pub lines: u64,
    /// Its size.
    pub bytes: u64,
    /// Parts of its lines that are long and strange enough to be searched for on a wire.
    pub needles: Vec<Vec<u8>>,
}

/// Lines between two needles.
const NEEDLE_EVERY: usize = 9_973;
/// Bytes of a needle: long enough to be no accident, short enough to lie within one datagram.
const NEEDLE: usize = 24;

/// Writes at least `lines` real lines to `path`.
///
/// # Panics
/// If this machine has too little text.
pub fn real_text(path: &Path, lines: usize) -> RealText {
    let mut collector = Collector {
        out: BufWriter::new(std::fs::File::create(path).expect("a file")),
        wanted: lines,
        lines: 0,
        bytes: 0,
        needles: Vec::new(),
    };
    collector.file(Path::new("/var/lib/dpkg/status"));
    for (root, endings) in [
        (
            "/usr/share/doc",
            &["changelog.Debian.gz", "changelog.gz"][..],
        ),
        ("/usr/share/doc", &["copyright", "NEWS.gz", "README"][..]),
        ("/usr/share", &[".txt", ".md", ".h", ".py"][..]),
        (
            concat!(env!("CARGO_MANIFEST_DIR"), "/.."),
            &[".rs", ".md"][..],
        ),
    ] {
        collector.folder(Path::new(root), endings, 0);
    }
    collector.finish(path)
}

struct Collector {
    out: BufWriter<std::fs::File>,
    wanted: usize,
    lines: usize,
    bytes: u64,
    needles: Vec<Vec<u8>>,
}

impl Collector {
    /// Every file below `root` with one of the endings, in order of names.
    fn folder(&mut self, root: &Path, endings: &[&str], depth: usize) {
        if self.lines >= self.wanted || depth > 6 {
            return;
        }
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_symlink() {
                continue;
            } else if path.is_dir() {
                self.folder(&path, endings, depth + 1);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                self.file(&path);
            }
        }
    }

    fn file(&mut self, path: &Path) {
        if self.lines >= self.wanted {
            return;
        }
        let text = if path.extension().is_some_and(|ending| ending == "gz") {
            unzipped(path)
        } else {
            std::fs::read(path).ok()
        };
        for line in text
            .unwrap_or_default()
            .split_inclusive(|&byte| byte == b'\n')
        {
            self.line(line);
        }
    }

    fn line(&mut self, line: &[u8]) {
        if self.lines >= self.wanted || line.len() > 4096 {
            return;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        self.out.write_all(line).expect("room for the text");
        self.out.write_all(b"\n").expect("room for the text");
        self.lines += 1;
        self.bytes += line.len() as u64 + 1;
        let due = self.needles.len() * NEEDLE_EVERY < self.lines;
        let letters = |part: &[u8]| {
            part.iter()
                .filter(|byte| byte.is_ascii_alphabetic())
                .count()
        };
        if due && line.len() > NEEDLE && letters(&line[..NEEDLE]) > NEEDLE / 2 {
            self.needles.push(line[..NEEDLE].to_vec());
        }
    }

    fn finish(mut self, path: &Path) -> RealText {
        self.out.flush().expect("room for the text");
        assert!(
            self.lines >= self.wanted && !self.needles.is_empty(),
            "this machine has only {} lines of text",
            self.lines
        );
        RealText {
            path: path.into(),
            lines: self.lines as u64,
            bytes: self.bytes,
            needles: self.needles,
        }
    }
}

fn unzipped(path: &Path) -> Option<Vec<u8>> {
    let mut gzip = Command::new("gzip")
        .args(["-dc"])
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut text = Vec::new();
    let read = gzip.stdout.take()?.read_to_end(&mut text);
    let ended = gzip.wait().ok()?.success();
    (read.is_ok() && ended).then_some(text)
}

/// Where two files differ, in a line; `None` if they are identical.
pub fn difference(expected: &Path, got: &Path) -> Option<String> {
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    let (a, b) = (read(expected), read(got));
    if a == b {
        return None;
    }
    let split = |bytes: &[u8]| bytes.split_inclusive(|&byte| byte == b'\n').count();
    let at = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let line = a[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
    Some(format!(
        "{} bytes and {} lines instead of {} and {}, different from byte {at} in line {line} on",
        b.len(),
        split(&b),
        a.len(),
        split(&a)
    ))
}
