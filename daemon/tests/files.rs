//! Configuration, keys and the lock, as a user meets them: what is wrong is told before anything starts.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Node, run, stderr, stdout};

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
