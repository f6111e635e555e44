//! Configuration, keys and the lock, as a user meets them: what is wrong is told before anything starts.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use common::{Node, run, stderr, stdout, within};

#[test]
fn a_wrong_configuration_is_told_with_its_place_and_starts_nothing() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("tidings.toml");
    fs::write(&file, "[node]\nshards = 0\nbindd = \"x\"\n").unwrap();
    let output = run(home.path(), &["run", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(
        text.contains("tidings.toml:2: node.shards = 0: is not in 1 to 16"),
        "{text}"
    );
    assert!(
        text.contains("tidings.toml:3: node.bindd: unknown key"),
        "{text}"
    );
    assert_eq!(text.matches("remedy: ").count(), 2, "{text}");
    assert!(!home.path().join("data").exists(), "nothing was made");
}

#[test]
fn keygen_writes_private_keys_that_validate_takes() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("news.key");
    let output = run(home.path(), &["keygen", key.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let again = run(home.path(), &["keygen", key.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("never overwritten"));

    let file = home.path().join("tidings.toml");
    fs::write(
        &file,
        "[[overlay]]\nname = \"news\"\nkey_file = \"news.key\"\n",
    )
    .unwrap();
    let output = run(home.path(), &["validate", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("is valid"));

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let output = run(
        home.path(),
        &["validate", "--format", "json", file.to_str().unwrap()],
    );
    assert_eq!(output.status.code(), Some(2));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["valid"], false);
    assert!(
        answer["problems"][0]["remedy"]
            .as_str()
            .unwrap()
            .starts_with("chmod 600")
    );
}

#[test]
fn keygen_makes_a_key_of_every_cipher_that_its_help_names() {
    let home = tempfile::tempdir().unwrap();
    let help = stdout(&run(home.path(), &["keygen", "--help"]));
    let file = home.path().join("tidings.toml");
    for suite in [
        "aes-128-gcm",
        "aes-192-gcm",
        "aes-256-gcm",
        "chacha20-poly1305",
    ] {
        assert!(help.contains(&format!("{suite}:")), "{help}");
        let key = home.path().join(suite);
        let made = run(
            home.path(),
            &["keygen", "--suite", suite, key.to_str().unwrap()],
        );
        assert!(made.status.success(), "{}", stderr(&made));
        let text = fs::read_to_string(&key).unwrap();
        assert!(text.contains(&format!("\n0 {suite} primary ")));
        fs::write(
            &file,
            format!("[[overlay]]\nname = \"news\"\nkey_file = \"{suite}\"\n"),
        )
        .unwrap();
        let valid = run(home.path(), &["validate", file.to_str().unwrap()]);
        assert!(valid.status.success(), "{}", stderr(&valid));
    }
}

#[test]
fn a_second_node_in_one_data_directory_names_the_first() {
    let node = Node::start(&["--bind", "127.0.0.1:0"]);
    let socket = node.path().join("other.sock");
    let output = node.run(&[
        "run",
        "--bind",
        "127.0.0.1:0",
        "--socket",
        socket.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains(&format!("pid {}", node.pid())),
        "{}",
        stderr(&output)
    );
}

#[test]
fn without_a_daemon_the_remedy_is_told() {
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &["members", "demo"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("start one with `tidings run`"));
}

#[test]
fn a_socket_in_a_folder_that_others_may_write_is_refused_at_both_ends() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("open");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let socket = folder.join("tidings.sock");
    let socket = socket.to_str().unwrap();
    for (args, code) in [
        (&["run", "--bind", "127.0.0.1:0", "--socket", socket][..], 2),
        (&["stats", "--socket", socket], 1),
    ] {
        let output = run(home.path(), args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains("has mode 0777: others may replace"), "{text}");
        assert!(text.contains("remedy: chmod go-w "), "{text}");
    }
    assert!(!home.path().join("data").exists(), "nothing was made");
}

#[test]
fn a_key_that_cannot_be_written_whole_is_not_there_at_all() {
    let home = tempfile::tempdir().unwrap();
    // As on a disk without room: not one byte may be written to a file.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" keygen a.key";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_tidings")])
        .current_dir(home.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("a.key"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    let again = run(home.path(), &["keygen", "--help"]);
    assert!(again.status.success());
}

#[test]
fn key_files_that_are_cut_or_doubled_start_nothing_and_are_told_with_their_line() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("news.key");
    let made = run(home.path(), &["keygen", key.to_str().unwrap()]);
    assert!(made.status.success(), "{}", stderr(&made));
    let whole = fs::read_to_string(&key).unwrap();
    let record = whole.lines().last().unwrap();
    let wrong = [
        whole[..whole.len() - 9].to_owned(),
        format!("{whole}{record}\n"),
        whole.replace(record, &record.replace(' ', "")),
        whole.replace(record, &format!("{record}00")),
        String::new(),
    ];
    for text in wrong {
        fs::write(&key, &text).unwrap();
        let args = ["run", "--overlay", "news", "--bind", "127.0.0.1:0"];
        let args = [&args[..], &["--key-file", key.to_str().unwrap()]].concat();
        let output = run(home.path(), &args);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text:?}: {told}");
        assert!(told.contains("news.key"), "{text:?}: {told}");
        assert!(!home.path().join("data").exists(), "nothing was made");
    }
}

#[test]
fn of_two_nodes_from_one_copied_directory_the_older_ends_with_code_78() {
    let mut first = Node::start(&["--bind", "127.0.0.1:0", "--name", "first"]);
    let members = first.run(&["members", "demo", "--format", "json"]);
    let members: serde_json::Value = serde_json::from_slice(&members.stdout).unwrap();
    let address = members[0]["address"].as_str().unwrap();
    let home = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .args(["-a", "data"])
        .arg(home.path())
        .current_dir(first.path())
        .status();
    assert!(copied.unwrap().success());
    let join = [
        "--bind",
        "127.0.0.1:0",
        "--name",
        "second",
        "--join",
        address,
    ];
    let second = Node::start_in(home, &join);
    let ended = || first.ended().is_some();
    assert!(within(Duration::from_secs(30), ended), "the older one ends");
    assert_eq!(first.ended().and_then(|end| end.code()), Some(78));
    let members = second.run(&["members", "demo", "--format", "json"]);
    let members: serde_json::Value = serde_json::from_slice(&members.stdout).unwrap();
    assert_eq!(members[0]["name"], "second");
    assert_eq!(members.as_array().unwrap().len(), 1);
}

#[test]
fn a_node_that_cannot_keep_its_generation_does_not_start_and_says_what_to_do() {
    let mut node = Node::start(&["run", "--bind", "127.0.0.1:0"]);
    node.kill();
    let overlays = node.path().join("data/tidings/overlays");
    let overlay = fs::read_dir(&overlays).unwrap().next().unwrap().unwrap();
    // A folder where the file is written aside.
    let aside = overlay.path().join("generation.new");
    fs::create_dir(&aside).unwrap();
    let refused = run(node.path(), &["run", "--bind", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1));
    let told = stderr(&refused);
    let generation = overlay.path().join("generation");
    assert!(
        told.contains("overlay \"demo\": its generation cannot be kept"),
        "{told}"
    );
    assert!(told.contains(generation.to_str().unwrap()), "{told}");
    assert!(told.contains("remedy: make room on the disk"), "{told}");
    fs::remove_dir(aside).unwrap();
    node.restart(&["run", "--bind", "127.0.0.1:0"]);
    assert!(node.run(&["overlays"]).status.success());
}
