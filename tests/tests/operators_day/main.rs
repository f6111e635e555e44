//! An operator's day, as a person would have it: a fresh Debian on three hosts, the package, the service as its unit runs it,
//! an overlay on all of them, messages, options and keys changed under load, a node that leaves and one that is killed, an
//! upgrade, a purge. Only commands that an operator types, and what systemd would do, as PID 1 is not systemd here.
#![cfg(feature = "hosts")]
#![allow(clippy::unwrap_used)]

mod debian;
mod load;
mod machine;
mod service;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_tests::blackbox::{Done, alone, eventually, figure, tidings};
use tidings_tests::host::Process;
use tidings_tests::lab::{self, Lab};

use load::Load;
use machine::{MANAGEMENT, Machine, WITHIN, good};
use service::{Service, Unit};

const OVERLAY: &str = "news";
/// How long a rotation may take, under load and on a machine that other work keeps busy.
const ROTATED_WITHIN: Duration = Duration::from_secs(300);

/// What belongs to the package, running or not; the log of dpkg stays.
const TRACES: &str = "find /etc /usr /var /run -xdev -name '*tidings*' -not -path '/var/log/*'; getent passwd tidings; getent group tidings; :";

#[test]
fn from_the_installation_to_the_purge() {
    if !lab::ready() {
        return;
    }
    if let Err((needs, missing)) = debian::available() {
        return lab::skipped(needs, &missing);
    }
    let _turn = alone();
    let system = match debian::system() {
        Ok(system) => system,
        Err(missing) => return lab::skipped("debian", &missing),
    };
    let lab = Lab::builder().hosts(3).bridge().build().unwrap();
    let packages = ["1", "2"].map(|revision| {
        let folder = lab.folder().join(format!("package-{revision}"));
        debian::package(&folder, revision)
    });
    let boot = |number| Machine::boot(&lab, number, &system, &packages);
    let machines: Vec<Machine<'_>> = match (1..=3).map(boot).collect() {
        Ok(machines) => machines,
        Err(missing) => return lab::skipped("layer", &missing),
    };

    let before: Vec<String> = machines
        .iter()
        .map(|machine| machine.good(&["sh", "-c", TRACES]))
        .collect();
    for machine in &machines {
        install(machine, &packages[0]);
    }
    systemd_likes(&Unit::of(&machines[0]), lab.folder());
    let mut services: Vec<Service<'_>> = machines.iter().map(Service::of).collect();
    as_the_readme_says(&mut services[0]);
    install(&machines[0], &packages[0]);
    for service in &mut services {
        first_start(service);
    }
    let token = overlay_on_all(&machines);
    reload_takes_another_overlay(&services[0]);
    let watchers = watch(&machines[0]);
    first_messages(&machines);
    under_load(&machines);
    leave_and_return(&machines, &mut services[2], &watchers);
    let ledger = kill_and_return(&machines, &mut services[1], &watchers);
    upgrade(&machines, &mut services, &packages[1], &token);
    deliver(&machines[0], "trades.three", 1);
    ledger.wait_for("three", WITHIN).unwrap();
    drop((ledger, watchers));

    machines[2].tidings(&["leave"]);
    services[2].ends();
    services[1].stop();
    services[0].stop();
    for (machine, before) in machines.iter().zip(&before) {
        machine.good(&["dpkg", "-P", "tidings"]);
        assert_eq!(
            &machine.good(&["sh", "-c", TRACES]),
            before,
            "{}",
            machine.name()
        );
    }
}

fn install(machine: &Machine<'_>, package: &Path) {
    let name = package.file_name().unwrap().to_str().unwrap();
    machine.good(&["dpkg", "-i", &format!("/srv/packages/{name}")]);
}

/// The installed unit, judged by systemd: nothing wrong with it, exposure below 3.
fn systemd_likes(unit: &Unit, folder: &Path) {
    let file = folder.join("tidings.service");
    let program = tidings().to_str().unwrap();
    fs::write(&file, unit.text().replace("/usr/bin/tidings", program)).unwrap();
    for args in [
        &["verify", "--man=no"][..],
        &["security", "--offline=true", "--threshold=30"],
    ] {
        match Command::new("systemd-analyze")
            .args(args)
            .arg(&file)
            .output()
        {
            Ok(output) => assert!(output.status.success(), "{args:?}: {output:?}"),
            Err(error) => lab::skipped("systemd", &format!("systemd-analyze {args:?}: {error}")),
        }
    }
}

