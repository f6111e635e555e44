//! The command line as a user meets it: a first start without anything, mistakes, exit codes, stopping, a disk that is full
//! or fails, a device that takes nothing, a system without io_uring.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tidings_tests::blackbox::{
    Cluster, Done, OVERLAY, beside_others, eventually, figure, on_a_small_disk, refuse_fsync,
    refuse_io_uring, tidings,
};
use tidings_tests::host::{Host, Process};
use tidings_tests::lab::{self, Classes, Lab};

const SECOND: Duration = Duration::from_secs(1);
const WITHIN: Duration = Duration::from_secs(90);

macro_rules! needs_lab {
    () => {
        if !tidings_tests::lab::ready() {
            return;
        }
    };
}

/// A user on a host: own folders, nothing of the real user's environment.
struct User<'a> {
    lab: &'a Lab,
    host: &'a Host,
    home: std::path::PathBuf,
}

impl<'a> User<'a> {
    fn of(lab: &'a Lab, number: usize) -> User<'a> {
        let home = lab.folder().join(format!("home-{number}"));
        for folder in ["share", "run"] {
            std::fs::create_dir_all(home.join(folder)).unwrap();
        }
        let host = lab.host(number);
        User { lab, host, home }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.host.command(tidings());
        command.env_clear().args(args).current_dir(&self.home);
        command.env("HOME", &self.home);
        command.env("XDG_DATA_HOME", self.home.join("share"));
        command.env("XDG_RUNTIME_DIR", self.home.join("run"));
        command
    }

    fn spawn(&self, args: &[&str]) -> Process {
        let count = self.lab.folder().read_dir().unwrap().count();
        let name = format!("user-{}-{count}", self.host.number());
        self.host.spawn(&name, self.command(args)).unwrap()
    }

    fn run(&self, args: &[&str]) -> Done {
        Done::of(&self.spawn(args), WITHIN)
    }

    fn daemon(&self, args: &[&str]) -> Process {
        let daemon = self.spawn(args);
        eventually("clients are taken", WITHIN, || {
            assert!(daemon.is_running(), "{:.300}", daemon.stderr());
            self.run(&["overlays"]).code == Some(0)
        });
        daemon
    }
}

#[test]
fn without_arguments_it_is_a_working_node_that_says_what_to_type_next() {
    needs_lab!();
    let _turn = beside_others();
    let lab = Lab::builder().hosts(2).build().unwrap();
    let user = User::of(&lab, 1);
    let daemon = user.daemon(&[]);
    // What to type next is said once all is up; clients are taken a moment before.
    daemon
        .wait_for("a second one stops at once", WITHIN)
        .unwrap();
    let told = daemon.stdout() + &daemon.stderr();
    for next in ["tidings sub demo", "tidings pub demo", "--join"] {
        assert!(
            told.contains(next),
            "it does not say `{next}`: {told:.1000}"
        );
    }
    let members = user.run(&["members", "demo", "--format", "json"]).json();
    let member = &members.as_array().unwrap()[0];
    for key in ["name", "id", "address", "state"] {
        assert!(member[key].is_string(), "{key} in {member}");
    }
    assert!(
        told.contains(member["id"].as_str().unwrap())
            || told.contains(member["name"].as_str().unwrap())
    );

    let subscriber = user.spawn(&["sub", "demo", "*", "--count", "1"]);
    subscriber.wait_for_err("subscribed", WITHIN).unwrap();
    let done = user.run(&[
        "pub",
        "demo",
        "hello.world",
        "hello",
        "--confirm",
        "delivered",
    ]);
    assert_eq!(done.code, Some(0), "{:.300}", done.err);
    assert!(
        done.out.contains("accepted 1, delivered 1, failed 0"),
        "{:.300}",
        done.out
    );
    assert_eq!(subscriber.wait(WITHIN).unwrap().code(), Some(0));
    assert_eq!(subscriber.stdout(), "hello");
    second_node_joins(&lab, &user);
    assert!(private(&user.home.join("share/tidings/demo.key")));
}

/// As the first node told the user: its key copied, and --join.
fn second_node_joins(lab: &Lab, first: &User<'_>) {
    let second = User::of(lab, 2);
    let key = second.home.join("demo.key");
    std::fs::copy(first.home.join("share/tidings/demo.key"), &key).unwrap();
    let join = first.host.ip4().to_string();
    let _daemon = second.daemon(&["--key-file", key.to_str().unwrap(), "--join", &join]);
    eventually("both list two members", WITHIN, || {
        [first, &second].iter().all(|user| {
            let members = user.run(&["members", "demo", "--format", "json"]).json();
            let members = members.as_array().unwrap().clone();
            members.len() == 2 && members.iter().all(|member| member["state"] == "alive")
        })
    });
}

fn private(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).unwrap().permissions().mode() & 0o077 == 0
}

