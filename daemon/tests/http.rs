//! The management service against the built daemon: who may ask for what, over which way, and what no request can do to it.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::credentials::{ask_from, bearer, not_valid};
use common::http::{Answer, Service, basic, exchange, once_ok, request};
use common::{Node, run, stderr, stdout, tidings, until, within};

/// A node with these lines of configuration besides what keeps it apart, its banner and its log in files.
fn node(config: &str) -> (Node, Service) {
    node_with(config, &[])
}

fn node_with(config: &str, environment: &[(&str, &str)]) -> (Node, Service) {
    let node = started(config, environment);
    let service = Service::of(&node);
    (node, service)
}

fn started(config: &str, environment: &[(&str, &str)]) -> Node {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let key = run(home.path(), &["keygen", &path("news.key")]);
    assert!(key.status.success());
    let overlays =
        "[[overlay]]\nname = \"demo\"\n[[overlay]]\nname = \"news\"\nkey_file = \"news.key\"\n";
    let text = format!("[node]\nbind = \"127.0.0.1:0\"\n{config}\n{overlays}");
    fs::write(path("tidings.toml"), text).unwrap();
    let child = tidings(home.path())
        .args(["run", "--config", &path("tidings.toml")])
        .envs(environment.iter().copied())
        .stdout(Stdio::from(fs::File::create(path("out")).unwrap()))
        .stderr(Stdio::from(fs::File::create(path("log")).unwrap()))
        .spawn()
        .unwrap();
    let node = Node::of(home, child);
    let banner = || fs::read_to_string(node.path().join("out")).is_ok_and(|t| t.contains("manage"));
    assert!(within(Duration::from_secs(60), banner));
    node
}

const PLAIN: &str = "[http]\ntls = \"off\"";

#[test]
fn a_node_tells_of_itself_over_tls_under_a_certificate_of_its_own() {
    let (node, service) = node("");
    let answer = service.get("/v1/node");
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    assert_eq!(told["pid"], node.pid());
    // A user with less authority is not told of the process.
    let told = service.ask("GET", "/v1/node", &[&service.user]).json();
    assert!(told["pid"].is_null() && told["id"].is_string(), "{told}");
    let overlays = service.get("/v1/overlays").json();
    assert_eq!(overlays[0]["name"], "demo");
    assert_eq!(overlays[1]["name"], "news");
    let member = &service.get("/v1/overlays/news/members").json()[0];
    assert_eq!(
        (&member["self"], &member["state"]),
        (&true.into(), &"alive".into())
    );
    assert_eq!(
        service.get("/v1/overlays/news/links").json(),
        serde_json::json!([])
    );
    for path in ["/v1/overlays/news", "/v1/overlays/news/stats", "/v1/stats"] {
        assert_eq!(service.get(path).status, 200, "{path}");
    }
    // Plain HTTP at the TLS port gets no answer, and does no harm.
    let mut socket = service.socket();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    assert_eq!(once_ok(|| service.get("/livez")).status, 200);
    let mode = |path: &str| {
        let path = node.path().join("data/tidings").join(path);
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    for file in ["passwords", "state.json", "http/key.pem"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
}

#[test]
fn a_certificate_that_is_named_is_the_one_that_is_shown() {
    let (one, service) = node("");
    let made = one.path().join("data/tidings/http");
    let config = format!(
        "[http]\ncert_file = \"{0}/cert.pem\"\nkey_file = \"{0}/key.pem\"",
        made.display()
    );
    let other = started(&config, &[]);
    assert!(!other.path().join("data/tidings/http").exists());
    // Whoever trusts the first trusts the second.
    let second = Service::trusting(&other, &made.join("cert.pem"));
    assert_eq!(second.get("/v1/node").json()["pid"], other.pid());
    assert_eq!(service.get("/v1/node").json()["pid"], one.pid());
}

#[test]
fn at_the_unix_socket_the_daemons_own_user_needs_no_password() {
    let (node, service) = node("[http]\nbind = \"127.0.0.1:0\"");
    let answer = service.over_unix("GET", "/v1/node", &[]);
    assert_eq!(answer.json()["pid"], node.pid());
    // What is presented counts all the same.
    let wrong = basic("superuser", "wrong");
    service
        .over_unix("GET", "/v1/node", &[&wrong])
        .is_error(401, "bad_credentials");
    let mode = fs::metadata(&service.unix).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn without_an_address_there_is_the_unix_socket_alone() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let child = tidings(home.path())
        .args(["run", "--bind", "127.0.0.1:0", "--http", "off"])
        .stdout(Stdio::from(fs::File::create(&out).unwrap()))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let node = Node::of(home, child);
    let banner = || fs::read_to_string(&out).unwrap_or_default();
    assert!(within(Duration::from_secs(60), || banner().contains("manage")));
    assert!(!banner().contains("http://") && !banner().contains("https://"));
    assert!(node.path().join("run/tidings/tidings.http.sock").exists());
    assert!(!node.path().join("data/tidings/http").exists());
}

/// Paths of the served document, with names that exist in place of their parameters.
fn operations(service: &Service) -> Vec<(String, String, String)> {
    let document = service.get("/v1/openapi.json").json();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schemes = operation["security"].as_array().unwrap().iter();
            let schemes = schemes.flat_map(|scheme| scheme.as_object().unwrap().keys().cloned());
            found.push((
                method.to_uppercase(),
                path.clone(),
                schemes.collect::<Vec<_>>().join(" "),
            ));
        }
    }
    assert!(found.len() >= 19, "{found:?}");
    found
}

