//! Every value that a node runs with, and where it comes from: what `tidings config show` writes.

use std::path::Path;

use super::problem::{Given, Origin};
use super::raw::{Raw, RawOverlay};
use super::settings::{HttpBind, HttpTls, InfluxTarget, OverlaySettings, Poll, Settings};
use super::units::{show_duration, show_size};
use crate::paths;
use tidings_engine::Tuning;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key with its table; those of overlays have the overlay's name in it.
    pub key: String,
    /// The value as it would be written in the file.
    pub value: String,
    /// Where it was given; `None`: the default.
    pub source: Option<String>,
}

/// All values. `raw` is what `settings` was made of.
pub fn rows(raw: &Raw, settings: &Settings) -> Vec<Row> {
    let mut rows = Rows(Vec::new());
    rows.node(raw, settings);
    rows.client(raw, settings);
    rows.http(raw, settings);
    rows.discovery(raw, settings);
    rows.influx(raw, settings);
    for overlay in &settings.overlays {
        let is_it = |raw: &&RawOverlay| {
            let name = raw.name.as_ref();
            name.is_some_and(|given| given.value.trim() == overlay.name)
        };
        if let Some(own) = raw.overlays.iter().find(is_it) {
            rows.overlay(raw, own, overlay);
        }
    }
    rows.0
}

struct Rows(Vec<Row>);

impl Rows {
    fn add<T>(&mut self, key: &str, given: &Option<Given<T>>, value: impl Into<String>) {
        self.0.push(Row {
            key: key.to_owned(),
            value: value.into(),
            source: place(given),
        });
    }

