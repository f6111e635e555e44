//! Every floor program in a tiny window, as a user would run it; and that a reader who goes away ends programs quietly.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn floor(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_floor"))
        .args(arguments.split(' '))
        .output()
        .unwrap()
}

/// The figures of a run of two short rounds.
fn figures(arguments: &str) -> Value {
    let output = floor(&format!(
        "{arguments} --seconds 1 --warmup 0.05 --rounds 2 --json"
    ));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {errors}");
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures["rounds"], 2, "{figures}");
    figures
}

fn number(figures: &Value, path: &str) -> f64 {
    let found = figures.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no {path} in {figures}"))
}

/// Figures of which every one of these is above zero: something arrived. Where the machine stands still it may not, once.
fn alive(arguments: &str, paths: &[&str]) -> Value {
    let are_alive = |figures: &Value| paths.iter().all(|path| number(figures, path) > 0.0);
    let mut found = figures(arguments);
    if !are_alive(&found) {
        found = figures(arguments);
    }
    assert!(are_alive(&found), "{paths:?} of {found}");
    found
}

#[test]
fn shards_are_compared_with_the_first_number_of_them() {
    let (mut rates, mut text) = compared_shards();
    if rates.contains(&0.0) {
        // As in `alive`.
        (rates, text) = compared_shards();
    }
    assert!(
        rates.len() == 2 && rates.iter().all(|rate| *rate > 0.0),
        "{text}"
    );
    assert!(
        text.lines().next().unwrap().ends_with("1.00 times"),
        "{text}"
    );
}

/// The rates with one shard and with two, and the text that they are of.
fn compared_shards() -> (Vec<f64>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_shards"))
        .args(["--shards", "1,2", "--seconds", "1", "--rounds", "1"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let rate = |line: &str| {
        line.split([':', ' '])
            .find_map(|word| word.parse::<f64>().ok().filter(|_| word.contains('.')))
    };
    (text.lines().filter_map(rate).collect(), text)
}

#[test]
fn raw_and_gso_bring_datagrams_and_tell_both_sides_cpu() {
    let paths = [
        "/rate",
        "/sent_rate",
        "/send_cpu_ns",
        "/recv_cpu_ns",
        "/cpu_ns",
    ];
    alive("raw --size 64", &paths);
    let gso = alive("gso --datagram 1448 --segments 10 --sends 2", &paths);
    assert_eq!(
        (&gso["segments"], &gso["program"]),
        (&10.into(), &"gso".into())
    );
}

#[test]
fn the_pipe_brings_messages_in_small_and_in_the_largest_datagrams() {
    let paths = ["/rate", "/sent_rate", "/cpu_ns", "/bytes_rate"];
    alive("pipe --size 64 --datagram 1448", &paths);
    let large = alive("pipe --size 1024 --datagram 65507", &paths);
    assert_eq!(
        (&large["records"], &large["segments"]),
        (&63.into(), &1.into())
    );
}

#[test]
fn an_echo_comes_back_however_the_sides_wait() {
    for (sender, receiver) in [
        ("parked", "parked"),
        ("epoll", "epoll"),
        ("polling", "parked"),
    ] {
        let echo = alive(
            &format!("echo --sender {sender} --receiver {receiver}"),
            &["/rtt/count", "/rtt/p50", "/rtt/p999", "/cpu_ns"],
        );
        assert!(
            number(&echo, "/rtt/p50") <= number(&echo, "/rtt/max"),
            "{echo}"
        );
    }
}

#[test]
fn one_way_every_message_of_the_schedule_counts_from_its_due_time() {
    for receiver in ["parked", "epoll"] {
        let run = || figures(&format!("echo --rate 2000 --receiver {receiver}"));
        let mut echo = run();
        for _ in 1..5 {
            // A socket's buffer holds what comes while a loaded machine does not run the receiver, up to a limit.
            if number(&echo, "/lost") == 0.0 {
                break;
            }
            echo = run();
        }
        assert_eq!(number(&echo, "/lost"), 0.0, "{echo}");
        // 1 s of 2,000 a second; whether the first of them falls into the window is a matter of rounding.
        for path in ["/latency/count", "/lag/count"] {
            let count = number(&echo, path);
            assert!((1999.0..=2001.0).contains(&count), "{path} of {echo}");
        }
        assert!(number(&echo, "/latency/p50") > 0.0, "{echo}");
    }
}

#[test]
fn a_fan_out_reaches_its_receivers() {
    let fan_out = alive(
        "fan-out --receivers 3 --datagram 1448 --messages 19",
        &[
            "/rate",
            "/datagram_cpu_ns",
            "/message_cpu_ns",
            "/delivered_message_cpu_ns",
        ],
    );
    let ratio = number(&fan_out, "/rate") / number(&fan_out, "/datagram_rate");
    assert!((18.9..=19.1).contains(&ratio), "{fan_out}");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_value_and_a_remedy() {
    for (arguments, told) in [
        (
            "gso --datagram 1448 --segments 46",
            "--segments 46: of 1448 B one send holds 1 to 45",
        ),
        (
            "pipe --size 2000 --datagram 1448",
            "--datagram 1448: no message of 2000 B fits, give 2056 or more",
        ),
        ("echo --rate 0", "--rate 0: give 0.001 to 10000000"),
        ("raw --rounds 0", "--rounds 0: give 1 to 1000"),
        ("raw --pin 0,1,2", "--pin names 3 CPUs: give two, as 0,1"),
        ("fan-out --receivers 65", "--receivers 65: give 1 to 64"),
    ] {
        let output = floor(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {errors}");
        assert_eq!(errors.trim(), format!("floor: {told}"));
    }
}

#[test]
fn a_reader_that_goes_away_ends_a_program_quietly() {
    let core = (env!("CARGO_BIN_EXE_core"), "--seconds 0.1");
    let raw = (env!("CARGO_BIN_EXE_floor"), "raw --seconds 0.1");
    for (program, arguments) in [core, raw] {
        let mut child = Command::new(program)
            .args(arguments.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{errors}");
    }
}