#[test]
fn a_second_node_on_the_same_data_directory_is_told_who_holds_it() {
    needs_lab!();
    let _turn = beside_others();
    let lab = Lab::builder().hosts(1).build().unwrap();
    let user = User::of(&lab, 1);
    let daemon = user.daemon(&[]);
    let done = user.run(&["run", "--bind", "0.0.0.0:0", "--socket", "other.sock"]);
    assert!(done.code.is_some_and(|code| code != 0));
    assert!(
        done.err.contains(&daemon.id().to_string()),
        "{:.300}",
        done.err
    );
    assert!(daemon.is_running());
    // A killed node leaves no lock behind.
    daemon.kill9().unwrap();
    user.daemon(&[]);
}

#[test]
fn a_port_that_is_taken_is_told() {
    needs_lab!();
    let _turn = beside_others();
    let lab = Lab::builder().hosts(1).build().unwrap();
    let user = User::of(&lab, 1);
    let _daemon = user.daemon(&[]);
    let done = user.run(&[
        "run",
        "--bind",
        "0.0.0.0:7400",
        "--data-dir",
        "other",
        "--socket",
        "other.sock",
    ]);
    assert!(done.code.is_some_and(|code| code != 0));
    assert!(done.err.contains("7400"), "{:.300}", done.err);
}

#[test]
fn mistakes_in_the_configuration_are_told_with_place_and_remedy_and_nothing_starts() {
    needs_lab!();
    let _turn = beside_others();
    let lab = Lab::builder().hosts(1).build().unwrap();
    let user = User::of(&lab, 1);
    let file = user.home.join("tidings.toml");
    for (text, place, wanted) in [
        (
            "[node]\nname = \"a\"\nshard = 2\n",
            "tidings.toml:3",
            "shard",
        ),
        (
            "[node]\nshards = \"two\"\n",
            "tidings.toml:2",
            "node.shards",
        ),
        ("[node]\nshards = 99\n", "tidings.toml:2", "node.shards"),
        (
            "[node]\n\nbind = \"nowhere\"\n",
            "tidings.toml:3",
            "node.bind",
        ),
        (
            "[[overlay]]\nname = \"demo\"\nmax_message = \"5MiB\"\n",
            "tidings.toml:3",
            "max_message",
        ),
        (
            "[[overlay]]\nname = \"demo\"\nredelivery = { every = \"5\" }\n",
            "tidings.toml:3",
            "every",
        ),
        ("[node\n", "tidings.toml:1", "remedy"),
    ] {
        std::fs::write(&file, text).unwrap();
        for args in [
            ["run", "--config", "tidings.toml"].as_slice(),
            &["validate", "tidings.toml"],
        ] {
            let done = user.run(args);
            assert_eq!(done.code, Some(2), "{args:?} {text:?}: {:.300}", done.err);
            for wanted in [place, wanted, "remedy: "] {
                assert!(
                    done.err.contains(wanted),
                    "`{wanted}` for {text:?}: {:.300}",
                    done.err
                );
            }
        }
    }
    assert_eq!(
        user.home.join("share").read_dir().unwrap().count(),
        0,
        "nothing was made"
    );
    std::fs::write(
        &file,
        "[node]\nname = \"a\"\n[[overlay]]\nname = \"demo\"\n",
    )
    .unwrap();
    assert_eq!(user.run(&["validate", "tidings.toml"]).code, Some(0));
}

