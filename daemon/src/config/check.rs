//! From raw settings to checked ones. Called once; a mistake anywhere means that nothing starts.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidings_wire::limits::{MAX_METADATA, MAX_NAME};

use super::check_node::READY_TIMEOUT;
use super::check_overlay::Defaults;
use super::problem::{Given, Problem, Problems};
use super::raw::{Raw, RawClient, RawNode};
use super::settings::{NodeSettings, Poll, Profile, Settings};
use super::units;
use crate::paths;

/// UDP port of a node, unless told otherwise.
pub const DEFAULT_PORT: u16 = 7400;
/// Most shards of a node.
const MAX_SHARDS: i64 = 16;
/// Checks everything; `problems` are those that reading found, told together with these. `base` is the folder that relative paths of the file start from.
pub fn check(raw: Raw, problems: Problems, base: &Path) -> Result<Settings, Problems> {
    let mut check = Check { base, problems };
    let node = check.node(raw.node);
    let shards = node.shards;
    let (socket, clients_file, client_grace, client_shard) = check.client(raw.client, shards);
    let http = check.http(raw.http, &socket);
    let discovery = check.discovery(raw.discovery);
    let defaults = Defaults {
        data_dir: &node.data_dir,
        shards,
        client_grace,
        profile: node.profile,
    };
    let overlays = check.overlays(raw.overlays, &defaults);
    let settings = Settings {
        node,
        socket,
        clients_file,
        client_grace,
        client_shard,
        http,
        discovery,
        influx: check.influx(raw.influx),
        overlays,
    };
    check.problems.or(settings)
}

/// Where the state is that the configuration may be completed from.
pub fn data_dir(raw: &Raw, base: &Path) -> PathBuf {
    let given = raw.node.data_dir.as_ref();
    given.map_or_else(paths::data_dir, |given| based(base, given))
}

/// Paths of the file start from its folder, those of flags from the present one.
fn based(base: &Path, given: &Given<String>) -> PathBuf {
    match given.origin.line {
        0 => PathBuf::from(&given.value),
        _ => base.join(&given.value),
    }
}

pub(super) struct Check<'a> {
    base: &'a Path,
    pub(super) problems: Problems,
}

