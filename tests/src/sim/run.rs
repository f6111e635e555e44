//! One run of one seed, from its options to what came of it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use super::S;
use super::plan::{Options, Plan};
use super::report::Coverage;
use super::world::World;

/// A run in which everything held.
#[derive(Clone, Debug)]
pub struct Report {
    /// Hash of every datagram, delivery and outcome, with their times.
    pub trace: u64,
    /// Virtual nanoseconds.
    pub took: u64,
    /// What happened.
    pub coverage: Coverage,
}

/// A run in which something did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How to run it again.
    pub options: Options,
    /// What did not hold, and where in the source that is said.
    pub what: String,
    /// The virtual time in milliseconds.
    pub at: u64,
    /// The scheduled faults with their numbers, as far as they had begun.
    pub schedule: Vec<String>,
    /// Classes of faults that were on.
    pub faults: Vec<&'static str>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ms: {}", self.at, self.what)?;
        writeln!(f, "faults: {}", self.faults.join(", "))?;
        self.schedule
            .iter()
            .try_for_each(|step| writeln!(f, "{step}"))
    }
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<String> = const { RefCell::new(String::new()) };
}

// While a run is under way on this thread its panics are kept, not printed.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CATCHING.get() {
                CAUGHT.set(info.to_string());
            } else {
                print(info);
            }
        }));
    });
}

/// Runs `act`; what it panics with is the error.
pub(crate) fn caught<R>(act: impl FnOnce() -> R) -> Result<R, String> {
    listen();
    CATCHING.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(act));
    CATCHING.set(false);
    result.map_err(|_| CAUGHT.take().replace('\n', " "))
}

/// Runs a seed.
pub fn run(options: &Options) -> Result<Report, Box<Failure>> {
    let mut world = World::new(Plan::new(options));
    let result = caught(|| {
        world.run_until(S + world.plan.stormy());
        world.heal();
        let passed = world.net.passed;
        world.coverage.suffices(passed);
    });
    match result {
        Ok(()) => Ok(Report {
            trace: world.net.trace,
            took: world.net.now - S,
            coverage: world.coverage,
        }),
        Err(what) => Err(Box::new(failure(&world, what))),
    }
}

fn failure(world: &World, what: String) -> Failure {
    let at = world.clock();
    let plan = &world.plan;
    let steps = plan.steps.iter().enumerate();
    let begun = steps.filter(|(no, step)| {
        !plan.options.skip.contains(no)
            && step.at <= at * 1_000_000
            && !plan.options.without.contains(&step.fault)
    });
    Failure {
        options: plan.options.clone(),
        what,
        at,
        schedule: begun
            .map(|(no, step)| format!("  {no:>3} {step}"))
            .collect(),
        faults: plan.faults().map(|fault| fault.name()).collect(),
    }
}
