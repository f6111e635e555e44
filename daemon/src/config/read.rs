//! From TOML to raw settings: syntax, unknown keys and wrong types are found here, each with its line.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Given, Origin, Problem, Problems};
use super::raw::{
    Raw, RawClient, RawDiscovery, RawHttp, RawInflux, RawNode, RawOverlay, RawRedelivery,
};

/// Reads the text of a configuration file: what could be read, and what is wrong with the rest. `source` is its name for
/// messages.
pub fn read(source: &str, text: &str) -> (Raw, Problems) {
    let document = Document::new(source, text);
    let mut problems = Problems::default();
    let Some(table) = document.parse(&mut problems) else {
        return (Raw::default(), problems);
    };
    let mut raw = Raw::default();
    let mut root = document.section("", table.get_ref(), &mut problems);
    if let Some(mut node) = root.table("node") {
        raw.node = RawNode {
            name: node.text("name"),
            bind: node.text("bind"),
            advertise: node.texts("advertise"),
            data_dir: node.text("data_dir"),
            tuning: node.text("tuning"),
            shards: node.integer("shards"),
            poll: node.text("poll"),
            rack: node.text("rack"),
            profile: node.text("profile"),
            metadata: node.pairs("metadata"),
            on_terminate: node.text("on_terminate"),
            ready_timeout: node.text("ready_timeout"),
            log: node.text("log"),
        };
        node.finish();
    }
    if let Some(mut client) = root.table("client") {
        raw.client = RawClient {
            socket: client.text("socket"),
            clients_file: client.text("clients_file"),
            grace: client.text("grace"),
            shard: client.integer("shard"),
        };
        client.finish();
    }
    if let Some(mut http) = root.table("http") {
        raw.http = RawHttp {
            bind: http.text("bind"),
            tls: http.text("tls"),
            cert_file: http.text("cert_file"),
            key_file: http.text("key_file"),
            socket: http.text("socket"),
            metrics_open: http.flag("metrics_open"),
        };
        http.finish();
    }
    if let Some(mut discovery) = root.table("discovery") {
        raw.discovery = RawDiscovery {
            port: discovery.integer("port"),
            ipv4_group: discovery.text("ipv4_group"),
            ipv6_group: discovery.text("ipv6_group"),
            every: discovery.text("every"),
            interfaces: discovery.texts("interfaces"),
        };
        discovery.finish();
    }
    let place = root.origin_of("influxdb");
    if let Some(mut influx) = root.table("influxdb") {
        raw.influx = RawInflux {
            place: Some(place),
            url: influx.text("url"),
            database: influx.text("database"),
            user: influx.text("user"),
            password_file: influx.text("password_file"),
            org: influx.text("org"),
            bucket: influx.text("bucket"),
            token_file: influx.text("token_file"),
            every: influx.text("every"),
            queue: influx.text("queue"),
            ca_file: influx.text("ca_file"),
        };
        influx.finish();
    }
    raw.no_overlay = root.is_empty_list("overlay");
    let mut tables = root.tables("overlay");
    while let Some(mut overlay) = tables.next() {
        raw.overlays.push(read_overlay(&mut overlay));
        overlay.finish();
    }
    root.finish();
    (raw, problems)
}

fn read_overlay(overlay: &mut Section<'_>) -> RawOverlay {
    RawOverlay {
        place: Some(overlay.origin()),
        name: overlay.text("name"),
        key_file: overlay.text("key_file"),
        ..read_options(overlay)
    }
}

/// What of an overlay can be set while it runs.
pub(super) fn read_options(overlay: &mut Section<'_>) -> RawOverlay {
    let mut raw = RawOverlay {
        join: overlay.texts("join"),
        discovery: overlay.text("discovery"),
        max_message: overlay.text("max_message"),
        max_datagram: overlay.text("max_datagram"),
        retain: overlay.text("retain"),
        park_max: overlay.text("park_max"),
        client_grace: overlay.text("client_grace"),
        profile: overlay.text("profile"),
        shard: overlay.integer("shard"),
        ..RawOverlay::default()
    };
    let origin = overlay.origin_of("redelivery");
    if let Some(mut redelivery) = overlay.table("redelivery") {
        let value = RawRedelivery {
            attempts: redelivery.integer("attempts"),
            every: redelivery.text("every"),
        };
        redelivery.finish();
        raw.redelivery = Some(Given { value, origin });
    }
    raw
}

/// A TOML text and what its errors are reported under.
pub(super) struct Document<'a> {
    source: Arc<str>,
    text: &'a str,
    /// Lines of the text mean something to who wrote it.
    has_lines: bool,
}