fn concrete(path: &str) -> String {
    // Streams do not end: one that asks for nothing that there is is refused after who asks has been found out.
    let path = match path.ends_with("/presence") || path.ends_with("/subscribe") {
        true => format!("{path}?nothing"),
        false => path.to_owned(),
    };
    path.replace("{overlay}", "news")
        .replace("{window}", "1h")
        .replace("{name}", "nothing")
        .replace("{slot}", "7")
        .replace("{topic}", "t")
        .replace("{property}", "racks")
        .replace("{user}", "nobody")
}

#[test]
fn every_route_refuses_whoever_may_not() {
    let (_node, service) = node(PLAIN);
    let not_valid = not_valid(&service);
    let of_news = service.token("news", "{\"name\": \"n\"}");
    let of_demo = service.token("demo", "{\"name\": \"d\"}");
    let mut guarded = 0_u8;
    for (method, path, schemes) in operations(&service) {
        let at = concrete(&path);
        let ask = |header: &str| service.ask(&method, &at, &[header]);
        if schemes.is_empty() {
            assert_eq!(once_ok(|| ask("X-None: 1")).status, 200, "{path}");
            continue;
        }
        guarded += 1;
        let is_of_overlay = schemes.contains("bearer");
        let answer = ask("X-None: 1");
        answer.is_error(401, "no_credentials");
        assert!(
            answer
                .head
                .contains("www-authenticate: basic realm=\"tidings\", bearer")
        );
        ask("Authorization: Basic %%%").is_error(401, "malformed_credentials");
        for (at_last, header) in (1..).zip(&not_valid) {
            let source = Ipv4Addr::new(127, 1, guarded, at_last);
            let answer = ask_from(source, &service, &method, &at, header);
            answer.is_error(401, "bad_credentials");
        }
        ask(&bearer(&of_demo)).is_error(403, "forbidden");
        let refused = |answer: &Answer| matches!(answer.status, 401 | 403 | 429);
        assert!(!refused(&ask(&service.superuser)), "{method} {path}");
        for header in [
            bearer(&of_news),
            format!("X-Session-Token: {of_news}"),
            basic("news", &of_news),
        ] {
            assert_eq!(refused(&ask(&header)), !is_of_overlay, "{method} {path}");
        }
        // Said to be of an overlay that it is not of, it is none.
        let mut wrong_name = ask(&basic("demo", &of_news));
        if wrong_name.status == 429 {
            std::thread::sleep(Duration::from_millis(1_100));
            wrong_name = ask(&basic("demo", &of_news));
        }
        assert!(refused(&wrong_name), "{method} {path}");
        let is_superusers = path.contains("passwords")
            || path.starts_with("/v1/clients")
            || (path.contains("/keys") && method != "GET")
            || ["/v1/reload", "/v1/drain", "/tokens", "/reconfigure"].contains(&path.as_str());
        let user_may = !is_of_overlay && !is_superusers;
        assert_eq!(refused(&ask(&service.user)), !user_may, "{method} {path}");
    }
    assert!(guarded >= 45, "{guarded}");
}

