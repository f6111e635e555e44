//! Style rules that a program can check, so that no reviewer has to.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace is above")
        .to_path_buf()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            walk(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

fn files(extension: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    let wanted = found
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == extension));
    let read = wanted.filter_map(|path| fs::read_to_string(&path).ok().map(|text| (path, text)));
    read.map(|(path, text)| {
        (
            path.strip_prefix(root())
                .expect("below the root")
                .to_path_buf(),
            text,
        )
    })
    .collect()
}

fn check(what: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{what}:\n{}", offenders.join("\n"));
}

#[test]
fn every_source_file_says_what_it_is() {
    let sources = files("rs").into_iter();
    let silent = sources
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path.display().to_string());
    check("files that do not open with //!", silent.collect());
}

#[test]
fn files_stay_one_noun_long() {
    let long = files("rs")
        .into_iter()
        .filter(|(path, text)| text.lines().count() > 800 && !path.ends_with("tests.rs"));
    check(
        "files of more than 800 lines",
        long.map(|(path, _)| path.display().to_string()).collect(),
    );
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together so that this file does not find itself.
    let marks = [
        ["to", "do!("].concat(),
        ["unimpl", "emented!("].concat(),
        ["FIX", "ME"].concat(),
        ["X", "XX"].concat(),
    ];
    let mut found = Vec::new();
    for (path, text) in files("rs") {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                found.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    check("unfinished work", found);
}

#[test]
fn unsafe_code_lives_where_it_is_expected() {
    let allowed = [
        "engine/src/sys",
        "engine/src/queue",
        "daemon/src/allocator.rs",
        "daemon/src/doctor/sys.rs",
        "tests/src/lab",
        "tests/src/host",
        "tests/src/blackbox",
        "tests/src/scale/heap.rs",
        "bench/src",
        "bench/peers/clients/src/c",
    ];
    let keyword = ["uns", "afe {"].concat();
    let mut found = Vec::new();
    for (path, text) in files("rs") {
        let inside = allowed.iter().any(|dir| path.starts_with(dir));
        // Tests reach for system calls where they must.
        let is_test = path.components().any(|part| part.as_os_str() == "tests")
            && !path.starts_with("tests/src");
        if !inside && !is_test && text.contains(&keyword) {
            found.push(path.display().to_string());
        }
    }
    check(
        "unsafe code outside the socket, queue and view modules",
        found,
    );
}

/// Linux gives no process a wall clock of its own, so no test can step one without stepping everybody's: instead nothing
/// that a node does may read it. Log lines get their stamps from the log's own crate.
#[test]
fn no_node_reads_the_wall_clock() {
    let words = [["System", "Time"].concat(), ["CLOCK_REAL", "TIME"].concat()];
    let node = ["wire/src", "engine", "daemon/src/node", "daemon/src/config"];
    let mut found = Vec::new();
    for (path, text) in files("rs") {
        let inside = node.iter().any(|dir| path.starts_with(dir));
        if inside && words.iter().any(|word| text.contains(word.as_str())) {
            found.push(path.display().to_string());
        }
    }
    check("files of the node that read the wall clock", found);
}

#[test]
fn decisions_are_numbered_without_holes() {
    let mut numbers: Vec<u32> = fs::read_dir(root().join("docs/decisions"))
        .expect("decisions exist")
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .get(..4)
                .and_then(|n| n.parse().ok())
        })
        .collect();
    numbers.sort_unstable();
    assert!(
        numbers.iter().copied().eq(1..=numbers.len() as u32),
        "numbers of docs/decisions: {numbers:?}"
    );
}

#[test]
fn no_file_speaks_of_the_machine_it_was_written_on() {
    let paths = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat()];
    let mut found = Vec::new();
    for extension in ["rs", "md", "toml", "sh"] {
        for (path, text) in files(extension) {
            if paths.iter().any(|p| text.contains(p.as_str())) {
                found.push(path.display().to_string());
            }
        }
    }
    check("paths of a machine", found);
}

/// What stands in the code spans of a text, if it names a test: file and function.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.filter_map(|span| span.split_once(": ")).collect()
}

/// Whether a source has this test and runs it: a function below `#[test]` without `#[ignore]`, or one that a list of
/// properties makes.
fn has_test(text: &str, function: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let listed = format!("{function}: \"");
    let head = format!("fn {function}(");
    lines.iter().enumerate().any(|(at, line)| {
        let above = lines[..at].iter().rev();
        let mut above = above.take_while(|line| line.starts_with('#') || line.starts_with("//"));
        line.starts_with(&listed)
            || line.starts_with(&head)
                && above.clone().any(|line| *line == "#[test]")
                && !above.any(|line| line.starts_with("#[ignore"))
    })
}

#[test]
fn every_check_names_tests_that_are_run() {
    let sources = files("rs");
    let exists = |file: &str, function: &str| {
        let mut named = sources
            .iter()
            .filter(|(path, _)| path.with_extension("").ends_with(file));
        let (Some((_, text)), None) = (named.next(), named.next()) else {
            return false;
        };
        has_test(text, function)
    };
    let table = fs::read_to_string(root().join("docs/checks.md")).expect("the table");
    let mut numbers = Vec::new();
    let mut wrong = Vec::new();
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let Some(number) = cells.first().and_then(|cell| cell.parse::<u32>().ok()) else {
            continue;
        };
        numbers.push(number);
        let [_, _, state, why] = cells[..] else {
            wrong.push(format!("{number}: it has {} cells", cells.len()));
            continue;
        };
        let tests = named_tests(why);
        let missing = tests.iter().filter(|(file, test)| !exists(file, test));
        wrong.extend(missing.map(|(file, test)| format!("{number}: no test {file}: {test}")));
        let said = match state {
            "shown" => !tests.is_empty() && !why.contains("missing: "),
            "in part" => !tests.is_empty() && why.contains("; "),
            "not shown" | "later" => tests.is_empty(),
            _ => false,
        };
        if !said {
            wrong.push(format!("{number}: {state} does not fit {why}"));
        }
    }
    numbers.sort_unstable();
    assert!(
        numbers.iter().copied().eq(1..=95),
        "each check once: {numbers:?}"
    );
    check("checks without their tests", wrong);
}
