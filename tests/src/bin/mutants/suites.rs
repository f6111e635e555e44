//! The test programs, built with mutants in them, and running one test or seed of them with one mutant.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tidings_wire::mutants::Mutant;

/// Test programs by the names that cargo gives them.
pub(crate) const NAMES: &[&str] = &[
    "epochs",
    "mutations",
    "roundtrip",
    "vectors",
    "props",
    "delivery",
    "tidings_protocol",
    "tidings_wire",
];
/// A test or program of tests that takes longer is ended: some mutants make others wait for ever.
const WITHIN: Duration = Duration::from_secs(120);
/// The same for a seed, which takes about half a second.
const SEED_WITHIN: Duration = Duration::from_secs(10);

/// What came of a run.
pub(crate) struct Ran {
    /// Something did not hold.
    pub(crate) failed: bool,
    /// What, as far as it is told.
    pub(crate) what: String,
    /// The seed, and the virtual time at which it failed in ms.
    pub(crate) seed: Option<(u64, u64)>,
    pub(crate) took: Duration,
}

pub(crate) struct Suites {
    // This program runs seeds. Building the tests may put another in its place, which is as good.
    this: PathBuf,
    programs: BTreeMap<String, PathBuf>,
}

impl Suites {
    /// Builds all.
    pub(crate) fn build() -> Result<Suites, String> {
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let mut build = Command::new(cargo);
        build.args(["test", "--no-run", "--message-format=json", "--lib"]);
        build.args([
            "-p",
            "tidings-wire",
            "-p",
            "tidings-protocol",
            "-p",
            "tidings-tests",
        ]);
        build.args([
            "--no-default-features",
            "--features",
            "tidings-tests/mutants",
        ]);
        let tests = NAMES.iter().filter(|suite| !suite.starts_with("tidings"));
        for test in tests {
            build.args(["--test", test]);
        }
        let output = build.stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| format!("cargo: {error}"))?;
        if !output.status.success() {
            return Err("the tests do not build".to_owned());
        }
        let told = String::from_utf8_lossy(&output.stdout);
        let programs: BTreeMap<String, PathBuf> = told.lines().filter_map(program).collect();
        let missing = NAMES.iter().find(|suite| !programs.contains_key(**suite));
        match missing {
            Some(suite) => Err(format!("cargo built no {suite}")),
            None => Ok(Suites { this, programs }),
        }
    }

    /// Runs one seed of the simulator.
    pub(crate) fn seed(&self, mutant: Option<Mutant>, seed: u64) -> Result<Ran, String> {
        let mut command = Command::new(&self.this);
        command.arg("--seed").arg(seed.to_string());
        let (code, told, took) = ended(command, mutant, SEED_WITHIN)?;
        let (at, what) = told.split_once(' ').unwrap_or(("", &told));
        // A fault that keeps everything from happening is not found by that alone.
        let idle = mutant.is_some() && what.contains("is on and never happened");
        match code {
            0 | 1 => Ok(Ran {
                failed: code == 1 && !idle,
                what: what.trim().to_owned(),
                seed: Some((seed, at.parse().unwrap_or(0))),
                took,
            }),
            _ => Err(format!("exit code {code}: {told}")),
        }
    }

    /// Runs one test.
    pub(crate) fn test(
        &self,
        mutant: Option<Mutant>,
        suite: &str,
        test: &str,
    ) -> Result<Ran, String> {
        let mut command = self.program(suite);
        command.args(["--exact", test]);
        let (code, told, took) = ended(command, mutant, WITHIN)?;
        if !told.contains("running 1 test\n") {
            return Err("there is no such test".to_owned());
        }
        let panicked = told
            .lines()
            .skip_while(|line| !line.contains(" panicked at "));
        let what = panicked
            .skip(1)
            .take_while(|line| !line.starts_with("note: "));
        Ok(Ran {
            failed: code != 0,
            what: what.collect::<Vec<_>>().join(" "),
            seed: None,
            took,
        })
    }

    /// Tests of a program that fail with a mutant.
    pub(crate) fn failing(&self, mutant: Mutant, suite: &str) -> Vec<String> {
        match ended(self.program(suite), Some(mutant), WITHIN) {
            Ok((_, told, _)) => {
                let failed = |line: &str| {
                    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
                    Some(name.to_owned())
                };
                told.lines().filter_map(failed).collect()
            }
            Err(what) => vec![what],
        }
    }

    fn program(&self, suite: &str) -> Command {
        let mut command = Command::new(&self.programs[suite]);
        command.env_remove("RUST_BACKTRACE");
        command
    }
}

/// The name and path of a test program that cargo tells of in a line.
fn program(line: &str) -> Option<(String, PathBuf)> {
    let word = |text: &str| text.split_once('"').map(|(word, _)| word.to_owned());
    let target = line.split_once("\"target\":{")?.1;
    let name = word(target.split_once("\"name\":\"")?.1)?;
    let path = word(line.split_once("\"executable\":\"")?.1)?;
    let is_bin = target.starts_with("\"kind\":[\"bin\"]");
    (!is_bin).then(|| (name, PathBuf::from(path)))
}

/// Runs a command to its end: exit code, what it said, and how long it took.
fn ended(
    mut command: Command,
    mutant: Option<Mutant>,
    within: Duration,
) -> Result<(i32, String, Duration), String> {
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command.env_remove("TIDINGS_MUTANT");
    // What a mutant fails at is no regression to remember.
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
    if let Some(mutant) = mutant {
        command.env("TIDINGS_MUTANT", format!("{mutant:?}"));
    }
    let begin = Instant::now();
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut out = child.stdout.take().ok_or("no output")?;
    let reader = std::thread::spawn(move || {
        let mut told = Vec::new();
        out.read_to_end(&mut told).map(|_| told)
    });
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break Some(status),
            None if begin.elapsed() > within => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let told = reader.join().map_err(|_| "the reader panicked")?;
    let told = told.map_err(|error| error.to_string())?;
    let told = String::from_utf8_lossy(&told).into_owned();
    match status {
        // By a signal: it ended all the same.
        Some(status) => Ok((status.code().unwrap_or(101), told, begin.elapsed())),
        None => Err("it does not end".to_owned()),
    }
}