#[test]
fn whoever_guesses_is_locked_out_and_nobody_else() {
    let (_node, service) = node(PLAIN);
    let wrong = basic("superuser", "not the password");
    // For a second: a busy machine may take longer to ask, and whoever is let in then begins anew.
    let lock = || {
        for _ in 0..5 {
            service
                .ask("GET", "/v1/node", &[&wrong])
                .is_error(401, "bad_credentials");
        }
        service.get("/v1/node")
    };
    let locked = until(Duration::from_secs(20), |answer| answer.status == 429, lock);
    locked.is_error(429, "locked_out");
    assert!(locked.head.contains("retry-after: 1"), "{locked:?}");
    assert_eq!(service.ask("GET", "/v1/node", &[&service.user]).status, 200);
    assert_eq!(service.over_unix("GET", "/v1/node", &[]).status, 200);
    let again = || service.get("/v1/node").status == 200;
    assert!(within(Duration::from_secs(60), again));
}

#[test]
fn tokens_are_made_listed_rotated_and_revoked() {
    let (mut node, service) = node_with(PLAIN, &[("TIDINGS_LOG", "trace")]);
    let secret = service.token("news", "{\"name\": \"a\", \"expires_in_s\": 1000}");
    let may = |service: &Service, secret: &str| {
        let header = format!("X-Session-Token: {secret}");
        service.ask("GET", "/v1/overlays/news", &[&header]).status == 200
    };
    assert!(may(&service, &secret));
    let path = "/v1/overlays/news/tokens";
    let listed = service.get(path);
    assert_eq!(listed.json()[0]["name"], "a");
    assert!(!listed.body.contains(&secret[3..]), "{listed:?}");
    service
        .ask_with("POST", path, &[&service.superuser], "{\"name\": \"a\"}")
        .is_error(409, "token_exists");
    let rotate = format!("{path}/a/rotate");
    let header = format!("Authorization: Bearer {secret}");
    let made = service.ask_with("POST", &rotate, &[&header], "{\"grace_s\": 100}");
    assert_eq!(made.status, 201, "{made:?}");
    let new = made.json()["secret"].as_str().unwrap().to_owned();
    assert!(may(&service, &secret) && may(&service, &new));
    let kept = fs::read_to_string(node.path().join("data/tidings/state.json")).unwrap();
    let log = fs::read_to_string(node.path().join("log")).unwrap();
    let passwords = fs::read_to_string(node.path().join("data/tidings/passwords")).unwrap();
    let words = passwords.lines().filter_map(|line| line.split(": ").nth(1));
    let secrets: Vec<&str> = words.chain([&new[3..], &secret[3..]]).collect();
    assert_eq!(secrets.len(), 4);
    for text in [kept, log] {
        assert!(secrets.iter().all(|secret| !text.contains(secret)));
    }
    // They outlive the process.
    node.kill();
    let config = node.path().join("tidings.toml");
    node.restart(&[
        "run",
        "--config",
        config.to_str().unwrap(),
        "--http",
        &service.address.to_string(),
    ]);
    assert!(within(Duration::from_secs(60), || may(&service, &new)));
    let revoke = format!("{path}/a");
    let revoked = service.ask("DELETE", &revoke, &[&service.superuser]);
    assert_eq!((revoked.status, revoked.body.as_str()), (204, ""));
    assert!(!may(&service, &new) && !may(&service, &secret));
    let again = service.ask("DELETE", &revoke, &[&service.superuser]);
    again.is_error(404, "no_token");
}

#[test]
fn a_changed_password_counts_at_once_and_after_a_restart() {
    let (mut node, service) = node(PLAIN);
    let change = |header: &str, user: &str, body: &str| {
        service.ask_with("PUT", &format!("/v1/passwords/{user}"), &[header], body)
    };
    let good = "{\"password\": \"correct horse battery\"}";
    change(&service.user, "user", good).is_error(403, "forbidden");
    let short = change(&service.superuser, "user", "{\"password\": \"short\"}");
    short.is_error(400, "bad_password");
    assert!(!short.body.contains("\"short"), "{short:?}");
    change(&service.superuser, "root", good).is_error(404, "no_user");
    assert_eq!(change(&service.superuser, "user", good).status, 204);
    let new = basic("user", "correct horse battery");
    let works = |header: &str| service.ask("GET", "/v1/node", &[header]).status;
    assert_eq!((works(&service.user), works(&new)), (401, 200));
    // The file of the first start is not needed any more.
    fs::remove_file(node.path().join("data/tidings/passwords")).unwrap();
    node.kill();
    let config = node.path().join("tidings.toml");
    node.restart(&[
        "run",
        "--config",
        config.to_str().unwrap(),
        "--http",
        &service.address.to_string(),
    ]);
    assert!(within(Duration::from_secs(60), || works(&new) == 200));
    assert_eq!(works(&service.superuser), 200);
    assert!(!node.path().join("data/tidings/passwords").exists());
}

