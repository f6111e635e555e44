//! What a client writes down while a storm goes on: one JSON object a line, appended before the client acts on what it
//! says. Written by the clients here and by those in other languages; read by the judge.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since the storm began.
    pub at: u64,
    /// Name of the client.
    pub client: String,
    /// Number of its connection to its daemon, from 1.
    pub session: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// Who published: node, boot, handle.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin(pub String, pub String, pub u32);

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum What {
    /// A session with this node began.
    Attached {
        /// Its id.
        node: String,
        /// Its boot.
        boot: String,
    },
    /// A session ended.
    Lost {
        /// Why.
        why: String,
    },
    /// A subscription is asked for.
    Subscribe {
        /// Its pattern.
        pattern: String,
        /// Whether it is ordered.
        ordered: bool,
    },
    /// A message is published.
    Sent {
        /// Its number at this client for ever: what its payload begins with.
        id: u64,
        /// Its topic.
        topic: String,
        /// Its seq at the client library.
        seq: u64,
        /// Bytes of its payload.
        bytes: u64,
        /// Hash of its payload.
        hash: u64,
        /// Whether it was published after everything had been healed.
        calm: bool,
    },
    /// Messages are accepted.
    Accepted {
        /// The topic.
        topic: String,
        /// Seq of the first.
        from: u64,
        /// How many.
        count: u64,
        /// Outcomes owed for each.
        owed: u64,
    },
    /// What became of messages at one subscription.
    Outcome {
        /// The topic.
        topic: String,
        /// The subscriber's node.
        node: String,
        /// The subscription there.
        sub: u32,
        /// Seq of the first.
        from: u64,
        /// How many.
        count: u64,
        /// `Delivered`, or the reason why not.
        outcome: String,
    },
    /// A message came.
    Got {
        /// The topic.
        topic: String,
        /// Who published it.
        origin: Origin,
        /// Its seq there.
        seq: u64,
        /// Whether an earlier session may have seen it.
        again: bool,
        /// The publisher that its payload names; empty if it names none.
        publisher: String,
        /// The number that its payload names.
        id: u64,
        /// Bytes of its payload.
        bytes: u64,
        /// Hash of its payload.
        hash: u64,
    },
    /// A message is acknowledged.
    Acked {
        /// Who published it.
        origin: Origin,
        /// Its seq there.
        seq: u64,
    },
    /// Messages that will never come.
    Gap {
        /// Who published them.
        origin: Origin,
        /// Seq of the first.
        from: u64,
        /// How many.
        count: u64,
        /// Why.
        reason: String,
    },
}

/// The log of one client.
#[derive(Debug)]
pub struct Log {
    client: String,
    began: Instant,
    session: u64,
    file: BufWriter<File>,
}

impl Log {
    /// Begins `FOLDER/CLIENT.log`. Times count from `began`.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn create(folder: &Path, client: &str, began: Instant) -> Log {
        let file = File::create(path(folder, client)).expect("a log");
        Log {
            client: client.to_owned(),
            began,
            session: 0,
            file: BufWriter::new(file),
        }
    }

    /// Counts a new session.
    pub fn attached(&mut self, node: String, boot: String) {
        self.session += 1;
        self.note(What::Attached { node, boot });
    }

    /// Appends one line.
    ///
    /// # Panics
    /// If it cannot be written: a log with holes proves nothing.
    pub fn note(&mut self, what: What) {
        let entry = Entry {
            at: self.began.elapsed().as_millis() as u64,
            client: self.client.clone(),
            session: self.session,
            what,
        };
        serde_json::to_writer(&mut self.file, &entry).expect("a line of the log");
        self.file.write_all(b"\n").expect("a line of the log");
    }
}

fn path(folder: &Path, client: &str) -> PathBuf {
    folder.join(format!("{client}.log"))
}

/// All entries of all logs in a folder, client by client, in order. A last line that is cut short is left out: its
/// writer was killed.
///
/// # Panics
/// If a log cannot be read or another line is no entry.
pub fn read_logs(folder: &Path) -> Vec<Entry> {
    let files = std::fs::read_dir(folder).expect("a folder of logs");
    let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
    paths.sort();
    let mut entries = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a log");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            match serde_json::from_str(line) {
                Ok(entry) => entries.push(entry),
                Err(error) => panic!("{}: {error}: {line:.200}", path.display()),
            }
        }
    }
    entries
}
