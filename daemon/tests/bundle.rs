//! `tidings debug bundle`, and that no secret is anywhere: in the bundle, the log, what `/proc` tells of the process, any answer of
//! the management service. A node gets every kind of secret there is; each is looked for in every form that it has.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use common::http::unix;
use common::{Node, run, stderr, stdout, tidings};
use serde_json::{Value, json};

fn good(output: Output) -> String {
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// What must be nowhere, with what it is.
struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    /// A secret that is written as hexadecimal digits.
    fn hex(&mut self, what: &str, text: &str) {
        let digits = text.as_bytes().chunks(2);
        let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16));
        self.0
            .push((what.to_owned(), bytes.collect::<Result<_, _>>().unwrap()));
        self.text(what, text);
    }

    /// A secret that is a text.
    fn text(&mut self, what: &str, text: &str) {
        assert!(text.len() >= 16, "{what}: {text:?} would be found anywhere");
        self.0.push((what.to_owned(), text.as_bytes().to_vec()));
    }

    /// None of them is in `place`: as it stands, in hexadecimal digits of either case or in base64 of either alphabet.
    fn are_not_in(&self, place: &str, bytes: &[u8]) {
        for (what, secret) in &self.0 {
            for form in forms(secret) {
                let is_there = bytes.windows(form.len()).any(|window| window == form);
                assert!(!is_there, "{what} is in {place}");
            }
        }
    }
}

fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        secret.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
    ];
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        // Inside of something longer it may begin at any of three places; the ends depend on what is around.
        for skipped in 0..3 {
            let text = engine.encode(&secret[skipped..]);
            forms.push(text.as_bytes()[..text.len() - 3].to_vec());
        }
    }
    forms
}

#[test]
fn a_secret_is_found_in_each_of_its_forms() {
    let mut secrets = Secrets(Vec::new());
    secrets.hex("key", &"00ff".repeat(16));
    let raw = [0x00, 0xff].repeat(16);
    let around = [b"xy", &raw[..], b"z"].concat();
    for place in [
        raw.clone(),
        URL_SAFE_NO_PAD.encode(&around).into_bytes(),
        "00FF".repeat(16).into_bytes(),
    ] {
        let found = std::panic::catch_unwind(|| secrets.are_not_in("it", &place));
        assert!(found.is_err(), "{place:?}");
    }
    secrets.are_not_in("nothing", b"something else");
}

fn longest_hex(text: &str) -> &str {
    let words = text.split(|c: char| !c.is_ascii_hexdigit());
    words.max_by_key(|word| word.len()).unwrap()
}

/// Files below the folder `tidings-debug` of an archive.
fn unpacked(file: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(file).unwrap()));
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.push((name.trim_start_matches("tidings-debug/").to_owned(), bytes));
    }
    files
}

/// Files that hold one secret in hexadecimal digits.
const KEY_FILES: [&str; 5] = [
    "news.key",
    "made.key",
    "worker.secret",
    "installed.key",
    "rotated.key",
];

