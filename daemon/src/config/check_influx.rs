//! The checks of `[influxdb]`, where the node sends its statistics.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;

use super::check::{Check, quoted};
use super::problem::{Given, Origin, Problem};
use super::raw::RawInflux;
use super::settings::{InfluxSettings, InfluxTarget};

/// Port of InfluxDB, unless the URL names another.
const PORT: u16 = 8086;
/// Most and least time between two snapshots, and the default.
const EVERY: (Duration, Duration, Duration) = (
    Duration::from_secs(1),
    Duration::from_secs(3_600),
    Duration::from_secs(10),
);
/// Least and most room for points that wait, and the default: a node with ten overlays makes some 30 KB at a time.
const QUEUE: (u64, u64, u64) = (64 << 10, 256 << 20, 4 << 20);

/// A destination's parts: whether it is sealed, authority, host, port, prefix of its paths.
type Place = (bool, String, String, u16, String);

impl Check<'_> {
    /// None: nothing is sent anywhere.
    pub(super) fn influx(&mut self, raw: RawInflux) -> Option<InfluxSettings> {
        let target = self.influx_target(&raw);
        let url = match &raw.url {
            Some(url) => self.influx_url(url),
            None => {
                let origin = raw.place?;
                return self.lacks(origin, "url", "url = \"https://influxdb.example.org:8086\"");
            }
        };
        let every = raw.every.as_ref();
        let every = every.and_then(|given| self.duration(given, EVERY.0, EVERY.1));
        let queue = raw.queue.as_ref();
        let queue = queue.and_then(|given| self.size(given, QUEUE.0, QUEUE.1));
        let ca_file = raw.ca_file.as_ref().map(|given| self.path(given));
        let (is_sealed, authority, host, port, prefix) = url?;
        let target = target?;
        if let (Some(given), true) = (target_secret(&raw), !is_sealed && !is_this_host(&host)) {
            let wrong = format!("would be sent in clear over the network to {authority}");
            let remedy = "write https:// in influxdb.url";
            return self.wrong(given, quoted(&given.value), &wrong, remedy);
        }
        if let (Some(given), false) = (&raw.ca_file, is_sealed) {
            let remedy = "remove it, or write https:// in influxdb.url";
            return self.wrong(
                given,
                quoted(&given.value),
                "is for https, and influxdb.url is not",
                remedy,
            );
        }
        Some(InfluxSettings {
            is_sealed,
            authority,
            host,
            port,
            prefix,
            target,
            every: every.unwrap_or(EVERY.2),
            queue: queue.unwrap_or(QUEUE.2) as usize,
            ca_file,
        })
    }

    fn lacks<T>(&mut self, mut origin: Origin, key: &str, example: &str) -> Option<T> {
        origin.key = format!("influxdb.{key}");
        self.problems.push(Problem {
            origin,
            value: String::new(),
            wrong: format!("[influxdb] has no {key}"),
            remedy: format!("add {example}, or remove the table"),
        })
    }

    fn influx_url(&mut self, given: &Given<String>) -> Option<Place> {
        let text = given.value.trim();
        let remedy = "write http:// or https://, a host and a port, as \"https://influxdb.example.org:8086\"";
        // Not shown where it may have a password, whatever else is wrong with it: before an @, or as a query, as InfluxDB 1 takes it.
        let shown = match text.contains(['@', '?']) {
            true => "\"...\"".to_owned(),
            false => quoted(text),
        };
        let Ok(uri) = text.parse::<Uri>() else {
            return self.wrong(given, shown, "is not a URL", remedy);
        };
        let (is_sealed, authority) = match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) => (false, authority),
            (Some("https"), Some(authority)) => (true, authority),
            _ => return self.wrong(given, shown, "is not the URL of a server", remedy),
        };
        if authority.as_str().contains('@') {
            let remedy =
                "write the user as influxdb.user, and the password into influxdb.password_file";
            return self.wrong(given, shown, "has a user or a password in it", remedy);
        }
        if uri.query().is_some() {
            let remedy = "remove all from the question mark on: the other keys say it";
            return self.wrong(given, shown, "has a query in it", remedy);
        }
        let host = authority.host();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((
            is_sealed,
            authority.to_string(),
            host.to_owned(),
            authority.port_u16().unwrap_or(PORT),
            uri.path().trim_end_matches('/').to_owned(),
        ))
    }

    fn influx_target(&mut self, raw: &RawInflux) -> Option<InfluxTarget> {
        let of_1 = [&raw.database, &raw.user, &raw.password_file];
        let of_2 = [&raw.org, &raw.bucket, &raw.token_file];
        let place = raw.place.clone()?;
        if let Some(given) = of_2.into_iter().flatten().next() {
            if let Some(other) = of_1.into_iter().flatten().next() {
                let wrong = format!("is of InfluxDB 1, and {} of InfluxDB 2", given.origin.key);
                let remedy =
                    "write database, user and password_file, or org, bucket and token_file";
                return self.wrong(other, quoted(&other.value), &wrong, remedy);
            }
            let (org, bucket) = (&raw.org, &raw.bucket);
            let org = self.influx_name(org, &place, "org")?;
            let bucket = self.influx_name(bucket, &place, "bucket")?;
            let Some(file) = &raw.token_file else {
                return self.lacks(place, "token_file", "token_file = \"...\", mode 0600");
            };
            let token_file = self.path(file);
            return Some(InfluxTarget::V2 {
                org,
                bucket,
                token_file,
            });
        }
        let database = self.influx_name(&raw.database, &place, "database")?;
        let login: Option<(String, PathBuf)> = match (&raw.user, &raw.password_file) {
            (None, None) => None,
            (Some(user), Some(file)) => Some((user.value.clone(), self.path(file))),
            (Some(_), None) => {
                return self.lacks(place, "password_file", "password_file = \"...\", mode 0600");
            }
            (None, Some(_)) => return self.lacks(place, "user", "user = \"...\""),
        };
        Some(InfluxTarget::V1 { database, login })
    }

    fn influx_name(
        &mut self,
        given: &Option<Given<String>>,
        place: &Origin,
        key: &str,
    ) -> Option<String> {
        match given {
            Some(given) if given.value.is_empty() => {
                self.wrong(given, "\"\"", "is empty", "write its name")
            }
            Some(given) => Some(given.value.clone()),
            None => self.lacks(place.clone(), key, &format!("{key} = \"...\"")),
        }
    }
}

