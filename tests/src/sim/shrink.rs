//! Makes a failure small: as long as the run still fails, fewer fault classes, less time, fewer nodes, fewer faults.

use super::plan::{Fault, Options, Plan};
use super::run::{Failure, run};

/// Runs at most.
const TRIES: usize = 60;

struct Shrinking {
    best: Failure,
    tries: usize,
}

impl Shrinking {
    // Keeps the change if the run still fails at the same check.
    fn try_with(&mut self, change: impl FnOnce(&mut Options)) -> bool {
        let mut options = self.best.options.clone();
        change(&mut options);
        if self.tries == 0 || options == self.best.options {
            return false;
        }
        self.tries -= 1;
        match run(&options) {
            Err(failure) if place(&failure) == place(&self.best) => {
                self.best = *failure;
                true
            }
            _ => false,
        }
    }

    fn time(&mut self) {
        while self.try_with(|options| options.secs = (options.secs * 2 / 3).max(6)) {}
    }

    fn classes(&mut self) {
        for fault in Fault::ALL {
            if Plan::new(&self.best.options).has(*fault) {
                self.try_with(|options| options.without.push(*fault));
            }
        }
    }

    fn nodes(&mut self) {
        while self.try_with(|options| options.nodes = (options.nodes / 2).max(2)) {}
        self.try_with(|options| options.nodes = (options.nodes - 1).max(2));
    }

    // Leaves out halves, quarters, and so on of the scheduled faults.
    fn schedule(&mut self) {
        let mut size = Plan::new(&self.best.options).steps.len();
        while size > 1 && self.tries > 0 {
            size = size.div_ceil(2);
            let steps = Plan::new(&self.best.options).steps.len();
            for from in (0..steps).step_by(size) {
                self.try_with(|options| {
                    options.skip.extend(from..(from + size).min(steps));
                    options.skip.sort_unstable();
                    options.skip.dedup();
                });
            }
        }
    }
}

// Where in the source it says what is wrong.
fn place(failure: &Failure) -> Option<&str> {
    failure.what.split_whitespace().nth(2)
}

/// The smallest failing run found within a bounded number of tries.
pub fn shrink(failure: Failure) -> Failure {
    let mut shrinking = Shrinking {
        best: failure,
        tries: TRIES,
    };
    shrinking.time();
    shrinking.classes();
    shrinking.nodes();
    shrinking.schedule();
    shrinking.best
}
