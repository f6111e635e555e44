//! The checks of `[http]`, the management service.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::check::{Check, quoted};
use super::problem::Given;
use super::raw::RawHttp;
use super::settings::{HttpBind, HttpSettings, HttpTls};
use crate::paths;

impl Check<'_> {
    /// `clients` is the clients' socket: the service's lies beside it.
    pub(super) fn http(&mut self, raw: RawHttp, clients: &Path) -> HttpSettings {
        let bind = raw.bind.as_ref().and_then(|given| self.http_bind(given));
        let bind = bind.unwrap_or(HttpBind::Default);
        let tls = self.http_tls(&raw, bind);
        let socket = match &raw.socket {
            Some(given) => self.http_socket(given, clients),
            None => paths::management_socket(clients),
        };
        HttpSettings {
            bind,
            tls,
            socket,
            metrics_open: raw.metrics_open.is_some_and(|given| given.value),
        }
    }

    fn http_bind(&mut self, given: &Given<String>) -> Option<HttpBind> {
        let text = given.value.trim();
        if text == "off" {
            return Some(HttpBind::Off);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(HttpBind::At(address));
        }
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let wrong = match bare.parse::<IpAddr>() {
            Ok(_) => "has no port",
            Err(_) => "is not an address",
        };
        let remedy = "write an address of this host and a port, as \"127.0.0.1:7401\" or \"[::]:7401\", or \"off\"";
        self.wrong(given, quoted(text), wrong, remedy)
    }

    fn http_tls(&mut self, raw: &RawHttp, bind: HttpBind) -> HttpTls {
        let is_off = raw.tls.as_ref().is_some_and(|given| self.is_off(given));
        if let (true, Some(given)) = (is_off, &raw.tls) {
            if let HttpBind::At(address) = bind
                && !address.ip().is_loopback()
            {
                let wrong = format!("would send passwords in clear over the network at {address}");
                self.wrong::<_, ()>(
                    given,
                    quoted(&given.value),
                    &wrong,
                    "remove it, or bind a loopback address, as http.bind = \"127.0.0.1:7401\"",
                );
            }
            for file in [&raw.cert_file, &raw.key_file].into_iter().flatten() {
                self.wrong::<_, ()>(
                    file,
                    quoted(&file.value),
                    "is for TLS, which is off",
                    "remove it, or remove http.tls",
                );
            }
            return HttpTls::Off;
        }
        match (&raw.cert_file, &raw.key_file) {
            (Some(cert), Some(key)) => HttpTls::Files {
                cert: self.path(cert),
                key: self.path(key),
            },
            (None, None) => HttpTls::SelfMade,
            (Some(cert), None) => self.lone(
                cert,
                "has no key",
                "add key_file = \"...\", its private key",
            ),
            (None, Some(key)) => self.lone(
                key,
                "has no certificate",
                "add cert_file = \"...\", the certificate of that key",
            ),
        }
    }

    fn lone(&mut self, given: &Given<String>, wrong: &str, remedy: &str) -> HttpTls {
        self.wrong::<_, ()>(given, quoted(&given.value), wrong, remedy);
        HttpTls::SelfMade
    }

    fn is_off(&mut self, given: &Given<String>) -> bool {
        match given.value.trim() {
            "off" => return true,
            "on" => {}
            text => {
                let remedy = "write \"on\" or \"off\"";
                self.wrong::<_, ()>(given, quoted(text), "is neither on nor off", remedy);
            }
        }
        false
    }

    fn http_socket(&mut self, given: &Given<String>, clients: &Path) -> PathBuf {
        let path = self.socket(given);
        if path == clients {
            self.wrong::<_, ()>(
                given,
                quoted(&given.value),
                "is the socket of the clients",
                "choose another name, or remove the key for the default",
            );
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Problems, Settings, check, read};

    fn checked(text: &str) -> Result<Settings, Problems> {
        let (raw, problems) = read("tidings.toml", text);
        check(raw, problems, Path::new("/etc/tidings"))
    }

    #[test]
    fn without_a_word_it_is_at_the_port_above_and_beside_the_clients_socket() {
        let settings = checked("[client]\nsocket = \"/run/t/tidings.sock\"\n").unwrap();
        let http = settings.http;
        assert_eq!(http.socket, Path::new("/run/t/tidings.http.sock"));
        assert_eq!((http.tls, http.metrics_open), (HttpTls::SelfMade, false));
        let at = |wanted: &str, port| http.bind.address(wanted.parse().unwrap(), port);
        assert_eq!(at("0.0.0.0:7400", 7400), "127.0.0.1:7401".parse().ok());
        assert_eq!(at("0.0.0.0:0", 40000), "127.0.0.1:0".parse().ok());
        assert_eq!(at("0.0.0.0:65535", 65535), "127.0.0.1:0".parse().ok());
        assert_eq!(HttpBind::Off.address("0.0.0.0:1".parse().unwrap(), 1), None);
    }

    #[test]
    fn its_mistakes_are_named_with_their_remedy() {
        for (lines, wanted) in [
            (
                "bind = \"nowhere\"",
                "tidings.toml:2: http.bind = \"nowhere\": is not an address",
            ),
            ("bind = \"127.0.0.1\"", "has no port"),
            ("bind = 1", "must be a text"),
            (
                "tls = \"maybe\"",
                "http.tls = \"maybe\": is neither on nor off",
            ),
            (
                "tls = \"off\"\nbind = \"0.0.0.0:1\"",
                "would send passwords in clear over the network at 0.0.0.0:1",
            ),
            (
                "tls = \"off\"\ncert_file = \"a\"\nkey_file = \"b\"",
                "http.key_file = \"b\": is for TLS, which is off",
            ),
            ("cert_file = \"a\"", "http.cert_file = \"a\": has no key"),
            ("key_file = \"b\"", "has no certificate"),
            (
                "socket = \"/run/c.sock\"\n[client]\nsocket = \"/run/c.sock\"",
                "is the socket of the clients",
            ),
            ("metrics_open = 1", "must be true or false"),
            ("metrics = true", "unknown key"),
        ] {
            let problems = checked(&format!("[http]\n{lines}\n")).expect_err("a mistake");
            let text = problems.to_string();
            assert!(text.contains(wanted), "{lines}\n{text}");
            assert!(text.contains("remedy: "), "{text}");
        }
    }

    #[test]
    fn tls_may_be_off_on_a_loopback_address_and_where_there_is_none() {
        for bind in ["", "bind = \"[::1]:0\"", "bind = \"off\""] {
            let settings = checked(&format!("[http]\ntls = \"off\"\n{bind}\n")).unwrap();
            assert_eq!(settings.http.tls, HttpTls::Off);
        }
    }
}
