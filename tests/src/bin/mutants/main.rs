//! Shows that the tests find seeded faults: each mutant of `wire/src/mutants.rs` is caught by a test or a seed that passes without it.
//!
//! * `mutants` runs for each mutant what is known to catch it, until something does; fails if nothing does.
//! * `mutants --write` does so, counts the seeds of the simulator that catch each, and writes `docs/mutants.md`.
//! * `mutants --find [NAME...]` runs everything against some mutants, or all, and tells what catches them.
//!
//! `cargo run -p tidings-tests --no-default-features --features mutants --bin mutants`

mod caught;
mod suites;
mod table;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidings_tests::sim::{self, Options};
use tidings_wire::mutants::Mutant;

use caught::{By, CAUGHT};
use suites::{Ran, Suites};

/// Seeds of the simulator that are looked through, each with 16 nodes for half a minute.
const SEEDS: std::ops::Range<u64> = 0..32;
const NODES: usize = 16;
const SECS: u64 = 30;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => Suites::build().and_then(|suites| check(&suites).map(drop)),
        ["--write"] => Suites::build().and_then(|suites| {
            let caught = check(&suites)?;
            table::write(&caught, &count(&suites))
        }),
        ["--find", ref names @ ..] => Suites::build().map(|suites| find(&suites, names)),
        // What this program runs itself, with a mutant or without.
        ["--seed", seed] => return one(seed),
        _ => Err("mutants [--write | --find [NAME...]]".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one seed. The exit code is 0 if all held, 1 if something did not, which is told with its virtual time.
fn one(seed: &str) -> ExitCode {
    let Ok(seed) = seed.parse() else {
        return ExitCode::from(2);
    };
    let options = Options {
        nodes: NODES,
        secs: SECS,
        ..Options::new(seed)
    };
    match sim::run(&options) {
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{} {}", failure.at, failure.what);
            ExitCode::FAILURE
        }
    }
}

/// Runs all, as many at a time as there are cores; results come in the order of the items.
fn all<T: Sync, R: Send>(items: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else {
                        return;
                    };
                    let result = run(item);
                    let mut done = done.lock().expect("no panic while it is held");
                    done.insert(at, result);
                }
            });
        }
    });
    let done = done.into_inner().expect("all threads ended");
    done.into_values().collect()
}

/// A mutant, and what caught it.
struct Catch {
    mutant: Mutant,
    by: By,
    ran: Ran,
}

/// Every mutant is caught, by something that passes without it.
fn check(suites: &Suites) -> Result<Vec<Catch>, String> {
    let caught = all(Mutant::ALL, |mutant| {
        let mut why = Vec::new();
        for (_, by) in CAUGHT.iter().filter(|(of, _)| of == mutant) {
            let ran = match by {
                By::Seeds(count) => caught_by_seed(suites, *mutant, *count),
                By::Test(suite, test) => caught_by_test(suites, *mutant, suite, test),
            };
            match ran {
                Ok(ran) => {
                    println!("{mutant:?}: {by}, {:.1} s", ran.took.as_secs_f64());
                    let (mutant, by) = (*mutant, *by);
                    return Some(Catch { mutant, by, ran });
                }
                Err(what) => why.push(format!("{by}: {what}")),
            }
        }
        println!("{mutant:?} is NOT CAUGHT: {}", why.join("; "));
        None
    });
    let caught: Vec<Catch> = caught.into_iter().flatten().collect();
    println!("{} of {} are caught", caught.len(), Mutant::ALL.len());
    if caught.len() == Mutant::ALL.len() {
        Ok(caught)
    } else {
        Err("the tests do not find every fault".to_owned())
    }
}

fn caught_by_test(suites: &Suites, mutant: Mutant, suite: &str, test: &str) -> Result<Ran, String> {
    let without = suites.test(None, suite, test)?;
    if without.failed {
        return Err(format!("it fails without: {}", without.what));
    }
    let ran = suites.test(Some(mutant), suite, test)?;
    ran.failed.then_some(ran).ok_or("it passes".to_owned())
}

fn caught_by_seed(suites: &Suites, mutant: Mutant, count: u64) -> Result<Ran, String> {
    // A seed that does not end, with or without, shows nothing.
    let failed = |mutant, seed| suites.seed(mutant, seed).ok().filter(|ran| ran.failed);
    let passes = |seed| suites.seed(None, seed).is_ok_and(|ran| !ran.failed);
    let mut caught =
        (0..count).filter_map(|seed| failed(Some(mutant), seed).map(|ran| (seed, ran)));
    let sound = caught.find(|(seed, _)| passes(*seed));
    sound.map(|(_, ran)| ran).ok_or("they pass".to_owned())
}

/// Seeds that pass without a mutant.
fn sound(suites: &Suites) -> Vec<u64> {
    let seeds: Vec<u64> = SEEDS.collect();
    let ran = all(&seeds, |seed| suites.seed(None, *seed));
    let passed = seeds.into_iter().zip(ran);
    let passed = passed.filter(|(_, ran)| ran.as_ref().is_ok_and(|ran| !ran.failed));
    passed.map(|(seed, _)| seed).collect()
}

/// Which seeds catch which mutant, of those that pass without any; and how many of these there are.
fn count(suites: &Suites) -> (usize, BTreeMap<Mutant, Vec<u64>>) {
    let sound = sound(suites);
    let pairs = Mutant::ALL
        .iter()
        .flat_map(|m| sound.iter().map(|s| (*m, *s)));
    let pairs: Vec<(Mutant, u64)> = pairs.collect();
    let caught = all(&pairs, |(mutant, seed)| {
        let ran = suites.seed(Some(*mutant), *seed);
        // One that does not end is caught, too.
        ran.map_or(true, |ran| ran.failed)
    });
    let mut by: BTreeMap<Mutant, Vec<u64>> = BTreeMap::new();
    for ((mutant, seed), _) in pairs.iter().zip(caught).filter(|(_, caught)| *caught) {
        by.entry(*mutant).or_default().push(*seed);
    }
    (sound.len(), by)
}

fn find(suites: &Suites, names: &[&str]) {
    let sound = sound(suites);
    println!("{} seeds pass without a mutant", sound.len());
    let wanted = |mutant: &&Mutant| names.is_empty() || names.contains(&&*format!("{mutant:?}"));
    for mutant in Mutant::ALL.iter().filter(wanted) {
        println!("{mutant:?}");
        let failing = all(suites::NAMES, |suite| suites.failing(*mutant, suite));
        for (suite, failed) in suites::NAMES.iter().zip(failing) {
            failed
                .iter()
                .for_each(|test| println!("    {suite} {test}"));
        }
        let ran = all(&sound, |seed| suites.seed(Some(*mutant), *seed));
        for (seed, ran) in sound.iter().zip(ran) {
            match ran {
                Ok(ran) if ran.failed => println!("    seed {seed}: {}", ran.what),
                Ok(_) => {}
                Err(what) => println!("    seed {seed}: {what}"),
            }
        }
    }
}