impl Check<'_> {
    pub(super) fn wrong<T, U>(
        &mut self,
        given: &Given<T>,
        value: impl Display,
        wrong: &str,
        remedy: &str,
    ) -> Option<U> {
        self.problems
            .push(Problem::new(given, value, wrong, remedy))
    }

    fn node(&mut self, raw: RawNode) -> NodeSettings {
        let bind = raw.bind.as_ref().and_then(|given| self.bind(given));
        let advertise = self.advertise(
            raw.advertise.as_ref(),
            bind.map_or(DEFAULT_PORT, |bind| bind.port()),
        );
        NodeSettings {
            name: raw
                .name
                .and_then(|given| self.name(given, MAX_NAME))
                .unwrap_or_else(|| paths::host_name(MAX_NAME)),
            bind: bind.unwrap_or(SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT))),
            advertise,
            data_dir: raw
                .data_dir
                .map_or_else(paths::data_dir, |given| self.path(&given)),
            tuning: raw
                .tuning
                .and_then(|given| self.tuning(&given))
                .unwrap_or_default(),
            shards: raw.shards.and_then(|given| self.shards(&given)),
            poll: raw
                .poll
                .and_then(|given| self.poll(&given))
                .unwrap_or(Poll::Default),
            rack: raw
                .rack
                .and_then(|given| self.name(given, MAX_NAME))
                .unwrap_or_default(),
            profile: raw
                .profile
                .and_then(|given| self.profile(&given))
                .unwrap_or(Profile::Lan),
            metadata: raw
                .metadata
                .and_then(|given| self.metadata(&given))
                .unwrap_or_default(),
            on_terminate: raw
                .on_terminate
                .and_then(|given| self.on_terminate(&given))
                .unwrap_or_default(),
            ready_timeout: raw
                .ready_timeout
                .and_then(|given| self.ready_timeout(&given))
                .unwrap_or(READY_TIMEOUT),
            log: self.log(raw.log),
        }
    }

    fn client(
        &mut self,
        raw: RawClient,
        shards: Option<usize>,
    ) -> (PathBuf, Option<PathBuf>, Duration, Option<usize>) {
        let socket = match raw.socket {
            None => paths::socket(),
            Some(given) => self.socket(&given),
        };
        let grace = raw.grace.and_then(|given| self.grace(&given));
        let shard = raw.shard.and_then(|given| self.shard(&given, shards));
        let clients_file = raw.clients_file.map(|given| self.path(&given));
        (
            socket,
            clients_file,
            grace.unwrap_or(Duration::from_secs(600)),
            shard,
        )
    }

    /// The path of a Unix socket.
    pub(super) fn socket(&mut self, given: &Given<String>) -> PathBuf {
        let path = self.path(given);
        if path.as_os_str().len() > paths::MAX_SOCKET_PATH {
            let wrong = format!(
                "is longer than the {} bytes that a socket's path may have",
                paths::MAX_SOCKET_PATH
            );
            self.wrong::<_, ()>(
                given,
                quoted(&given.value),
                &wrong,
                "choose a folder with a shorter path",
            );
        }
        path
    }

    /// The number of a shard. If the number of shards is not said, the machine decides, and 0 is the only sure one.
    pub(super) fn shard(&mut self, given: &Given<i64>, shards: Option<usize>) -> Option<usize> {
        let last = shards.unwrap_or(1) as i64 - 1;
        if (0..=last).contains(&given.value) {
            return Some(given.value as usize);
        }
        let wrong = format!("is not in 0 to {last}");
        self.wrong(
            given,
            given.value,
            &wrong,
            "name one of the shards that node.shards makes, or remove the key",
        )
    }

    pub(super) fn grace(&mut self, given: &Given<String>) -> Option<Duration> {
        self.duration(given, Duration::ZERO, Duration::from_secs(7 * 86_400))
    }

    pub(super) fn path(&mut self, given: &Given<String>) -> PathBuf {
        if given.value.is_empty() {
            self.wrong::<_, ()>(given, "\"\"", "is empty", "write a path");
        }
        based(self.base, given)
    }

    pub(super) fn name(&mut self, given: Given<String>, max: usize) -> Option<String> {
        let name = given.value.trim();
        if name.is_empty() || name.len() > max || name.chars().any(char::is_control) {
            let value = quoted(&given.value);
            let remedy = format!("write 1 to {max} bytes of text without control characters");
            return self.wrong(&given, value, "is not a name", &remedy);
        }
        Some(name.to_owned())
    }

    fn shards(&mut self, given: &Given<i64>) -> Option<usize> {
        self.integer(given, 1, MAX_SHARDS)
            .map(|shards| shards as usize)
    }

    pub(super) fn integer(&mut self, given: &Given<i64>, min: i64, max: i64) -> Option<i64> {
        if (min..=max).contains(&given.value) {
            return Some(given.value);
        }
        let wrong = format!("is not in {min} to {max}");
        self.wrong(
            given,
            given.value,
            &wrong,
            "write a number in that range, or remove the key for the default",
        )
    }

    fn poll(&mut self, given: &Given<String>) -> Option<Poll> {
        match given.value.trim() {
            "off" => Some(Poll::Off),
            "adaptive" => Some(Poll::Adaptive),
            text => match units::duration(text) {
                Some(time) if time <= Duration::from_millis(10) => Some(Poll::For(time)),
                Some(_) => self.wrong(
                    given,
                    quoted(text),
                    "is longer than 10ms",
                    "write a time up to 10ms, as \"50us\"",
                ),
                None => {
                    let remedy = "write \"off\", \"adaptive\" or a time up to 10ms, as \"50us\"";
                    self.wrong(given, quoted(text), "is not a way to poll", remedy)
                }
            },
        }
    }

    pub(super) fn profile(&mut self, given: &Given<String>) -> Option<Profile> {
        match given.value.trim() {
            "lan" => Some(Profile::Lan),
            "wan" => Some(Profile::Wan),
            "local" => Some(Profile::Local),
            text => self.wrong(
                given,
                quoted(text),
                "is not a profile",
                "write \"lan\", \"wan\" or \"local\"",
            ),
        }
    }

    fn metadata(&mut self, given: &Given<Vec<(String, String)>>) -> Option<Vec<u8>> {
        let mut lines = String::new();
        for (key, value) in &given.value {
            if key.contains('=') || key.chars().chain(value.chars()).any(char::is_control) {
                let remedy = "use keys without `=` and no control characters";
                return self.wrong(
                    given,
                    quoted(key),
                    "cannot be written as a key=value line",
                    remedy,
                );
            }
            lines.push_str(&format!("{key}={value}\n"));
        }
        if lines.len() > MAX_METADATA {
            let wrong = format!(
                "takes {} bytes as key=value lines, more than {MAX_METADATA}",
                lines.len()
            );
            return self.wrong(
                given,
                "{...}",
                &wrong,
                "keep metadata short: it travels with every member record",
            );
        }
        Some(lines.into_bytes())
    }

    pub(super) fn duration(
        &mut self,
        given: &Given<String>,
        min: Duration,
        max: Duration,
    ) -> Option<Duration> {
        let Some(time) = units::duration(&given.value) else {
            let remedy = format!("write {}", units::DURATION_FORMS);
            return self.wrong(given, quoted(&given.value), "is not a time", &remedy);
        };
        if (min..=max).contains(&time) {
            return Some(time);
        }
        let (min, max) = (units::show_duration(min), units::show_duration(max));
        let wrong = format!("is not in {min} to {max}");
        self.wrong(
            given,
            quoted(&given.value),
            &wrong,
            "write a time in that range, or remove the key for the default",
        )
    }

    pub(super) fn size(&mut self, given: &Given<String>, min: u64, max: u64) -> Option<u64> {
        let Some(size) = units::size(&given.value) else {
            let remedy = format!("write {}", units::SIZE_FORMS);
            return self.wrong(given, quoted(&given.value), "is not a size", &remedy);
        };
        if (min..=max).contains(&size) {
            return Some(size);
        }
        let (min, max) = (units::show_size(min), units::show_size(max));
        let wrong = format!("is not in {min} to {max}");
        self.wrong(
            given,
            quoted(&given.value),
            &wrong,
            "write a size in that range, or remove the key for the default",
        )
    }
}