#[test]
fn no_request_stops_the_service() {
    let (mut node, service) = node(PLAIN);
    let superuser = service.superuser.clone();
    for header in [
        "Authorization: Basic %%%",
        "Authorization: Basic",
        "Authorization: \u{fc}",
    ] {
        service
            .ask("GET", "/v1/node", &[header])
            .is_error(401, "malformed_credentials");
    }
    service.get("/nothing").is_error(404, "not_found");
    service.get("/v1/overlays/none").is_error(404, "no_overlay");
    service.get("/v1/overlays/%ff").is_error(400, "bad_path");
    service
        .get("/v1/overlays/news/statistics/2h")
        .is_error(400, "no_window");
    let wrong = service.ask("PATCH", "/v1/overlays/news/tokens", &[&superuser]);
    wrong.is_error(405, "method_not_allowed");
    assert!(wrong.head.contains("allow: get, post"), "{wrong:?}");
    let path = "/v1/overlays/news/tokens";
    for (body, wanted) in [
        ("", "line 1 column 0"),
        ("{\"name\": 1}", "at name: invalid type"),
        ("{\"nam\": \"x\"}", "unknown field `nam`"),
        ("{\"name\": \"x\"} y", "goes on after its end"),
        ("[[[[[[", "an array instead of an object"),
    ] {
        let answer = service.ask_with("POST", path, &[&superuser], body);
        answer.is_error(400, "bad_json");
        assert!(answer.body.contains(wanted), "{answer:?}");
    }
    let deep = "[".repeat(100_000);
    service
        .ask_with("POST", path, &[&superuser], &deep)
        .is_error(400, "bad_json");
    let untyped = format!(
        "POST {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{superuser}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    service.send(untyped.as_bytes()).is_error(415, "not_json");
    let huge = format!(
        "POST {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{superuser}\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
    );
    service.send(huge.as_bytes()).is_error(413, "too_large");
    let long = format!("X-Long: {}", "x".repeat(20_000));
    service
        .ask("GET", "/livez", &[&long])
        .is_error(431, "head_too_large");
    let longer = format!("X-Longer: {}", "x".repeat(200_000));
    assert_eq!(service.ask("GET", "/livez", &[&longer]).status, 431);
    for text in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0",
    ] {
        let mut way = service.connect();
        way.write_all(text).unwrap();
    }
    // Half requests, which are left as they are.
    let halves: Vec<_> = (0..50)
        .map(|_| {
            let mut way = service.connect();
            way.write_all(b"POST /v1/overlays/news/tokens HTTP/1.1\r\nContent-Le")
                .unwrap();
            way
        })
        .collect();
    assert_eq!(service.get("/v1/node").status, 200);
    drop(halves);
    assert!(node.ended().is_none());
}

#[test]
fn whoever_takes_every_connection_leaves_the_unix_socket_its_own() {
    let (_node, service) = node(PLAIN);
    // More than there are: the last wait in the kernel's queue.
    let taken: Vec<_> = (0..260).map(|_| service.connect()).collect();
    assert_eq!(service.over_unix("GET", "/v1/node", &[]).status, 200);
    // 240 for the network, and the one that asks.
    let are_taken = || {
        let metrics = service.over_unix("GET", "/metrics", &[]).body;
        metrics.contains("\ntidings_http_connections 241\n")
    };
    assert!(within(Duration::from_secs(60), are_taken));
    drop(taken);
    assert_eq!(service.get("/v1/node").status, 200);
}

#[test]
fn no_more_streams_than_there_are_places_and_their_ends_give_them_back() {
    let (_node, service) = node(PLAIN);
    let open = || {
        let mut way = service.connect();
        let path = "/v1/overlays/demo/presence";
        let text = request("GET", path, &[&service.superuser], None);
        way.write_all(&text).unwrap();
        let mut first = [0; 12];
        way.read_exact(&mut first).unwrap();
        (way, String::from_utf8_lossy(&first[9..]).into_owned())
    };
    let streams: Vec<_> = (0..64).map(|_| open()).collect();
    assert!(streams.iter().all(|(_, status)| status == "200"));
    assert_eq!(open().1, "429");
    drop(streams);
    assert!(within(Duration::from_secs(30), || open().1 == "200"));
}