#[test]
fn exit_codes_say_what_happened() {
    needs_lab!();
    let _turn = beside_others();
    let lab = Lab::builder().hosts(1).build().unwrap();
    let user = User::of(&lab, 1);
    let no_daemon = user.run(&["members", "demo"]);
    assert_eq!(no_daemon.code, Some(1));
    assert!(
        no_daemon.err.contains("tidings run"),
        "{:.300}",
        no_daemon.err
    );
    assert_eq!(user.run(&["nonsense"]).code, Some(2));
    assert_eq!(user.run(&["--help"]).code, Some(0));
    let _daemon = user.daemon(&[]);
    assert_eq!(user.run(&["pub", "demo", "t", "m"]).code, Some(0));
    let nobody = user.run(&["pub", "demo", "t", "m", "--confirm", "delivered"]);
    assert_eq!(nobody.code, Some(3));
    assert!(nobody.err.contains("no subscriber"), "{:.300}", nobody.err);
    assert_eq!(user.run(&["members", "missing"]).code, Some(1));
    assert_eq!(user.run(&["pub", "demo", "a..b", "m"]).code, Some(1));
    let idle = user.run(&["sub", "demo", "t", "--count", "1", "--idle", "0.3"]);
    assert_eq!(idle.code, Some(1), "one was asked for and none came");
    assert_eq!(
        user.run(&["sub", "demo", "t", "--idle", "0.3"]).code,
        Some(0)
    );
    for (args, key) in [(["stats"], "shards"), (["overlays"], "name")] {
        let done = user.run(&[args[0], "--format", "json"]);
        assert_eq!(done.code, Some(0));
        assert!(
            done.out.contains(&format!("\"{key}\"")),
            "{:.300}",
            done.out
        );
        done.json();
        assert_eq!(user.run(&args).code, Some(0));
    }
}

#[test]
fn keys_are_private_and_never_overwritten() {
    needs_lab!();
    let _turn = beside_others();
    let lab = Lab::builder().hosts(1).build().unwrap();
    let user = User::of(&lab, 1);
    assert_eq!(user.run(&["keygen", "a.key"]).code, Some(0));
    let key = std::fs::read(user.home.join("a.key")).unwrap();
    assert!(private(&user.home.join("a.key")));
    assert_eq!(user.run(&["keygen", "a.key"]).code, Some(1));
    assert_eq!(std::fs::read(user.home.join("a.key")).unwrap(), key);
    let readable = Command::new("chmod")
        .arg("644")
        .arg(user.home.join("a.key"))
        .status();
    assert!(readable.unwrap().success());
    let done = user.run(&["run", "--overlay", "prod", "--key-file", "a.key"]);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("chmod 600"), "{:.300}", done.err);
}

#[test]
fn a_second_signal_stops_at_once() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder().nodes(2).start();
    // On a loaded machine it may have left before the second signal came, but not each time.
    let stopped = (0..5).any(|_| stopped_by_a_second_signal(&cluster));
    assert!(stopped);
}

/// Whether node 2 was still leaving when the second signal came. Leaves both nodes as they were.
fn stopped_by_a_second_signal(cluster: &Cluster) -> bool {
    // Nobody hears that it leaves, so leaving takes its time.
    cluster.lab().link(2, 1).cut(Classes::ALL);
    let daemon = cluster.node(2).daemon();
    daemon.term().unwrap();
    // Two signals are two only if the first was taken before the second came.
    let _ = daemon.wait_for_err("leaving", WITHIN);
    let began = Instant::now();
    eventually("it ends", 20 * SECOND, || {
        // It may end between the question and the signal.
        let _ = daemon.term();
        daemon.wait(SECOND / 10).is_ok()
    });
    let code = daemon.wait(SECOND).unwrap().code();
    // By the signal, or when it had left.
    assert!(matches!(code, Some(143 | 0)), "{code:?}");
    figure(format_args!(
        "ended with {code:?} {:?} after the second signal",
        began.elapsed()
    ));
    cluster.lab().heal();
    cluster.node(2).start();
    cluster.wait_whole(WITHIN);
    code == Some(143)
}

#[test]
fn a_client_whose_daemon_dies_says_so_and_attaches_again() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder().nodes(2).start();
    // Under a name: the publisher's node may not know yet that the earlier subscription is gone, which a message to it would tell.
    let args = [OVERLAY, "t", "--ordered", "--as", "steady"];
    let subscriber = cluster.node(2).subscribe(&args);
    for round in 1..=2 {
        cluster.node(2).kill9();
        let lost = |text: &str| text.matches("the daemon is lost").count();
        eventually("it says so", WITHIN, || {
            lost(&subscriber.process().stderr()) == round
        });
        cluster.node(2).start();
        let again = |text: &str| text.matches("attached to n2 again").count();
        eventually("it attaches again", WITHIN, || {
            again(&subscriber.process().stderr()) == round
        });
        let message = format!("{round}\n");
        let args = [
            "pub",
            OVERLAY,
            "t",
            &message,
            "--confirm",
            "delivered",
            "--wait-for",
            "1",
        ];
        let done = cluster.node(1).verb(&args, WITHIN);
        assert_eq!(done.code, Some(0), "{:.300}", done.err);
    }
    subscriber.wait_lines(2, WITHIN);
    assert_eq!(subscriber.process().stdout(), "1\n2\n");
}