/// A node with every kind of secret, and those.
fn node_with_secrets() -> (Node, Secrets) {
    let mut secrets = Secrets(Vec::new());
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    good(run(home.path(), &["keygen", &at("news.key")]));
    good(run(
        home.path(),
        &["keygen", &at("made.key"), "--suite", "chacha20-poly1305"],
    ));
    good(run(
        home.path(),
        &["keygen", "--client", "worker", &at("worker.secret")],
    ));
    for (name, slot) in [("installed.key", "1"), ("rotated.key", "2")] {
        good(run(home.path(), &["keygen", &at(name), "--slot", slot]));
    }
    fs::write(at("influx.token"), "influx-token-of-this-test\n").unwrap();
    fs::set_permissions(at("influx.token"), fs::Permissions::from_mode(0o600)).unwrap();
    secrets.text("token of InfluxDB", "influx-token-of-this-test");
    for name in KEY_FILES {
        let text = fs::read_to_string(at(name)).unwrap();
        secrets.hex(name, longest_hex(&text));
    }
    let clients = "[[client]]\nname = \"worker\"\nsecret_file = \"worker.secret\"\noverlays = [\"*\"]\npublish = [\"*\"]\n";
    fs::write(at("clients.toml"), clients).unwrap();
    fs::set_permissions(at("clients.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    let config = "[node]\nbind = \"127.0.0.1:0\"\n[client]\nclients_file = \"clients.toml\"\n[influxdb]\nurl = \"http://127.0.0.1:9\"\norg = \"o\"\nbucket = \"b\"\ntoken_file = \"influx.token\"\nevery = \"1s\"\n[[overlay]]\nname = \"news\"\nkey_file = \"news.key\"\n";
    fs::write(at("tidings.toml"), config).unwrap();
    let log = File::create(at("log")).unwrap();
    let child = tidings(home.path())
        .args(["run", "--config", &at("tidings.toml")])
        .env("TIDINGS_LOG", "trace")
        .stdout(File::create(at("out")).unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let made = at("made.key");
    let worker = at("worker.secret");
    let (installed, rotated) = (at("installed.key"), at("rotated.key"));
    let added = ["added", "added again"].map(at);
    let node = Node::of(home, child);
    let made = good(node.run(&["overlays", "create", "made", "--key-file", &made]));
    secrets.text("first token", made.trim().lines().last().unwrap());
    good(node.run(&["overlays", "create", "own"]));
    good(node.run(&["keys", "install", "made", &installed]));
    good(node.run(&["keys", "rotate", "made", &rotated]));
    let add = ["clients", "add", "added", "--overlay", "*", "--file"];
    good(node.run(&[&add[..], &[&added[0]]].concat()));
    good(node.run(&["clients", "rotate", "added", "--file", &added[1]]));
    for file in &added {
        let text = fs::read_to_string(file).unwrap();
        secrets.hex("secret of a client that was added", longest_hex(&text));
    }
    secrets.text(
        "token",
        good(node.run(&["tokens", "add", "news", "t"])).trim(),
    );
    secrets.text(
        "new token",
        good(node.run(&["tokens", "rotate", "news", "t", "--grace", "1h"])).trim(),
    );
    let publish = [
        "pub",
        "news",
        "t",
        "x",
        "--as",
        "worker",
        "--secret-file",
        &worker,
    ];
    good(node.run(&publish));
    let data = node.path().join("data/tidings");
    let passwords = fs::read_to_string(data.join("passwords")).unwrap();
    for line in passwords.lines().filter_map(|line| line.split_once(": ")) {
        secrets.text(line.0, line.1);
    }
    let password = "a password of one's own";
    let socket = node.path().join("run/tidings/tidings.http.sock");
    let body = format!("{{\"password\": \"{password}\"}}");
    let set = unix(&socket, "PUT", "/v1/passwords/user", Some(&body));
    assert!(matches!(set.status, 200 | 204), "{set:?}");
    secrets.text("password", password);
    let state: Value =
        serde_json::from_str(&fs::read_to_string(data.join("state.json")).unwrap()).unwrap();
    let own = state["overlays"]["own"]["keyring"].as_str().unwrap();
    secrets.hex("key that the node made", longest_hex(own));
    for (user, hash) in state["passwords"].as_object().unwrap() {
        secrets.text(
            &format!("hash of {user}'s password"),
            hash.as_str().unwrap(),
        );
    }
    for token in state["overlays"]["news"]["tokens"].as_array().unwrap() {
        secrets.hex("hash of a token", token["sha256"].as_str().unwrap());
    }
    let key = fs::read_to_string(data.join("http/key.pem")).unwrap();
    let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
    secrets.text("key of the certificate", &body[..64]);
    (node, secrets)
}

#[test]
fn no_secret_is_in_the_bundle_the_log_the_process_or_any_answer() {
    let (node, mut secrets) = node_with_secrets();
    every_change(&node, &mut secrets);
    let at = |name: &str| node.path().join(name).to_str().unwrap().to_owned();
    let (config, file, log) = (at("tidings.toml"), at("b.tar.gz"), at("log"));
    let args = [
        "debug", "bundle", "--config", &config, "--output", &file, "--log", &log,
    ];
    let told = good(node.run(&args));
    secrets.are_not_in("what is said of the bundle", told.as_bytes());
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let files = unpacked(Path::new(&file));
    let text = |name: &str| {
        let found = files.iter().find(|(file, _)| file == name);
        let (_, bytes) = found.unwrap_or_else(|| panic!("{name} in {told}"));
        String::from_utf8(bytes.clone()).unwrap()
    };
    // It is of use: a bundle without anything would hold no secret, either.
    assert!(text("version.txt").contains(env!("CARGO_PKG_VERSION")));
    assert!(text("config.json").contains("overlay.news.key_file"));
    assert!(text("state.json").contains("\"has_keyring\": true"));
    assert!(text("doctor.json").contains("remedy"));
    assert!(text("node.json").contains("uptime_s"));
    assert!(text("log.txt").contains("made and started"));
    assert!(
        text("LISTING").contains("overlay-2/stats.json"),
        "{}",
        text("LISTING")
    );
    assert!(text("overlay-0/members.json").contains("\"self\": true"));
    assert!(text("overlay-0/keys.json").contains("fingerprint"));
    assert!(text("overlay-0/subscriptions.json").contains("\"next\""));
    assert!(text("clients.json").contains("worker"));
    assert!(text("clients-file.json").contains("worker"));
    assert!(text("metrics.txt").contains("\ntidings_synced{overlay=\"news\"} 1\n"));
    for (name, bytes) in &files {
        secrets.are_not_in(name, bytes);
    }
    // The state told in the log, too, and only then the log.
    let kill = std::process::Command::new("kill")
        .args(["-s", "QUIT", &node.pid().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let is_told = || {
        fs::read_to_string(&log)
            .unwrap()
            .contains("state: overlay \"own\"")
    };
    assert!(common::within(std::time::Duration::from_secs(20), is_told));
    secrets.are_not_in("the log", &fs::read(&log).unwrap());
    for file in ["cmdline", "environ", "status"] {
        // Root may read it though the process hides its memory; whoever may not has nothing to look through.
        match fs::read(format!("/proc/{}/{file}", node.pid())) {
            Ok(bytes) => secrets.are_not_in(file, &bytes),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{file}"),
        }
    }
    every_answer(&node, &secrets);
}

/// What an answer tells of for the first time: whatever it calls a secret or a token.
fn told_in(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().filter(|text| text.len() >= 16) {
                    Some(text) if name == "secret" || name == "token" => {
                        found.push(text.to_owned());
                    }
                    _ => told_in(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| told_in(value, found)),
        _ => {}
    }
}

/// All that changes something, with secrets in what is sent, whether it is done or refused: an answer tells of a secret that it
/// makes, once, and of no other.
fn every_change(node: &Node, secrets: &mut Secrets) {
    let (mut hexes, mut others, mut made) = (Vec::new(), Vec::new(), 0);
    for slot in ["0", "1", "0"] {
        let text = good(node.run(&["keygen", "--slot", slot, "-"]));
        hexes.push((longest_hex(&text).to_owned(), text));
    }
    for (hex, _) in &hexes {
        secrets.hex("key that is sent", hex);
    }
    let [(key, keyring), (_, second), (symmetric, _)] = &hexes[..] else {
        unreachable!("three were made");
    };
    let password = "another password of one's own";
    let refused = "a refused password of one's own";
    secrets.text("password that is sent", password);
    secrets.text("password that is refused", refused);
    let rights = json!({ "name": "sent", "overlays": ["*"], "publish": ["*"] });
    let old = json!({ "symmetric_key": symmetric });
    let news = "/v1/overlays/sent";
    let none = Value::Null;
    for (method, path, body, status) in [
        (
            "POST",
            "/v1/overlays",
            json!({ "name": "sent", "keyring": keyring }),
            201,
        ),
        (
            "POST",
            "/v1/overlays",
            json!({ "name": "sent", "keyring": keyring }),
            409,
        ),
        (
            "POST",
            "/v1/overlays",
            json!({ "name": "bad", "keyring": format!("{keyring}{key}") }),
            400,
        ),
        (
            "POST",
            "/v1/overlays",
            json!({ "name": "bad", "keyring": keyring.replace("0 ", "9 ") }),
            400,
        ),
        (
            "POST",
            "/v1/overlays",
            json!({ "name": "bad", "keyring": [keyring] }),
            400,
        ),
        (
            "POST",
            "/v1/overlays",
            json!({ "name": "bad", "key": key }),
            400,
        ),
        (
            "POST",
            "/v1/overlays",
            json!({ "name": "bad", "options": { "key_file": key } }),
            400,
        ),
        ("POST", "/v1/overlays", json!(keyring), 400),
        ("PATCH", news, json!({ "retain": "8MiB" }), 200),
        ("PUT", news, json!({ "retain": "16MiB" }), 200),
        (
            "POST",
            "/v1/overlays/sent/tokens",
            json!({ "name": "t" }),
            201,
        ),
        (
            "POST",
            "/v1/overlays/sent/tokens",
            json!({ "name": "t" }),
            409,
        ),
        (
            "POST",
            "/v1/overlays/sent/tokens/t/rotate",
            json!({ "grace_s": 9 }),
            201,
        ),
        ("DELETE", "/v1/overlays/sent/tokens/t", none.clone(), 204),
        (
            "POST",
            "/v1/overlays/sent/keys",
            json!({ "keyring": second }),
            200,
        ),
        (
            "POST",
            "/v1/overlays/sent/keys",
            json!({ "keyring": format!("{second}{key}") }),
            400,
        ),
        (
            "POST",
            "/v1/overlays/made/keys",
            json!({ "keyring": second }),
            200,
        ),
        ("POST", "/v1/overlays/sent/keys/1/use", none.clone(), 200),
        ("POST", "/v1/overlays/sent/keys/7/use", none.clone(), 400),
        ("DELETE", "/v1/overlays/sent/keys/0", none.clone(), 200),
        ("POST", "/v1/clients", rights.clone(), 201),
        ("POST", "/v1/clients", rights, 409),
        ("POST", "/v1/clients/sent/rotate", none.clone(), 201),
        ("DELETE", "/v1/clients/sent", none.clone(), 204),
        (
            "PUT",
            "/v1/passwords/user",
            json!({ "password": password }),
            204,
        ),
        (
            "PUT",
            "/v1/passwords/user",
            json!({ "password": format!("{refused}\n") }),
            400,
        ),
        (
            "PUT",
            "/v1/passwords/user",
            json!({ "passwort": refused }),
            400,
        ),
        (
            "PUT",
            "/v1/passwords/user",
            json!({ "password": [refused] }),
            400,
        ),
        ("PUT", "/v1/passwords/user", json!(refused), 400),
        (
            "PUT",
            "/v1/passwords/nobody",
            json!({ "password": refused }),
            404,
        ),
        (
            "POST",
            "/v1/overlays/sent/publish/t",
            json!("a message"),
            202,
        ),
        ("POST", "/v1/reload", none.clone(), 200),
        ("DELETE", news, none.clone(), 204),
        ("POST", "/overlays/old", old.clone(), 201),
        ("POST", "/overlays/old", old.clone(), 409),
        (
            "POST",
            "/overlays/older",
            json!({ "symmetric_key": format!("{symmetric}zz") }),
            409,
        ),
        ("PUT", "/overlays/old", old, 200),
        ("PUT", "/overlays/old/symmetric_key", json!(symmetric), 409),
        ("POST", "/digest/old", json!({ "digest": symmetric }), 400),
        ("POST", "/reconfigure", none, 202),
    ] {
        let text = (!body.is_null()).then(|| body.to_string());
        let answer = unix(&node.management(), method, path, text.as_deref());
        if answer.status != status {
            others.push(format!("{method} {path} {body}: {answer:?}"));
        }
        let place = format!("the answer to {method} {path} {body}");
        secrets.are_not_in(
            &place,
            format!("{}\n{}", answer.head, answer.body).as_bytes(),
        );
        let mut told = Vec::new();
        if answer.status == 201 {
            told_in(&answer.json(), &mut told);
        }
        for text in told {
            made += 1;
            secrets.text(&format!("what {method} {path} made"), &text);
        }
    }
    assert_eq!(
        others, [""; 0],
        "other answers than were to be looked through"
    );
    assert_eq!(made, 6, "of overlays, tokens and clients");
}

/// All that can be read over HTTP, by the service's own document.
fn every_answer(node: &Node, secrets: &Secrets) {
    let socket = node.path().join("run/tidings/tidings.http.sock");
    let document = unix(&socket, "GET", "/v1/openapi.json", None).json();
    let mut read = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        // A stream of events does not end.
        if item.get("get").is_none() || path.ends_with("/subscribe") || path.ends_with("/presence")
        {
            continue;
        }
        for overlay in ["news", "made", "own", "old"] {
            let at = path
                .replace("{overlay}", overlay)
                .replace("{window}", "total")
                .replace("{topic}", "t");
            let answer = unix(&socket, "GET", &at, None);
            secrets.are_not_in(&at, format!("{}\n{}", answer.head, answer.body).as_bytes());
            read += 1;
        }
    }
    assert!(read >= 60, "{read}");
}

#[test]
fn without_a_node_and_with_a_wrong_configuration_there_is_a_bundle_too() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    // The journal, played by a script.
    let journal = "#!/bin/sh\necho \"asked for $1 $2\"\n";
    fs::write(at("journalctl"), journal).unwrap();
    fs::set_permissions(at("journalctl"), fs::Permissions::from_mode(0o755)).unwrap();
    let run = |home: &Path, args: &[&str]| {
        let path = format!("{}:/usr/bin:/bin", home.display());
        let mut command = tidings(home);
        command.args(args).env("PATH", path).output().unwrap()
    };
    fs::write(at("t.toml"), "[node]\nbnid = 1\n").unwrap();
    let args = [
        "debug",
        "bundle",
        "--config",
        &at("t.toml"),
        "--output",
        &at("b.tar.gz"),
    ];
    good(run(home.path(), &args));
    let files = unpacked(Path::new(&at("b.tar.gz")));
    let text = |name: &str| {
        let found = files.iter().find(|(file, _)| file == name);
        String::from_utf8(found.unwrap().1.clone()).unwrap()
    };
    assert!(text("config.json").contains("bnid"));
    assert!(text("node.txt").contains("no management service"));
    assert_eq!(text("log.txt"), "asked for -u tidings.service\n");
    let again = run(home.path(), &args);
    assert_eq!(
        again.status.code(),
        Some(1),
        "an archive that is there is left alone"
    );
    assert!(stderr(&again).contains("--output"));
}
