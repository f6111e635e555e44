//! The manual pages and completions that packages install.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{run, stderr, stdout};
use tidings_skip::skipped;

/// The verbs that `--help` lists.
fn verbs(home: &Path) -> Vec<String> {
    let help = stdout(&run(home, &["--help"]));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    // What is said of a verb may go on in a further line, which begins further in.
    let listed = listed.filter(|line| !line.starts_with("   "));
    let words = listed.filter_map(|line| line.split_whitespace().next());
    let verbs: Vec<_> = words
        .filter(|word| *word != "help")
        .map(str::to_owned)
        .collect();
    assert!(verbs.len() > 10, "{help}");
    verbs
}

#[test]
fn every_verb_has_a_page() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("a/man1");
    let output = run(home.path(), &["man", dir.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    assert!(read("tidings.1").contains("\n.TH tidings 1"));
    let verbs = verbs(home.path());
    for verb in &verbs {
        let page = read(&format!("tidings-{verb}.1"));
        assert!(page.contains(&format!("\n.TH tidings-{verb} 1")), "{page}");
        assert!(page.contains(".SH OPTIONS"), "{verb}");
    }
    // Those with verbs of their own have a page for each of them besides.
    let written = fs::read_dir(&dir).unwrap();
    let names: Vec<String> = written
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let of_verb = |name: &&String| {
        let named = |verb: &String| name.starts_with(&format!("tidings-{verb}"));
        verbs.iter().any(named)
    };
    assert_eq!(
        names.iter().filter(of_verb).count(),
        names.len() - 1,
        "{names:?}"
    );
    assert!(names.contains(&"tidings-config-show.1".to_owned()));
}

#[test]
fn pages_that_cannot_be_written_are_told_with_the_folder_and_a_remedy() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    let output = run(home.path(), &["man", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains(file.to_str().unwrap()) && told.contains("remedy: "),
        "{told}"
    );
}

/// What a shell says of the script when it reads it without running it; `None` if that shell is not here.
fn parsed(shell: &str, script: &Path) -> Option<bool> {
    let status = Command::new(shell)
        .arg("-n")
        .arg(script)
        .stdin(Stdio::null())
        .status();
    match status {
        Ok(status) => Some(status.success()),
        Err(_) => {
            skipped(
                shell,
                &format!("there is no {shell} here to read the completions"),
            );
            None
        }
    }
}

#[test]
fn completions_are_scripts_of_their_shells_that_know_every_verb() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(home.path(), &["completions", shell]);
        assert!(output.status.success(), "{}", stderr(&output));
        let script = home.path().join(shell);
        fs::write(&script, &output.stdout).unwrap();
        assert_ne!(parsed(shell, &script), Some(false), "{shell}");
        for verb in verbs(home.path()) {
            assert!(stdout(&output).contains(&verb), "{verb} for {shell}");
        }
    }
}

#[test]
fn bash_completes_the_beginning_of_a_verb() {
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("tidings");
    fs::write(&script, run(home.path(), &["completions", "bash"]).stdout).unwrap();
    let typed = ". \"$0\"; COMP_WORDS=(tidings do); COMP_CWORD=1; _tidings tidings do tidings; echo \"${COMPREPLY[@]}\"";
    let bash = Command::new("bash")
        .args(["-c", typed])
        .arg(&script)
        .output();
    let Ok(output) = bash else {
        skipped("bash", "there is no bash here");
        return;
    };
    assert_eq!(stdout(&output).trim(), "doctor", "{}", stderr(&output));
}