    fn node(&mut self, raw: &Raw, settings: &Settings) {
        let (raw, node) = (&raw.node, &settings.node);
        let metadata = String::from_utf8_lossy(&node.metadata);
        let pairs: Vec<String> = metadata
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| format!("{key} = {value:?}"))
            .collect();
        self.add("node.name", &raw.name, quoted(&node.name));
        self.add("node.bind", &raw.bind, quoted(node.bind));
        let found = match node.advertise.is_empty() {
            true => "found out".to_owned(),
            false => list(&node.advertise),
        };
        self.add("node.advertise", &raw.advertise, found);
        self.add("node.data_dir", &raw.data_dir, path(&node.data_dir));
        let tuning = match node.tuning {
            Tuning::LowPower => "low-power",
            Tuning::Balanced => "balanced",
            Tuning::Latency => "latency",
        };
        self.add("node.tuning", &raw.tuning, quoted(tuning));
        let shards = node.shards.map(|shards| shards.to_string());
        let by_tuning = "as tuning and cores say";
        self.add(
            "node.shards",
            &raw.shards,
            shards.unwrap_or(by_tuning.into()),
        );
        let poll = match node.poll {
            Poll::Default => by_tuning.to_owned(),
            Poll::Off => quoted("off"),
            Poll::Adaptive => quoted("adaptive"),
            Poll::For(time) => quoted(show_duration(time)),
        };
        self.add("node.poll", &raw.poll, poll);
        self.add("node.profile", &raw.profile, quoted(node.profile.name()));
        self.add("node.rack", &raw.rack, quoted(&node.rack));
        let metadata = format!("{{ {} }}", pairs.join(", "));
        self.add("node.metadata", &raw.metadata, metadata);
        let on_terminate = quoted(node.on_terminate.name());
        self.add("node.on_terminate", &raw.on_terminate, on_terminate);
        let ready_timeout = quoted(show_duration(node.ready_timeout));
        self.add("node.ready_timeout", &raw.ready_timeout, ready_timeout);
        self.add("node.log", &raw.log, quoted(&node.log));
        if paths::log_of_environment().is_some() {
            let last = self.0.last_mut().expect("just added");
            last.source = Some(format!("environment {}", paths::LOG_VARIABLE));
        }
    }

    fn client(&mut self, raw: &Raw, settings: &Settings) {
        let raw = &raw.client;
        self.add("client.socket", &raw.socket, path(&settings.socket));
        if raw.socket.is_none() && paths::socket_is_of_environment() {
            let last = self.0.last_mut().expect("just added");
            last.source = Some(format!("environment {}", paths::SOCKET_VARIABLE));
        }
        let file = settings.clients_file.as_deref();
        let file = file.map_or_else(|| "none".to_owned(), path);
        self.add("client.clients_file", &raw.clients_file, file);
        let grace = quoted(show_duration(settings.client_grace));
        self.add("client.grace", &raw.grace, grace);
        let shard = settings.client_shard.map(|shard| shard.to_string());
        let shard = shard.unwrap_or("that of each client's first overlay".to_owned());
        self.add("client.shard", &raw.shard, shard);
    }

    fn http(&mut self, raw: &Raw, settings: &Settings) {
        let (raw, http) = (&raw.http, &settings.http);
        let bind = match http.bind {
            HttpBind::Default => "127.0.0.1 and the port above the node's".to_owned(),
            HttpBind::At(address) => quoted(address),
            HttpBind::Off => quoted("off"),
        };
        self.add("http.bind", &raw.bind, bind);
        let (tls, cert, key) = match &http.tls {
            HttpTls::SelfMade => ("on", "made by the node".to_owned(), None),
            HttpTls::Files { cert, key } => ("on", path(cert), Some(path(key))),
            HttpTls::Off => ("off", "none".to_owned(), None),
        };
        self.add("http.tls", &raw.tls, quoted(tls));
        let key = key.unwrap_or_else(|| cert.clone());
        self.add("http.cert_file", &raw.cert_file, cert);
        self.add("http.key_file", &raw.key_file, key);
        self.add("http.socket", &raw.socket, path(&http.socket));
        let open = http.metrics_open.to_string();
        self.add("http.metrics_open", &raw.metrics_open, open);
    }

    fn discovery(&mut self, raw: &Raw, settings: &Settings) {
        let (raw, discovery) = (&raw.discovery, &settings.discovery);
        self.add("discovery.port", &raw.port, discovery.port.to_string());
        let group = quoted(discovery.group_v4);
        self.add("discovery.ipv4_group", &raw.ipv4_group, group);
        let group = quoted(discovery.group_v6);
        self.add("discovery.ipv6_group", &raw.ipv6_group, group);
        let every = quoted(show_duration(discovery.every));
        self.add("discovery.every", &raw.every, every);
        let interfaces = match discovery.interfaces.is_empty() {
            true => "all that carry multicast".to_owned(),
            false => list(&discovery.interfaces),
        };
        self.add("discovery.interfaces", &raw.interfaces, interfaces);
    }

    /// Secrets stay in their files: their paths are shown.
    fn influx(&mut self, raw: &Raw, settings: &Settings) {
        let (raw, Some(influx)) = (&raw.influx, &settings.influx) else {
            self.add("influxdb", &None::<Given<()>>, "none");
            return;
        };
        let scheme = if influx.is_sealed { "https" } else { "http" };
        let url = format!("{scheme}://{}{}", influx.authority, influx.prefix);
        self.add("influxdb.url", &raw.url, quoted(url));
        match &influx.target {
            InfluxTarget::V1 { database, login } => {
                self.add("influxdb.database", &raw.database, quoted(database));
                if let Some((user, file)) = login {
                    self.add("influxdb.user", &raw.user, quoted(user));
                    self.add("influxdb.password_file", &raw.password_file, path(file));
                }
            }
            InfluxTarget::V2 {
                org,
                bucket,
                token_file,
            } => {
                self.add("influxdb.org", &raw.org, quoted(org));
                self.add("influxdb.bucket", &raw.bucket, quoted(bucket));
                self.add("influxdb.token_file", &raw.token_file, path(token_file));
            }
        }
        let every = quoted(show_duration(influx.every));
        self.add("influxdb.every", &raw.every, every);
        let queue = quoted(show_size(influx.queue as u64));
        self.add("influxdb.queue", &raw.queue, queue);
        let authorities = influx.ca_file.as_deref();
        let authorities = authorities.map_or_else(|| "the system's".to_owned(), path);
        self.add("influxdb.ca_file", &raw.ca_file, authorities);
    }

    fn overlay(&mut self, node: &Raw, raw: &RawOverlay, overlay: &OverlaySettings) {
        let key = |key: &str| format!("overlay.{}.{key}", overlay.name);
        let file = match overlay.key.path() {
            Some(file) => path(file),
            None => overlay.key.to_string(),
        };
        self.add(&key("key_file"), &raw.key_file, file);
        let redelivery = raw.redelivery.as_ref().map(|given| &given.value);
        // What it does not say itself it takes over.
        let grace = raw.client_grace.as_ref().or(node.client.grace.as_ref());
        let profile = raw.profile.as_ref().or(node.node.profile.as_ref());
        let places = [
            place(&raw.join),
            place(&raw.discovery),
            redelivery.and_then(|given| place(&given.attempts)),
            redelivery.and_then(|given| place(&given.every)),
            place(&raw.max_message),
            place(&raw.max_datagram),
            place(&raw.retain),
            place(&raw.park_max),
            grace.map(|given| source(&given.origin)),
            profile.map(|given| source(&given.origin)),
            place(&raw.shard),
        ];
        for ((name, value), source) in options(overlay).into_iter().zip(places) {
            let key = key(name);
            self.0.push(Row { key, value, source });
        }
    }
}