#[test]
fn a_client_needs_the_secret_of_its_name() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder()
        .nodes(1)
        .client("good")
        .client("other")
        .start();
    let good = cluster.folder().join("good.secret");
    let other = cluster.folder().join("other.secret");
    let args = |secret: &Path| {
        let secret = secret.to_str().unwrap().to_owned();
        [
            "pub",
            OVERLAY,
            "t",
            "m",
            "--as",
            "good",
            "--secret-file",
            &secret,
        ]
        .map(str::to_owned)
    };
    for (secret, code) in [(&good, 0), (&other, 1)] {
        let args = args(secret);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let done = cluster.node(1).verb(&args, WITHIN);
        assert_eq!(done.code, Some(code), "{:.300}", done.err);
    }
    let log = cluster.node(1).daemon().stderr();
    for secret in [good, other] {
        let secret = std::fs::read_to_string(secret).unwrap();
        assert!(!log.contains(secret.trim()), "a secret in the log");
    }
}

#[test]
fn without_io_uring_a_node_works_and_says_so_in_one_line() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder().nodes(2).build();
    cluster.node(1).start();
    let mut command = cluster.node(2).run_command();
    refuse_io_uring(&mut command);
    let daemon = cluster.node(2).start_by(command);
    cluster.wait_whole(WITHIN);
    for (from, to) in [(1, 2), (2, 1)] {
        // A topic of its own, so that the subscription that is waited for is this one.
        let topic = format!("fall.back.{from}");
        let subscriber = cluster
            .node(to)
            .subscribe(&[OVERLAY, &topic, "--count", "100"]);
        let path = cluster.folder().join("lines");
        std::fs::write(&path, "a line\n".repeat(100)).unwrap();
        let args = [
            "pub",
            OVERLAY,
            &topic,
            "--lines",
            "--file",
            path.to_str().unwrap(),
            "--wait-for",
            "1",
        ];
        let done = cluster
            .node(from)
            .verb(&[&args[..], &["--confirm", "delivered"]].concat(), WITHIN);
        assert_eq!(done.code, Some(0), "{:.300}", done.err);
        assert_eq!(subscriber.process().wait(WITHIN).unwrap().code(), Some(0));
        assert_eq!(subscriber.written(), 700);
    }
    let told = |log: String| log.lines().filter(|line| line.contains("io_uring")).count();
    assert_eq!(told(daemon.stderr()), 1, "{:.500}", daemon.stderr());
    assert!(daemon.stderr().contains("epoll"));
    assert_eq!(told(cluster.node(1).daemon().stderr()), 0);
    assert!(
        cluster
            .node(2)
            .stats()
            .value()
            .to_string()
            .contains("epoll")
    );
}