#[test]
fn a_message_that_went_out_over_tls_counts_as_delivered() {
    let (_node, service) = node("");
    let mut way = service.connect();
    let path = "/v1/overlays/news/subscribe?pattern=t";
    let text = request("GET", path, &[&service.superuser], None);
    way.write_all(&text).unwrap();
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\n\n") {
        way.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
    let path = "/v1/overlays/news/publish/t?confirm=delivered";
    let told = service.ask("POST", path, &[&service.superuser]);
    assert_eq!((told.status, &told.json()["delivered"]), (200, &1.into()));
}

#[test]
fn whoever_sends_a_head_slowly_is_hung_up_on() {
    let (_node, service) = node(PLAIN);
    let mut way = service.socket();
    way.write_all(b"GET /livez HTTP/1.1\r\nHost: t\r\n")
        .unwrap();
    let begin = Instant::now();
    let mut rest = Vec::new();
    // One header at a time keeps nothing alive.
    way.set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let ended = within(Duration::from_secs(25), || {
        let _ = way.write_all(b"X-Slow: 1\r\n");
        matches!(way.read_to_end(&mut rest), Ok(0))
            || way.take_error().is_ok_and(|e| e.is_some())
            || way.write_all(b"X").is_err()
    });
    assert!(ended, "still open after {:?}", begin.elapsed());
    assert!(rest.is_empty());
}