/// The options of an overlay that can be set while it runs, each with its value as it would be written in the file.
pub fn options(overlay: &OverlaySettings) -> [(&'static str, String); 11] {
    let size = |bytes: usize| quoted(show_size(bytes as u64));
    let time = |time| quoted(show_duration(time));
    [
        ("join", list(&overlay.join)),
        ("discovery", quoted(overlay.discovery.name())),
        ("redelivery.attempts", overlay.attempts.to_string()),
        ("redelivery.every", time(overlay.every)),
        ("max_message", size(overlay.max_message)),
        ("max_datagram", size(overlay.max_datagram)),
        ("retain", size(overlay.retain)),
        ("park_max", time(overlay.park_max)),
        ("client_grace", time(overlay.client_grace)),
        ("profile", quoted(overlay.profile.name())),
        ("shard", shard(overlay.shard)),
    ]
}

/// The shard of an overlay.
pub fn shard(shard: Option<usize>) -> String {
    let shard = shard.map(|shard| shard.to_string());
    shard.unwrap_or("the one with the fewest overlays".to_owned())
}

fn place<T>(given: &Option<Given<T>>) -> Option<String> {
    given.as_ref().map(|given| source(&given.origin))
}

/// A place as people name it.
pub fn source(origin: &Origin) -> String {
    match (origin.is_flag(), origin.line) {
        (true, _) => format!("flag {}", origin.key),
        (false, 0) => origin.source.to_string(),
        (false, line) => format!("{}:{line}", origin.source),
    }
}

fn quoted(text: impl ToString) -> String {
    format!("{:?}", text.to_string())
}

fn path(path: &Path) -> String {
    quoted(path.display())
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{check, read};

    #[test]
    fn each_value_says_where_it_comes_from() {
        let text = "[node]\nname = \"a\"\n[[overlay]]\nname = \"demo\"\nretain = \"8MiB\"\n";
        let (mut raw, problems) = read("t.toml", text);
        raw.node.bind = Some(Given::flag("--bind", "127.0.0.1:1".to_owned()));
        let settings = check(raw.clone(), problems, Path::new(""))
            .unwrap_or_else(|problems| panic!("{problems}"));
        let rows = rows(&raw, &settings);
        let row = |key: &str| {
            let found = rows.iter().find(|row| row.key == key);
            let row = found.unwrap_or_else(|| panic!("{key} is shown"));
            (row.value.as_str(), row.source.as_deref())
        };
        assert_eq!(row("node.name"), ("\"a\"", Some("t.toml:2")));
        assert_eq!(row("node.bind"), ("\"127.0.0.1:1\"", Some("flag --bind")));
        assert_eq!(row("overlay.demo.retain"), ("\"8MiB\"", Some("t.toml:5")));
        assert_eq!(row("overlay.demo.park_max"), ("\"1d\"", None));
    }

    #[test]
    fn every_key_of_the_file_is_shown() {
        let readme = include_str!("../../../README.md");
        let (_, rest) = readme.split_once("```toml\n[node]").expect("the example");
        let (example, _) = rest.split_once("```").expect("its end");
        let (raw, problems) = read("README", &format!("[node]{example}"));
        let settings = check(raw.clone(), problems, Path::new("/etc/tidings"))
            .unwrap_or_else(|problems| panic!("{problems}"));
        // All keys are in the example, so that none of them has its default; and all of the example are shown.
        let shown = rows(&raw, &settings);
        let defaults: Vec<_> = shown.iter().filter(|row| row.source.is_none()).collect();
        assert!(defaults.is_empty(), "{defaults:?}");
        let mut section = "node".to_owned();
        let mut keys = 0;
        for line in example.lines() {
            if let Some(name) = line.strip_prefix('[') {
                let name = name.trim_matches(|c| c == '[' || c == ']');
                section = name.replace("overlay", "overlay.news");
            } else if let Some((key, _)) = line.split_once(" = ")
                && key != "name"
            {
                keys += 1;
                let key = format!("{section}.{key}");
                let is_shown =
                    |row: &Row| row.key == key || row.key.starts_with(&format!("{key}."));
                assert!(shown.iter().any(is_shown), "{key}");
            }
        }
        assert!(keys > 25, "{keys}");
    }
}