impl<'a> Document<'a> {
    pub(super) fn new(source: &str, text: &'a str) -> Self {
        Self {
            source: source.into(),
            text,
            has_lines: true,
        }
    }

    /// The same for a text that was made of something else.
    pub(super) fn without_lines(source: &str, text: &'a str) -> Self {
        Self {
            has_lines: false,
            ..Self::new(source, text)
        }
    }

    pub(super) fn parse(&self, problems: &mut Problems) -> Option<Spanned<DeTable<'a>>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(table),
            Err(error) => problems.push(Problem {
                origin: self.origin("syntax", error.span().unwrap_or(0..0)),
                value: String::new(),
                wrong: error.message().to_owned(),
                remedy: "write TOML: [table] headers and key = value lines, texts in double quotes"
                    .to_owned(),
            }),
        }
    }

    pub(super) fn section<'s>(
        &'s self,
        path: &str,
        table: &'s DeTable<'a>,
        problems: &'s mut Problems,
    ) -> Section<'s> {
        Section {
            document: self,
            path: path.to_owned(),
            span: 0..0,
            table,
            known: BTreeSet::new(),
            problems,
        }
    }

    fn origin(&self, key: &str, span: Range<usize>) -> Origin {
        let line = self.text.as_bytes()[..span.start.min(self.text.len())]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Origin {
            source: self.source.clone(),
            line: if self.has_lines { line } else { 0 },
            key: key.to_owned(),
        }
    }
}

/// One table that is being read: keys that are asked for become known, the others are mistakes.
pub(super) struct Section<'s> {
    document: &'s Document<'s>,
    path: String,
    /// Where it begins.
    span: Range<usize>,
    table: &'s DeTable<'s>,
    known: BTreeSet<&'static str>,
    problems: &'s mut Problems,
}

impl<'s> Section<'s> {
    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn find(&mut self, key: &'static str) -> Option<(&'s DeValue<'s>, Origin)> {
        self.known.insert(key);
        let (name, value) = self.table.get_key_value(key)?;
        Some((
            value.get_ref(),
            self.document.origin(&self.path_of(key), name.span()),
        ))
    }

    /// Where the table itself begins.
    fn origin(&self) -> Origin {
        self.document.origin(&self.path, self.span.clone())
    }

    /// Where `key` stands; where the table begins if it does not.
    pub(super) fn origin_of(&self, key: &str) -> Origin {
        self.document.origin(&self.path_of(key), self.span_of(key))
    }

    fn span_of(&self, key: &str) -> Range<usize> {
        self.table
            .get_key_value(key)
            .map_or(self.span.clone(), |(name, _)| name.span())
    }

    fn wrong_type(&mut self, origin: Origin, value: &DeValue<'_>, wanted: &str, example: &str) {
        let found = match value.type_str() {
            "string" => "a text",
            "integer" => "a whole number",
            "float" => "a number with a fraction",
            "boolean" => "true or false",
            "array" => "a list",
            "table" => "a table",
            _ => "a date or time",
        };
        self.problems.0.push(Problem {
            origin,
            value: show(value),
            wrong: format!("must be {wanted}, is {found}"),
            remedy: format!("write it as {example}"),
        });
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Given<String>> {
        let (value, origin) = self.find(key)?;
        match value.as_str() {
            Some(text) => Some(Given {
                value: text.to_owned(),
                origin,
            }),
            None => {
                self.wrong_type(origin, value, "a text", &format!("{key} = \"...\""));
                None
            }
        }
    }

    /// A list of texts; one text alone is a list of one.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Given<Vec<String>>> {
        let (value, origin) = self.find(key)?;
        let texts: Option<Vec<String>> = match value {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(items) => items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect(),
            _ => None,
        };
        match texts {
            Some(value) => Some(Given { value, origin }),
            None => {
                self.wrong_type(
                    origin,
                    value,
                    "a list of texts",
                    &format!("{key} = [\"...\", \"...\"]"),
                );
                None
            }
        }
    }

    /// A whole number.
    pub(super) fn integer(&mut self, key: &'static str) -> Option<Given<i64>> {
        let (value, origin) = self.find(key)?;
        let Some(number) = value.as_integer() else {
            self.wrong_type(origin, value, "a whole number", &format!("{key} = 4"));
            return None;
        };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) => Some(Given { value, origin }),
            Err(_) => self.problems.push(Problem {
                origin,
                value: show(value),
                wrong: "is far too large for any key".to_owned(),
                remedy: "write a smaller number, or remove the key for the default".to_owned(),
            }),
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<Given<bool>> {
        let (value, origin) = self.find(key)?;
        match value.as_bool() {
            Some(value) => Some(Given { value, origin }),
            None => {
                self.wrong_type(origin, value, "true or false", &format!("{key} = true"));
                None
            }
        }
    }