/// A node that works without any configuration of its own. But for a second shard, so that an overlay has somewhere to move.
fn first_start(service: &mut Service<'_>) {
    let machine = service.machine();
    let config = "etc/tidings/tidings.toml";
    let text = machine.read(config);
    machine.write(
        config,
        &text.replace("\n[node]\n", "\n[node]\nshards = 2\n"),
    );
    machine.tidings(&["validate", "/etc/tidings/tidings.toml"]);
    service.start();
    assert_eq!(names(&machine.json(&["overlays"])), ["demo"]);
    let ready = [
        "curl",
        "-sS",
        "--fail",
        "--unix-socket",
        MANAGEMENT,
        "http://localhost/readyz",
    ];
    eventually("a node that is ready", WITHIN, || {
        let curl = machine.spawn("curl", machine.command_as("tidings", &ready));
        Done::of(&curl, WITHIN).out == r#"{"status":"ok"}"#
    });
    eventually("a status", WITHIN, || {
        service.status().contains("1 overlay, 1 member alive")
    });
    let modes = machine.good(&[
        "stat",
        "-c",
        "%U:%G %a",
        "/var/lib/tidings/passwords",
        "/run/tidings",
    ]);
    assert_eq!(modes, "tidings:tidings 600\ntidings:tidings 755\n");
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|entry| entry["name"].as_str().unwrap()).collect()
}