pub(super) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HttpBind, HttpSettings, HttpTls, Key, OnTerminate, read};
    use tidings_engine::Tuning;

    fn checked(text: &str) -> Result<Settings, Problems> {
        let (raw, problems) = read("tidings.toml", text);
        check(raw, problems, Path::new("/etc/tidings"))
    }

    fn problem(text: &str) -> String {
        checked(text).expect_err("a mistake was taken").to_string()
    }

    #[test]
    fn a_full_configuration_is_taken() {
        let settings = checked(
            r#"
            [node]
            name = "host-a"
            bind = "10.0.0.1:7500"
            advertise = ["203.0.113.5", "[2001:db8::1]:7600"]
            data_dir = "state"
            tuning = "latency"
            shards = 4
            poll = "50us"
            rack = "r1"
            profile = "wan"
            metadata = { zone = "a" }
            on_terminate = "stop"
            ready_timeout = "1m"
            [client]
            socket = "/run/tidings.sock"
            clients_file = "clients.toml"
            grace = "1m"
            [http]
            bind = "0.0.0.0:7501"
            cert_file = "node.pem"
            key_file = "node.key"
            metrics_open = true
            [[overlay]]
            name = "prod"
            key_file = "prod.key"
            join = ["host-b", "10.0.0.2:7500", "[2001:db8::2]:7400", "srv+_tidings._udp.example.org"]
            redelivery = { attempts = 3, every = "200ms" }
            max_message = "4MiB"
            max_datagram = "1448B"
            retain = "128MiB"
            park_max = "1h"
            [[overlay]]
            name = "demo"
            "#,
        )
        .unwrap();
        assert_eq!(settings.node.bind, "10.0.0.1:7500".parse().unwrap());
        assert_eq!(
            settings.node.advertise[0],
            "203.0.113.5:7500".parse().unwrap()
        );
        assert_eq!(settings.node.data_dir, Path::new("/etc/tidings/state"));
        assert_eq!(settings.node.poll, Poll::For(Duration::from_micros(50)));
        assert_eq!(settings.node.tuning, Tuning::Latency);
        assert_eq!(settings.node.on_terminate, OnTerminate::Stop);
        assert_eq!(settings.node.ready_timeout, Duration::from_secs(60));
        assert_eq!(settings.node.metadata, b"zone=a\n");
        let tls = HttpTls::Files {
            cert: "/etc/tidings/node.pem".into(),
            key: "/etc/tidings/node.key".into(),
        };
        let http = HttpSettings {
            bind: HttpBind::At("0.0.0.0:7501".parse().unwrap()),
            tls,
            socket: "/run/tidings.http.sock".into(),
            metrics_open: true,
        };
        assert_eq!(settings.http, http);
        let prod = &settings.overlays[0];
        assert_eq!(prod.key, Key::File("/etc/tidings/prod.key".into()));
        assert_eq!((prod.attempts, prod.every), (3, Duration::from_millis(200)));
        assert_eq!((prod.max_message, prod.retain), (4 << 20, 128 << 20));
        assert_eq!(prod.max_datagram, 1448);
        assert_eq!(
            settings.overlays[1].key,
            Key::Generated("/etc/tidings/state/demo.key".into())
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_key_that_was_meant() {
        let text = problem("[node]\nname = \"a\"\nbindd = \"1\"\n");
        assert!(
            text.contains("tidings.toml:3: node.bindd: unknown key"),
            "{text}"
        );
        assert!(text.contains("did you mean bind?"), "{text}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line_and_value() {
        let text = problem("[node]\n\nshards = \"four\"\n");
        assert!(
            text.contains(
                "tidings.toml:3: node.shards = \"four\": must be a whole number, is a text"
            ),
            "{text}"
        );
        let text = problem("node = 4\n");
        assert!(text.contains("must be a table"), "{text}");
        let text = problem("overlay = 4\n");
        assert!(text.contains("must be a list of tables"), "{text}");
    }

    #[test]
    fn values_out_of_range_are_named_with_their_range() {
        for (line, wanted) in [
            ("[node]\nshards = 0", "node.shards = 0: is not in 1 to 16"),
            (
                "[node]\non_terminate = \"go\"",
                "write \"leave\", or \"stop\"",
            ),
            (
                "[node]\nready_timeout = \"2h\"",
                "node.ready_timeout = \"2h\": is not in 0us to 1h",
            ),
            ("[node]\npoll = \"1s\"", "is longer than 10ms"),
            (
                "[node]\ntuning = \"fast\"",
                "node.tuning = \"fast\": is not a tuning",
            ),
            (
                "[node]\nbind = \"nowhere\"",
                "node.bind = \"nowhere\": is not an address",
            ),
            (
                "[node]\nadvertise = [\"0.0.0.0:1\"]",
                "is no address that others could reach",
            ),
            (
                "[client]\ngrace = \"5\"",
                "client.grace = \"5\": is not a time",
            ),
            (
                "[[overlay]]\nname = \"demo\"\nmax_message = \"5MiB\"",
                "overlay.max_message = \"5MiB\": is not in 1B to 4MiB",
            ),
            (
                "[[overlay]]\nname = \"demo\"\nredelivery = { every = \"1us\" }",
                "is not in 10ms to 1d",
            ),
            (
                "[[overlay]]\nname = \"demo\"\njoin = [\"a:b:c\"]",
                "is not an address to join through",
            ),
            (
                "[[overlay]]\nname = \"demo\"\njoin = [\"srv+_t._udp.x:7400\"]",
                "tidings.toml:3: overlay.join = \"srv+_t._udp.x:7400\": is not an address to join through",
            ),
            (
                "[[overlay]]\nname = \"demo\"\njoin = [\"h\u{f6}st\"]",
                "write the name in its ASCII form",
            ),
            (
                "[node]\nshards = 99999999999999999999",
                "tidings.toml:2: node.shards = 99999999999999999999: is far too large",
            ),
            (
                "[[overlay]]\nname = \"prod\"",
                "this overlay has no key file",
            ),
            (
                "\n[[overlay]]\njoin = []",
                "tidings.toml:2: overlay.name: an [[overlay]] has no name",
            ),
            (
                "\n[[overlay]]",
                "tidings.toml:2: overlay.name: an [[overlay]] has no name",
            ),
            (
                "[[overlay]]\nname = \"demo\"\n\n[[overlay]]\nshard = 0",
                "tidings.toml:4: overlay.name: an [[overlay]] has no name",
            ),
            (
                "[[overlay]]\nname = \"demo\"\n[[overlay]]\nname = \"demo\"",
                "is there twice",
            ),
        ] {
            let text = problem(line);
            assert!(text.contains(wanted), "{line}\n{text}");
            assert!(text.contains("remedy: "), "{text}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_and_syntax_errors_have_a_line() {
        let text = problem("[node]\nshards = 0\nbind = \"x\"\n[client]\ngrace = \"x\"\n");
        assert_eq!(text.matches("error: ").count(), 3, "{text}");
        let text = problem("[node]\nname = \n");
        assert!(text.contains("tidings.toml:2"), "{text}");
    }

    #[test]
    fn the_readme_shows_every_key_and_its_example_is_valid() {
        let readme = include_str!("../../../README.md");
        let after = readme.split("```toml\n").nth(1).expect("an example");
        let example = after.split("```").next().expect("its end");
        if let Err(problems) = checked(example) {
            panic!("{problems}");
        }
        for section in ["[node]", "[client]", "[http]", "[[overlay]]"] {
            let text = problem(&format!("{section}\nqqqqqqqqqqqqqqqq = 1\n"));
            let (_, known) = text.split_once("known here: ").expect("the known keys");
            let keys = known.lines().next().expect("one line").split(", ");
            for key in keys {
                let line = format!("\n{key} = ");
                let shown = example.split(section).nth(1).expect("its section");
                assert!(shown.contains(&line), "{section} {key}");
            }
        }
    }
}