    /// A table of texts.
    pub(super) fn pairs(&mut self, key: &'static str) -> Option<Given<Vec<(String, String)>>> {
        let (value, origin) = self.find(key)?;
        let pairs: Option<Vec<(String, String)>> = value.as_table().and_then(|table| {
            let pair = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                let name: &std::borrow::Cow<'_, str> = name.get_ref();
                value
                    .get_ref()
                    .as_str()
                    .map(|value| (name.to_string(), value.to_owned()))
            };
            table.iter().map(pair).collect()
        });
        match pairs {
            Some(value) => Some(Given { value, origin }),
            None => {
                self.wrong_type(
                    origin,
                    value,
                    "a table of texts",
                    &format!("{key} = {{ zone = \"a\" }}"),
                );
                None
            }
        }
    }

    /// A table.
    pub(super) fn table<'t>(&'t mut self, key: &'static str) -> Option<Section<'t>> {
        let (value, origin) = self.find(key)?;
        let span = self.span_of(key);
        let path = self.path_of(key);
        match value.as_table() {
            Some(table) => Some(Section {
                document: self.document,
                path,
                span,
                table,
                known: BTreeSet::new(),
                problems: self.problems,
            }),
            None => {
                self.wrong_type(
                    origin,
                    value,
                    "a table",
                    &format!("[{path}] with its keys below"),
                );
                None
            }
        }
    }

    /// Whether the key is a list without anything in it.
    fn is_empty_list(&self, key: &str) -> bool {
        let array = self
            .table
            .get(key)
            .and_then(|value| value.get_ref().as_array());
        array.is_some_and(|items| items.is_empty())
    }

    /// An array of tables, one after the other.
    pub(super) fn tables<'t>(&'t mut self, key: &'static str) -> Tables<'t, 's> {
        let path = self.path_of(key);
        let items = match self.find(key) {
            None => Vec::new(),
            Some((value, origin)) => {
                let tables: Option<Vec<(Range<usize>, &'s DeTable<'s>)>> =
                    value.as_array().and_then(|items| {
                        let table = |item: &'s Spanned<DeValue<'s>>| {
                            Some((item.span(), item.get_ref().as_table()?))
                        };
                        items.iter().map(table).collect()
                    });
                tables.unwrap_or_else(|| {
                    self.wrong_type(
                        origin,
                        value,
                        "a list of tables",
                        &format!("[[{path}]] with its keys below"),
                    );
                    Vec::new()
                })
            }
        };
        Tables {
            section: self,
            path,
            items: items.into_iter(),
        }
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        for (name, _) in self.table.iter() {
            let key: &str = name.get_ref();
            if self.known.contains(key) {
                continue;
            }
            let all = self.known.iter().copied().collect::<Vec<_>>().join(", ");
            let remedy = match nearest(key, &self.known) {
                Some(known) => format!("did you mean {known}? Known here: {all}"),
                None => format!("remove it; known here: {all}"),
            };
            self.problems.0.push(Problem {
                origin: self.document.origin(&self.path_of(key), name.span()),
                value: String::new(),
                wrong: "unknown key".to_owned(),
                remedy,
            });
        }
    }
}

/// The tables of an array.
pub(super) struct Tables<'t, 's> {
    section: &'t mut Section<'s>,
    path: String,
    items: std::vec::IntoIter<(Range<usize>, &'s DeTable<'s>)>,
}

impl Tables<'_, '_> {
    /// The next table.
    pub(super) fn next(&mut self) -> Option<Section<'_>> {
        let (span, table) = self.items.next()?;
        Some(Section {
            document: self.section.document,
            path: self.path.clone(),
            span,
            table,
            known: BTreeSet::new(),
            problems: self.section.problems,
        })
    }
}

fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "[...]".to_owned(),
        DeValue::Table(_) => "{...}".to_owned(),
    }
}

/// The known key that `key` is most likely a slip of: at most two edits away.
fn nearest(key: &str, known: &BTreeSet<&'static str>) -> Option<&'static str> {
    known
        .iter()
        .map(|name| (distance(key, name), *name))
        .filter(|(edits, _)| *edits <= 2)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
