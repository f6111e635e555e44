//! The vector files: records `[name]` of lines `name = value`. A value is `int N`, `"text"` or hex bytes in wire order.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use tidings_wire::{Boot, NodeId};

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// How a value stands in a vector file.
pub trait Show {
    fn show(&self) -> String;
}

macro_rules! show {
    ($($int:ty)*) => { $(impl Show for $int { fn show(&self) -> String { format!("int {self}") } })* };
}

show!(u8 u16 u32 u64);

impl<const N: usize> Show for [u8; N] {
    fn show(&self) -> String {
        hex(self)
    }
}

impl Show for &[u8] {
    fn show(&self) -> String {
        hex(self)
    }
}

impl Show for Vec<u8> {
    fn show(&self) -> String {
        hex(self)
    }
}

impl Show for NodeId {
    fn show(&self) -> String {
        hex(&self.0)
    }
}

impl Show for Boot {
    fn show(&self) -> String {
        hex(&self.0)
    }
}

impl Show for &str {
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

/// A vector file under construction.
pub struct File {
    name: &'static str,
    text: String,
}

impl File {
    pub fn new(name: &'static str, about: &str) -> Self {
        Self {
            name,
            text: format!("# {about}\n# Format: README.md\n"),
        }
    }

    pub fn record(&mut self, name: &str) -> &mut Self {
        write!(self.text, "\n[{name}]\n").unwrap();
        self
    }

    pub fn line(&mut self, name: &str, value: impl Show) -> &mut Self {
        self.shown(name, &value.show())
    }

    pub fn shown(&mut self, name: &str, value: &str) -> &mut Self {
        writeln!(self.text, "{name} = {value}").unwrap();
        self
    }

    /// Compares with the file on disk, or writes it where TIDINGS_BLESS=1 asks for that.
    pub fn settle(self) {
        let path = path(self.name);
        if std::env::var_os("TIDINGS_BLESS").is_some_and(|value| value == "1") {
            std::fs::write(&path, &self.text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        for (number, (made, kept)) in self.text.lines().zip(golden.lines()).enumerate() {
            assert_eq!(made, kept, "{} line {}", self.name, number + 1);
        }
        assert_eq!(
            self.text.len(),
            golden.len(),
            "{} has another length",
            self.name
        );
    }
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors", name]
        .iter()
        .collect()
}

/// One record as read from disk.
pub struct Record {
    pub name: String,
    values: BTreeMap<String, String>,
}

impl Record {
    fn value(&self, name: &str) -> &str {
        self.values
            .get(name)
            .unwrap_or_else(|| panic!("[{}] lacks {name}", self.name))
    }

    pub fn int(&self, name: &str) -> u64 {
        self.value(name)
            .strip_prefix("int ")
            .unwrap()
            .parse()
            .unwrap()
    }

    pub fn text(&self, name: &str) -> &str {
        self.value(name).trim_matches('"')
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        unhex(self.value(name))
    }

    pub fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }
}

/// Reads a vector file.
pub fn read(name: &str) -> Vec<Record> {
    let text = std::fs::read_to_string(path(name)).unwrap();
    let mut records: Vec<Record> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            records.push(Record {
                name: name.into(),
                values: BTreeMap::new(),
            });
        } else {
            let (name, value) = line.split_once(" = ").unwrap();
            records
                .last_mut()
                .unwrap()
                .values
                .insert(name.into(), value.into());
        }
    }
    records
}