fn target_secret(raw: &RawInflux) -> Option<&Given<String>> {
    raw.token_file.as_ref().or(raw.password_file.as_ref())
}

fn is_this_host(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Problems, Settings, check, read};

    fn checked(text: &str) -> Result<Settings, Problems> {
        let (raw, problems) = read("tidings.toml", text);
        check(raw, problems, Path::new("/etc/tidings"))
    }

    #[test]
    fn nothing_is_sent_without_the_table_and_either_version_is_taken() {
        assert_eq!(checked("").unwrap().influx, None);
        let text = "[influxdb]\nurl = \"http://[::1]:9999/below/\"\ndatabase = \"d\"\n";
        let influx = checked(text).unwrap().influx.unwrap();
        assert_eq!((influx.host.as_str(), influx.port), ("::1", 9_999));
        assert_eq!(
            (influx.authority.as_str(), influx.prefix.as_str()),
            ("[::1]:9999", "/below")
        );
        assert_eq!((influx.every.as_secs(), influx.queue), (10, 4 << 20));
        let text = "[influxdb]\nurl = \"https://db.example\"\norg = \"o\"\nbucket = \"b\"\ntoken_file = \"t\"\nevery = \"1m\"\n";
        let influx = checked(text).unwrap().influx.unwrap();
        assert_eq!((influx.is_sealed, influx.port), (true, PORT));
        let wanted = InfluxTarget::V2 {
            org: "o".to_owned(),
            bucket: "b".to_owned(),
            token_file: PathBuf::from("/etc/tidings/t"),
        };
        assert_eq!(influx.target, wanted);
    }

    #[test]
    fn every_mistake_is_told_with_its_remedy_and_no_password() {
        let v1 = "database = \"d\"";
        let v2 = "org = \"o\"\nbucket = \"b\"\ntoken_file = \"t\"";
        for (url, rest, wrong, remedy) in [
            ("", v1, "has no url", "add url = "),
            (
                "url = \"db:8086\"",
                v1,
                "is not the URL",
                "http:// or https://",
            ),
            (
                "url = \"ftp://db\"",
                v1,
                "is not the URL",
                "http:// or https://",
            ),
            (
                "url = \"http://u:secret@db\"",
                v1,
                "has a user or a password",
                "password_file",
            ),
            (
                "url = \"influxdb://u:secret@db\"",
                v1,
                "is not the URL",
                "http:// or https://",
            ),
            (
                "url = \"http://u:secret w@db\"",
                v1,
                "is not a URL",
                "http:// or https://",
            ),
            (
                "url = \"https://u:secret%%|@db\"",
                v1,
                "is not a URL",
                "http:// or https://",
            ),
            (
                "url = \"http://db/?db=x&u=u&p=secret\"",
                v1,
                "has a query",
                "question mark",
            ),
            ("url = \"http://db\"", "", "has no database", "add database"),
            (
                "url = \"http://db\"",
                "database = \"\"",
                "is empty",
                "its name",
            ),
            (
                "url = \"http://127.0.0.1\"",
                "database = \"d\"\nuser = \"u\"",
                "has no password_file",
                "0600",
            ),
            (
                "url = \"http://127.0.0.1\"",
                "database = \"d\"\npassword_file = \"p\"",
                "has no user",
                "add user",
            ),
            (
                "url = \"http://127.0.0.1\"",
                "org = \"o\"\ntoken_file = \"t\"",
                "has no bucket",
                "add bucket",
            ),
            (
                "url = \"http://127.0.0.1\"",
                "org = \"o\"\nbucket = \"b\"",
                "has no token_file",
                "0600",
            ),
            (
                "url = \"http://127.0.0.1\"",
                "org = \"o\"\nuser = \"u\"",
                "is of InfluxDB 1",
                "org, bucket",
            ),
            ("url = \"http://db.example\"", v2, "in clear", "https://"),
            (
                "url = \"http://db.example\"",
                "database = \"d\"\nca_file = \"c\"",
                "is for https",
                "https://",
            ),
            (
                "url = \"http://db.example\"",
                "database = \"d\"\nevery = \"0s\"",
                "is not in 1s to 1h",
                "range",
            ),
            (
                "url = \"http://db.example\"",
                "database = \"d\"\nqueue = \"1B\"",
                "is not in 64KiB",
                "range",
            ),
        ] {
            let text = format!("[influxdb]\n{url}\n{rest}\n");
            let told = checked(&text).unwrap_err().to_string();
            assert!(
                told.contains(wrong) && told.contains(remedy),
                "{text}{told}"
            );
            assert!(
                told.contains("influxdb") && !told.contains("secret"),
                "{told}"
            );
        }
    }
}