#[test]
fn a_full_disk_is_told_at_the_start_and_survived_later() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder().nodes(2).build();
    let data = cluster.node(2).home().join("data");
    cluster.node(1).start();

    // A disk of one page: the node cannot keep its identity, and must not speak without one.
    let mut command = cluster.node(2).run_command();
    on_a_small_disk(&mut command, &data, 1);
    let daemon = cluster.node(2).launch(command);
    let end = daemon.wait(30 * SECOND).expect("it does not start");
    let told = daemon.stderr();
    if told.contains("pre_exec") {
        lab::skipped("kernel", "no mount namespace here");
        return;
    }
    assert_eq!(end.code(), Some(1), "{told:.500}");
    let names_it = told.contains(data.to_str().unwrap()) && told.contains("No space left");
    assert!(
        names_it && told.contains("remedy: make room"),
        "{told:.500}"
    );

    let mut command = cluster.node(2).run_command();
    on_a_small_disk(&mut command, &data, 1 << 20);
    let daemon = cluster.node(2).start_by(command);
    let began = Instant::now();
    // The mount is only in the daemon's namespace; /proc leads there.
    let inside = format!("/proc/{}/root{}", daemon.id(), data.display());
    fill(&Path::new(&inside).join("ballast"));
    cluster.wait_whole(WITHIN);
    let subscriber = cluster
        .node(2)
        .subscribe(&[OVERLAY, "full", "--count", "1"]);
    let args = ["pub", OVERLAY, "full", "m", "--wait-for", "1"];
    let args = [&args[..], &["--confirm", "delivered"]].concat();
    let done = cluster.node(1).verb(&args, WITHIN);
    assert_eq!(done.code, Some(0), "{:.300}", done.err);
    assert_eq!(subscriber.process().wait(WITHIN).unwrap().code(), Some(0));
    std::thread::sleep(12 * SECOND);
    assert!(daemon.is_running(), "{:.300}", daemon.stderr());
    let told = daemon.stderr();
    let lines = told
        .lines()
        .filter(|line| line.contains("No space left"))
        .count();
    // The cache of addresses, which it tries to write, is due every 10 s.
    let took = began.elapsed();
    assert!(
        lines as u64 <= 3 + took.as_secs() / 10,
        "{lines} lines about the disk in {took:?}"
    );
    daemon.term().unwrap();
    assert_eq!(daemon.wait(30 * SECOND).unwrap().code(), Some(0));
}

#[test]
fn a_disk_that_fails_is_told_at_the_start_and_nothing_is_lost() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder().nodes(1).build();
    let node = cluster.node(1);
    let data = node.home().join("data");
    let start_fails = || {
        let mut command = node.run_command();
        refuse_fsync(&mut command);
        let daemon = node.launch(command);
        let end = daemon.wait(30 * SECOND).unwrap();
        assert!(!end.success() && end.code().is_some(), "{end}");
        let told = daemon.stderr();
        let names_it = told.contains(data.to_str().unwrap()) && told.contains("os error 5");
        assert!(names_it, "{told:.500}");
    };
    // An identity that may be gone after the next power cut is none.
    start_fails();
    node.start();
    cluster.wait_whole(WITHIN);
    let identity = |stats: tidings_tests::blackbox::Stats| stats.value()["node"]["id"].to_string();
    let before = identity(node.stats());
    node.kill9();
    start_fails();
    node.start();
    assert_eq!(identity(node.stats()), before);
}

#[test]
fn a_device_that_takes_nothing_for_a_while_loses_nothing() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder().nodes(2).build();
    cluster.nodes().for_each(|node| drop(node.start()));
    cluster.wait_whole(WITHIN);
    let device = |limit: &str| {
        let mut tc = cluster.lab().host(1).command("tc");
        tc.args([
            "qdisc", "replace", "dev", "eth0", "root", "pfifo", "limit", limit,
        ]);
        tc.status()
    };
    let subscriber = cluster
        .node(2)
        .subscribe(&[OVERLAY, "enough", "--count", "500"]);
    // A queue of no length: the kernel says ENOBUFS to whoever wants to hear of errors.
    match device("0") {
        Ok(end) if end.success() => {}
        other => {
            lab::skipped("kernel", &format!("no tc (of iproute2) here: {other:?}"));
            return;
        }
    }
    let path = cluster.folder().join("lines");
    std::fs::write(&path, "a line\n".repeat(500)).unwrap();
    let path = path.to_str().unwrap();
    let args = ["pub", OVERLAY, "enough", "--lines", "--file", path];
    let publisher = cluster
        .node(1)
        .spawn(&[&args[..], &["--confirm", "delivered", "--wait-for", "1"]].concat());
    let refused = || cluster.node(1).stats().sum("send_no_room");
    eventually(
        "what the device did not take is counted",
        60 * SECOND,
        || refused() > 0,
    );
    assert!(
        publisher.is_running(),
        "nothing can have arrived: {}",
        publisher.stderr()
    );
    assert!(device("1000").unwrap().success());
    assert_eq!(
        publisher.wait(WITHIN).unwrap().code(),
        Some(0),
        "{}",
        publisher.stderr()
    );
    assert_eq!(subscriber.process().wait(WITHIN).unwrap().code(), Some(0));
    figure(format_args!("{} sends found no room", refused()));
}

/// Writes until there is no room.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1 << 16, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}