/// Makes a key on the first host and brings it to all, where only the service reads it. Its path.
fn key(machines: &[Machine<'_>], name: &str, flags: &[&str]) -> String {
    let made = format!("/srv/{name}");
    machines[0].good(&[&["tidings", "keygen", &made], flags].concat());
    let text = machines[0].read(&format!("srv/{name}"));
    let path = format!("/etc/tidings/{name}");
    for machine in machines {
        machine.write(&format!("srv/{name}"), &text);
        machine.good(&[
            "install", "-o", "tidings", "-g", "tidings", "-m", "0600", &made, &path,
        ]);
        machine.good(&["rm", &made]);
    }
    path
}

/// What sudo and systemctl do in the README's commands, as far as a system without either can.
const SUDO: &str = "#!/bin/sh\n\
    [ \"$1\" = -u ] || exec \"$@\"\n\
    user=$2; shift 2\n\
    exec setpriv --reuid=\"$user\" --regid=\"$user\" --init-groups -- \"$@\"\n";
const SYSTEMCTL: &str = "#!/bin/sh\n\
    [ \"$*\" = 'enable --now tidings' ] && touch /srv/bin/started\n";

/// The README's commands for a service, on a host where the package was just installed.
fn as_the_readme_says(service: &mut Service<'_>) {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let begins = "sudo tidings keygen /etc/tidings/news.key";
    let (_, block) = readme.split_once(&format!("```\n{begins}")).unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let machine = service.machine();
    machine.good(&["mkdir", "/srv/bin"]);
    for (name, script) in [("sudo", SUDO), ("systemctl", SYSTEMCTL)] {
        machine.write(&format!("srv/bin/{name}"), script);
        machine.good(&["chmod", "0755", &format!("/srv/bin/{name}")]);
    }
    let config = "etc/tidings/tidings.toml";
    let example = ["[[overlay]]", "name = \"news\"", "key_file"];
    let uncommented: Vec<String> = machine
        .read(config)
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if example.iter().any(|begins| rest.starts_with(begins)) => rest.to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    machine.write(config, &(uncommented.join("\n") + "\n"));
    let mut told = String::new();
    for line in format!("{begins}{block}").lines() {
        told = machine.good(&["sh", "-c", &format!("PATH=/srv/bin:$PATH; {line}")]);
        if machine.file("srv/bin/started").exists() {
            service.start();
            machine.good(&["rm", "/srv/bin/started"]);
        }
    }
    assert!(told.contains(&machine.name()), "the members: {told}");
    machine.good(&["rm", "-r", "/srv/bin"]);
    machine.tidings(&["leave"]);
    service.ends();
    machine.good(&["dpkg", "-P", "tidings"]);
}

/// The overlay on each host, until all see all. The first token of the first host.
fn overlay_on_all(machines: &[Machine<'_>]) -> String {
    let key = key(machines, "news.key", &[]);
    let create = |machine: &Machine<'_>| {
        machine.json(&[
            "overlays",
            "create",
            OVERLAY,
            "--key-file",
            &key,
            "--join",
            "host-1",
            "host-2",
        ])
    };
    let made: Vec<Value> = machines.iter().map(create).collect();
    all_see(machines, &["alive"; 3]);
    made[0]["token"]["secret"].as_str().unwrap().to_owned()
}

/// The state of each member, by its name, as a host sees it.
fn states(machine: &Machine<'_>) -> BTreeMap<String, String> {
    let members = machine.json(&["members", OVERLAY]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let members = members.as_array().unwrap().iter();
    members
        .map(|member| (text(&member["name"]), text(&member["state"])))
        .collect()
}

/// Waits until each of these hosts sees the three members in these states.
#[track_caller]
fn all_see<'a>(
    machines: impl IntoIterator<Item = &'a Machine<'a>>,
    wanted: &[&str; 3],
) -> Duration {
    let wanted: BTreeMap<String, String> = (1..)
        .zip(wanted)
        .map(|(number, &state)| (format!("host-{number}"), state.to_owned()))
        .collect();
    let machines: Vec<_> = machines.into_iter().collect();
    eventually(&format!("{wanted:?}"), WITHIN, || {
        machines.iter().all(|machine| states(machine) == wanted)
    })
}

/// The configuration is edited and read again, beside the overlays that are there.
fn reload_takes_another_overlay(service: &Service<'_>) {
    let machine = service.machine();
    key(std::slice::from_ref(machine), "audit.key", &[]);
    let config = "etc/tidings/tidings.toml";
    let text = machine.read(config) + "[[overlay]]\nname = \"audit\"\nkey_file = \"audit.key\"\n";
    machine.write(config, &text);
    machine.tidings(&["validate", "/etc/tidings/tidings.toml"]);
    service.reload();
    let overlays = machine.json(&["overlays"]);
    let mut names = names(&overlays);
    names.sort_unstable();
    assert!(
        names.contains(&"audit") && names.contains(&OVERLAY),
        "{names:?}"
    );
}

/// Those who watch all day: the command line and curl.
struct Watchers([Process; 2]);

fn watch(machine: &Machine<'_>) -> Watchers {
    let members = machine.start(&["members", OVERLAY, "--watch", "--format", "json"]);
    let url = format!("http://localhost/v1/overlays/{OVERLAY}/presence");
    let words = ["curl", "-sSN", "--unix-socket", MANAGEMENT, &url];
    let events = machine.spawn("curl", machine.command_as("tidings", &words));
    let watchers = Watchers([members, events]);
    for watcher in &watchers.0 {
        watcher.wait_for("host-3", WITHIN).unwrap();
    }
    watchers
}

impl Watchers {
    /// Waits until both were told of this change of this member.
    #[track_caller]
    fn are_told(&self, change: &str, of: &Machine<'_>) {
        let name = format!("\"{}\"", of.name());
        let by_line = |text: String| {
            text.lines()
                .any(|line| line.contains(change) && line.contains(&name))
        };
        // An event is a line with its kind, then one with its data.
        let by_event = |text: String| {
            let kind = format!("event: {change}");
            text.split("\n\n")
                .any(|event| event.contains(&kind) && event.contains(&name))
        };
        let [members, events] = &self.0;
        eventually(&format!("{change} of {name}"), WITHIN, || {
            by_line(members.stdout()) && by_event(events.stdout())
        });
    }
}

/// Publishes one message, which all of so many subscribers acknowledge.
#[track_caller]
fn deliver(from: &Machine<'_>, topic: &str, subscribers: u32) {
    let message = topic.rsplit('.').next().unwrap();
    let wanted = subscribers.to_string();
    let words = [
        "pub",
        OVERLAY,
        topic,
        message,
        "--confirm",
        "delivered",
        "--wait-for",
        &wanted,
    ];
    let told = from.tidings(&words);
    assert_eq!(
        told.trim(),
        format!("accepted 1, delivered {subscribers}, failed 0")
    );
}

fn first_messages(machines: &[Machine<'_>]) {
    let subscribe =
        |machine: &Machine<'_>| machine.start(&["sub", OVERLAY, "hello.*", "--count", "1"]);
    let subscribers: Vec<Process> = machines[1..].iter().map(subscribe).collect();
    deliver(&machines[0], "hello.world", 2);
    for subscriber in subscribers {
        assert_eq!(
            good("a host", &["sub"], Done::of(&subscriber, WITHIN)),
            "world"
        );
    }
    let stats = machines[0].curl(&format!("/v1/overlays/{OVERLAY}/stats"));
    assert!(stats.contains("\"publish\""), "{stats:.300}");
}

/// Options, a key and a cipher change on all hosts while messages go from the first to the others: none is lost.
fn under_load(machines: &[Machine<'_>]) {
    let mut load = Load::begin(&machines[0], &machines[1..], OVERLAY, "load");
    for options in [
        &[
            ("redelivery.attempts", json!(50)),
            ("redelivery.every", json!("2s")),
        ][..],
        &[("retain", json!("128MiB"))],
        &[("max_datagram", json!("1200B"))],
        &[("max_message", json!("2MiB"))],
        &[("profile", json!("wan"))],
        &[("park_max", json!("2h")), ("client_grace", json!("5m"))],
        &[("max_datagram", json!("64992B"))],
        &[("profile", json!("lan"))],
        &[("redelivery.attempts", json!(0))],
        &[("shard", json!(1))],
        &[("shard", json!(0))],
    ] {
        // Hosts with other options than each other, too, lose nothing.
        load.during(machines, |machine| change(machine, options));
    }
    for (slot, suite) in [("1", "aes-256-gcm"), ("2", "chacha20-poly1305")] {
        let key = key(
            machines,
            &format!("news-{slot}.key"),
            &["--slot", slot, "--suite", suite],
        );
        load.during([key], |key| rotate(machines, &key));
        for machine in machines {
            assert_eq!(keys(machine), [(slot.to_owned(), suite.to_owned())]);
        }
    }
    let account = load.end();
    figure(format_args!(
        "{} messages to two hosts, {:.0} a second, none lost while 11 changes of options and 2 of keys were made on three hosts, \
        during each of them {} messages or more",
        account.messages, account.rate, account.fewest
    ));
    all_see(machines, &["alive"; 3]);
}

/// `keys rotate` on all hosts at a time.
fn rotate(machines: &[Machine<'_>], key: &str) {
    let rotate = |machine: &Machine<'_>| machine.start(&["keys", "rotate", OVERLAY, key]);
    let rotations: Vec<Process> = machines.iter().map(rotate).collect();
    for (machine, rotation) in machines.iter().zip(&rotations) {
        let told = good(
            &machine.name(),
            &["keys", "rotate"],
            Done::of(rotation, ROTATED_WITHIN),
        );
        assert!(told.contains("the keys of news are those of"), "{told}");
    }
}

/// `overlays change`, and what `overlays show` tells then.
fn change(machine: &Machine<'_>, options: &[(&str, Value)]) {
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    let words: Vec<String> = options
        .iter()
        .map(|(name, value)| format!("{name}={}", text(value)))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    machine.tidings(&[&["overlays", "change", OVERLAY], &words[..]].concat());
    let shown = machine.json(&["overlays", "show", OVERLAY]);
    for (name, value) in options {
        let at = format!("/options/{}", name.replace('.', "/"));
        assert_eq!(shown.pointer(&at), Some(value), "{name} in {shown}");
    }
}

/// Slot and cipher of each key.
fn keys(machine: &Machine<'_>) -> Vec<(String, String)> {
    let keys = machine.json(&["keys", "list", OVERLAY]);
    let keys = keys["keys"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    keys.map(|key| (key["slot"].to_string(), text(&key["suite"])))
        .collect()
}

/// The service of the last host is stopped while a subscriber there has not taken a message: its publisher hears that at once.
fn leave_and_return(machines: &[Machine<'_>], service: &mut Service<'_>, watchers: &Watchers) {
    let subscribe = |machine: &Machine<'_>| machine.start(&["sub", OVERLAY, "farewell"]);
    let subscribers: Vec<Process> = machines[1..].iter().map(subscribe).collect();
    deliver(&machines[0], "farewell", 2);
    subscribers[1].stop().unwrap();
    let publish = [
        "pub",
        OVERLAY,
        "farewell",
        "again",
        "--confirm",
        "delivered",
    ];
    let publisher = machines[0].start(&publish);
    subscribers[0].wait_for("again", WITHIN).unwrap();
    service.stop();
    let done = Done::of(&publisher, WITHIN);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert_eq!(
        done.out.trim(),
        "accepted 1, delivered 1, failed 1 (1 left)"
    );
    drop(subscribers);
    all_see(&machines[..2], &["alive", "alive", "left"]);
    watchers.are_told("member_out", service.machine());
    service.start();
    all_see(machines, &["alive"; 3]);
}

/// The second host's node is killed while a program of another user is attached by name: what is published meanwhile waits for
/// it. The program, which goes on.
fn kill_and_return(
    machines: &[Machine<'_>],
    service: &mut Service<'_>,
    watchers: &Watchers,
) -> Process {
    let machine = service.machine();
    machine.good(&[
        "adduser",
        "--system",
        "--group",
        "--quiet",
        "--no-create-home",
        "ledger",
    ]);
    let (made, secret) = ("/var/lib/tidings/ledger.secret", "/srv/ledger.secret");
    let add = [
        "clients",
        "add",
        "ledger",
        "--overlay",
        OVERLAY,
        "--subscribe",
        "trades.*",
        "--file",
        made,
    ];
    machine.tidings(&add);
    machine.good(&[
        "install", "-o", "ledger", "-g", "ledger", "-m", "0600", made, secret,
    ]);
    machine.good(&["rm", made]);
    let words = [
        "tidings",
        "sub",
        OVERLAY,
        "trades.*",
        "--ordered",
        "--as",
        "ledger",
        "--secret-file",
        secret,
    ];
    let ledger = machine.spawn("ledger", machine.command_as("ledger", &words));
    deliver(&machines[0], "trades.one", 1);
    service.kill9();
    let survivors = [&machines[0], &machines[2]];
    let dead = all_see(survivors, &["alive", "dead", "alive"]);
    watchers.are_told("member_unreachable", machine);
    let publisher = machines[0].start(&[
        "pub",
        OVERLAY,
        "trades.two",
        "two",
        "--confirm",
        "delivered",
    ]);
    service.start();
    all_see(machines, &["alive"; 3]);
    watchers.are_told("member_rejoin", machine);
    let told = good("host-1", &["pub"], Done::of(&publisher, WITHIN));
    assert_eq!(told.trim(), "accepted 1, delivered 1, failed 0");
    ledger.wait_for("two", WITHIN).unwrap();
    figure(format_args!(
        "a node that was killed was held dead after {dead:.1?}"
    ));
    ledger
}

/// One host after the other gets the later package and starts its service again, with all that it had.
fn upgrade(machines: &[Machine<'_>], services: &mut [Service<'_>], package: &Path, token: &str) {
    for service in services {
        let machine = service.machine();
        install(machine, package);
        assert_eq!(
            states(machine).len(),
            3,
            "it runs on until it is started again"
        );
        service.restart();
        all_see(machines, &["alive"; 3]);
    }
    for machine in machines {
        let version = machine.good(&["dpkg-query", "--show", "--showformat=${Version}", "tidings"]);
        assert!(version.ends_with("-2"), "{version}");
        assert_eq!(
            keys(machine),
            [("2".to_owned(), "chacha20-poly1305".to_owned())]
        );
        let shown = machine.json(&["overlays", "show", OVERLAY]);
        assert_eq!(
            shown.pointer("/options/retain"),
            Some(&json!("128MiB")),
            "{shown}"
        );
    }
    assert_eq!(names(&machines[1].json(&["clients", "list"])), ["ledger"]);
    let overlays = machines[0].json(&["overlays"]);
    assert!(
        names(&overlays).contains(&"audit"),
        "the configuration is the operator's: {overlays}"
    );
    let header = format!("Authorization: Bearer {token}");
    let url = format!("https://localhost:7401/v1/overlays/{OVERLAY}");
    let certificate = "/var/lib/tidings/http/cert.pem";
    machines[0].good(&[
        "curl",
        "-sS",
        "--fail",
        "--cacert",
        certificate,
        "-H",
        &header,
        &url,
    ]);
}