#[test]
#[cfg(debug_assertions)] // What panics on purpose is in no other build.
fn a_panic_is_its_requests_alone_and_one_of_the_service_starts_it_again() {
    let environment = [("TIDINGS_HTTP_PANICS", "1")];
    let (mut node, service) = node_with(PLAIN, &environment);
    let idle = service.connect();
    let panicked = service.ask("GET", "/livez", &["x-tidings-panic: request"]);
    panicked.is_error(500, "internal");
    assert_eq!(service.get("/v1/node").status, 200);
    // A client of the node stays attached meanwhile, and has its messages.
    let got = node.path().join("got");
    let log = node.path().join("keeper");
    let mut keeper = tidings(node.path())
        .args(["sub", "demo", "t", "--ordered", "--count", "6"])
        .stdout(fs::File::create(&got).unwrap())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    assert!(within(Duration::from_secs(60), || {
        fs::read_to_string(&log).unwrap().contains("subscribed")
    }));
    for seq in 0..3 {
        // Whoever publishes for the service outlives it, too.
        let way = "/v1/overlays/demo/publish/t";
        let sent = service.ask("POST", way, &[&service.superuser]);
        assert_eq!(sent.json()["seq"], seq, "{sent:?}");
        service.ask("GET", "/livez", &["x-tidings-panic: service"]);
        let confirmed = ["--confirm", "delivered", "--wait-for", "1"];
        let published = node.run(&[&["pub", "demo", "t", "a message"][..], &confirmed].concat());
        assert!(published.status.success(), "{}", stderr(&published));
        // The socket stays open: whoever connects meanwhile waits.
        assert_eq!(service.get("/v1/node").status, 200);
    }
    drop(idle);
    let ended = within(Duration::from_secs(60), || {
        keeper
            .try_wait()
            .unwrap()
            .is_some_and(|status| status.success())
    });
    // It ends with the node at the latest.
    assert!(ended, "{}", fs::read_to_string(&log).unwrap());
    let got = fs::read_to_string(got).unwrap();
    assert_eq!(got.matches("a message").count(), 3, "{got}");
    let metrics = service.get("/metrics").body;
    assert!(
        metrics.contains("\ntidings_http_restarts_total 3\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("\ntidings_http_panics_total 1\n"),
        "{metrics}"
    );
    assert!(node.ended().is_none());
}

#[test]
fn health_tells_the_verdict_to_all_and_the_reasons_to_users() {
    let (_node, service) = node(PLAIN);
    assert!(within(Duration::from_secs(60), || service
        .ask("GET", "/readyz", &[])
        .status
        == 200));
    for path in ["/livez", "/healthz", "/readyz", "/startupz"] {
        let asked = format!("{path}?verbose");
        let bare = once_ok(|| service.ask("GET", &asked, &[]));
        assert_eq!(
            (bare.status, bare.body.as_str()),
            (200, "{\"status\":\"ok\"}"),
            "{path}"
        );
        let verbose = once_ok(|| service.ask("GET", &asked, &[&service.user]));
        assert!(verbose.json()["checks"][0]["ok"] == true, "{verbose:?}");
    }
    let ready = once_ok(|| service.get("/readyz?verbose")).json();
    let checks = ready["checks"].as_array().unwrap();
    assert!(
        checks.iter().any(|check| check["name"] == "overlay news"),
        "{ready}"
    );
    let head = once_ok(|| service.ask("HEAD", "/livez", &[]));
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn metrics_are_written_in_both_formats_and_open_only_where_that_is_said() {
    let (node, service) = node("[http]\ntls = \"off\"\nmetrics_open = true");
    let published = node.run(&["pub", "news", "t", "a message"]);
    assert!(published.status.success());
    let text = service.ask("GET", "/metrics", &[]);
    assert_eq!(text.status, 200, "{text:?}");
    assert!(
        text.head
            .contains("content-type: text/plain; version=0.0.4")
    );
    for line in [
        "tidings_msgs_total{shard=\"0\",dir=\"in\"} 1",
        "tidings_http_connections 1",
        "tidings_http_auth_fail_total 0",
        "tidings_client_logins_refused_total{reason=\"denied\"} 0",
        "tidings_auth_fail_total{overlay=\"news\"} 0",
        "tidings_duplicates_total{overlay=\"news\"} 0",
        "tidings_replay_dropped_total{overlay=\"news\",kind=\"handshake\"} 0",
        "tidings_replay_dropped_total{overlay=\"news\",kind=\"datagram\"} 0",
        "tidings_health_score{overlay=\"news\"} 0",
        "tidings_partition_suspected{overlay=\"news\"} 0",
        "tidings_key_laggards{overlay=\"news\"} 0",
        "tidings_slow_subscribers{overlay=\"news\"} 0",
        "tidings_ack_outstanding{overlay=\"news\"} 0",
        "tidings_member_transitions_total{overlay=\"news\",to=\"dead\"} 0",
        "tidings_flaps_total{overlay=\"news\"} 0",
        "tidings_queue_limit{class=\"commands\"} 1024",
        "# TYPE tidings_loop_lag_seconds histogram",
        "# TYPE tidings_http_requests_total counter",
        "# TYPE tidings_members gauge",
        "tidings_members{overlay=\"news\",state=\"alive\"} 1",
        "# TYPE tidings_publish_accepted_total counter",
        "tidings_publish_accepted_total{overlay=\"news\"} 1",
        "tidings_synced{overlay=\"demo\"} 1",
        "# TYPE process_resident_memory_bytes gauge",
    ] {
        assert!(
            text.body.lines().any(|l| l == line),
            "{line} in {}",
            text.body
        );
    }
    let open = service.ask(
        "GET",
        "/metrics",
        &["Accept: application/openmetrics-text; version=1.0.0"],
    );
    assert!(
        open.head
            .contains("content-type: application/openmetrics-text")
    );
    assert!(open.body.ends_with("# EOF\n"));
    assert!(
        open.body
            .contains("# TYPE tidings_publish_accepted counter")
    );
    // One family, one head, and nothing twice.
    let heads: Vec<&str> = text
        .body
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .collect();
    let unique: std::collections::BTreeSet<_> = heads.iter().collect();
    assert_eq!(unique.len(), heads.len());
}

#[test]
fn statistics_tell_what_happened_within_a_window_and_how_much_of_it_they_cover() {
    let (node, service) = node(PLAIN);
    for _ in 0..3 {
        assert!(node.run(&["pub", "news", "t", "four"]).status.success());
    }
    for window in ["total", "1d", "12h", "6h", "3h", "1h", "30m", "10m", "1m"] {
        let told = service
            .get(&format!("/v1/overlays/news/statistics/{window}"))
            .json();
        assert_eq!(told["counts"]["messages_published"], 3, "{told}");
        assert_eq!(told["counts"]["bytes_published"], 12, "{told}");
        assert_eq!(told["complete"], window == "total", "{told}");
        assert!(told["covers_s"].as_f64().unwrap() < 60.0, "{told}");
        assert!(told["per_second"]["messages_published"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn an_address_that_is_taken_fails_the_start_with_a_remedy() {
    let (node, service) = node(PLAIN);
    let other = tempfile::tempdir().unwrap();
    let address = service.address.to_string();
    let args = ["run", "--bind", "127.0.0.1:0", "--http", &address];
    let output = run(other.path(), &args);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(
        told.contains(&format!("cannot bind {address} for management")),
        "{told}"
    );
    assert!(
        told.contains("remedy: ") && told.contains("--http"),
        "{told}"
    );
    drop(node);
}

#[test]
fn a_node_that_cannot_write_its_passwords_runs_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    // No file replaces a folder.
    fs::create_dir_all(home.path().join("data/tidings/passwords")).unwrap();
    let log = home.path().join("log");
    let child = tidings(home.path())
        .args(["run", "--bind", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::from(fs::File::create(&log).unwrap()))
        .spawn()
        .unwrap();
    let node = Node::of(home, child);
    let told = || fs::read_to_string(&log).unwrap();
    assert!(within(Duration::from_secs(60), || told()
        .contains("nobody has a password")));
    assert!(told().contains("look at the disk"), "{}", told());
    let socket = node.path().join("run/tidings/tidings.http.sock");
    let mut way = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let answer = exchange(&mut way, &request("GET", "/v1/node", &[], None));
    assert_eq!(answer.json()["pid"], node.pid());
}

#[test]
fn validate_shows_where_management_is_and_what_is_wrong_with_its_certificate() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("t.toml"), "[http]\nbind = \"0.0.0.0:7401\"\n").unwrap();
    let shown = stdout(&run(home.path(), &["validate", &path("t.toml")]));
    assert!(
        shown.contains("management is at https://0.0.0.0:7401 under a certificate of its own"),
        "{shown}"
    );
    fs::write(
        path("t.toml"),
        "[http]\ncert_file = \"a.pem\"\nkey_file = \"a.key\"\n",
    )
    .unwrap();
    let output = run(home.path(), &["validate", &path("t.toml")]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(
        told.contains("a.pem: certificate of http: cannot be read"),
        "{told}"
    );
    assert!(told.contains("remedy: check the path"), "{told}");
}

#[test]
fn a_request_left_alone_ends_with_the_daemon_within_a_second_or_so() {
    let (mut node, service) = node(PLAIN);
    let mut half = service.connect();
    half.write_all(&request("GET", "/livez", &[], None)[..20])
        .unwrap();
    let left = node.run(&["leave"]);
    assert!(left.status.success(), "{}", stderr(&left));
    assert!(within(Duration::from_secs(60), || node.ended().is_some()));
    assert!(!service.unix.exists());
}

#[test]
fn a_page_of_another_site_changes_nothing_with_the_password_that_a_browser_remembers() {
    let (_node, service) = node(PLAIN);
    let own = format!("Origin: http://{}", service.address);
    let host = format!("Host: {}", service.address);
    let publish = |header: &str| {
        let path = "/v1/overlays/demo/publish/t";
        let head = format!(
            "POST {path} HTTP/1.1\r\n{host}\r\nConnection: close\r\n{}\r\n{header}\r\nContent-Length: 1\r\n\r\nx",
            service.superuser
        );
        service.send(head.as_bytes())
    };
    for header in [
        "Origin: https://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
    ] {
        publish(header).is_error(403, "cross_site");
    }
    for header in [&own, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"] {
        assert_eq!(publish(header).status, 202, "{header}");
    }
}

#[test]
fn a_secret_in_the_wrong_place_is_not_told_back() {
    let (_node, service) = node(PLAIN);
    let secret = "correct horse battery staple";
    for (method, path, body) in [
        ("PUT", "/v1/passwords/user", format!("\"{secret}\"")),
        (
            "PUT",
            "/v1/passwords/user",
            format!("{{\"password\": [\"{secret}\"]}}"),
        ),
        (
            "POST",
            "/v1/overlays",
            format!("{{\"name\": \"a\", \"suite\": \"{secret}\"}}"),
        ),
        (
            "POST",
            "/v1/overlays",
            format!("{{\"name\": \"a\", \"keyring\": \"{secret}\"}}"),
        ),
        (
            "POST",
            "/v1/overlays",
            format!("{{\"name\": \"a\", \"options\": \"{secret}\"}}"),
        ),
    ] {
        let answer = service.ask_with(method, path, &[&service.superuser], &body);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(!answer.body.contains("horse"), "{answer:?}");
    }
}
