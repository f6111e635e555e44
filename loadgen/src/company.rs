//! The other processes of a run: servers, subscribers, those that come and go.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock;
use crate::control::{Finished, Peer};
use crate::error::Error;
use crate::plan::{Place, Plan, Scenario, Side, Task};
use crate::report::Process;
use crate::system::{Services, System};
use crate::tally::Seen;
use crate::usage::Usage;

/// What a subscribing process says at the end.
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) task: Task,
    pub(crate) finished: Finished,
}

/// The other processes, and where this one finds its own way in.
pub(crate) struct Company {
    /// Before the servers: they end first.
    peers: Vec<Peer>,
    services: Box<dyn Services>,
    pub(crate) here: Place,
    /// Of ping-pong: what counts comes to this process.
    pub(crate) answers: Option<Arc<Seen>>,
}

/// What the subscribing processes do, in order.
fn tasks(plan: &Plan) -> Vec<Task> {
    let mut tasks = vec![Task::Steady; plan.subscribers];
    match (plan.scenario, tasks.last_mut()) {
        (Scenario::PingPong, Some(last)) => *last = Task::Echo,
        (Scenario::Slow, Some(last)) => *last = Task::Slow,
        (Scenario::Churn, _) => tasks.extend(vec![Task::Churn; plan.crowd]),
        (Scenario::Storm, _) => tasks.push(Task::Storm),
        _ => {}
    }
    tasks
}

fn name(task: Task, index: usize, all: &[Task]) -> String {
    let number = |before: &[Task]| before.iter().filter(|each| **each == task).count() + 1;
    let several = all.iter().filter(|each| **each == task).count() > 1;
    let name = match task {
        Task::Steady => "subscriber",
        Task::Slow => "slow",
        Task::Echo => "echo",
        Task::Churn => "churner",
        Task::Storm => "storm",
    };
    match several {
        true => format!("{name} {}", number(&all[..index])),
        false => name.to_owned(),
    }
}

impl Company {
    /// Starts the servers, then one subscriber after the other.
    pub(crate) fn gather(system: &dyn System, plan: &Plan, place: &Place) -> Result<Self, Error> {
        let services = system.services(plan, place)?;
        let (mut peers, mut join) = (Vec::new(), None);
        let tasks = tasks(plan);
        for (index, &task) in tasks.iter().enumerate() {
            let mut there = services.place(Side::Subscribing, index);
            there.join = there.join.or(join);
            there.task = task;
            if task == Task::Slow {
                there.pause_ns = plan.slow_us * 1_000;
            }
            let (peer, addr) = Peer::start(name(task, index, &tasks), plan, there)?;
            join = join.or(addr);
            peers.push(peer);
        }
        let mut here = services.place(Side::Publishing, 0);
        here.bind = place.bind;
        here.join = here.join.or(join);
        Ok(Self {
            peers,
            services,
            here,
            answers: None,
        })
    }

    /// Has those come that were not there from the beginning.
    pub(crate) fn go(&mut self) -> Result<(), Error> {
        let is_crowd = |peer: &&mut Peer| matches!(peer.task(), Task::Churn | Task::Storm);
        self.peers
            .iter_mut()
            .filter(is_crowd)
            .try_for_each(Peer::go)
    }

    /// Different messages of all subscribers until now.
    pub(crate) fn count(&mut self) -> Result<u64, Error> {
        if let Some(answers) = &self.answers {
            return Ok(answers.unique.load(Relaxed));
        }
        self.peers.iter_mut().map(Peer::count).sum()
    }

    /// Ends the subscribers, each of which must have got so many messages.
    pub(crate) fn finish(
        &mut self,
        published: u64,
        patience: Duration,
    ) -> Result<Vec<Ended>, Error> {
        let mut all = Vec::new();
        for peer in &mut self.peers {
            all.push(Ended {
                name: peer.name().to_owned(),
                task: peer.task(),
                finished: peer.finish(published, patience)?,
            });
        }
        Ok(all)
    }
}

/// All processes at one moment.
pub(crate) struct Look {
    at: u64,
    /// Different messages of all subscribers.
    pub(crate) unique: u64,
    usages: Vec<(String, Usage)>,
}

impl Look {
    pub(crate) fn take(company: &mut Company) -> Result<Self, Error> {
        let own = match company.answers {
            Some(_) => "caller",
            None => "publisher",
        };
        let mut usages = vec![(own.to_owned(), Usage::own())];
        let (mut at, mut unique) = (clock::now(), 0);
        for peer in &mut company.peers {
            let mark = peer.mark()?;
            at = mark.at;
            unique += mark.unique;
            usages.push((peer.name().to_owned(), mark.usage));
        }
        if let Some(answers) = &company.answers {
            (at, unique) = (clock::now(), answers.unique.load(Relaxed));
        }
        usages.extend(company.services.usages());
        Ok(Self { at, unique, usages })
    }

    /// Seconds since an earlier look.
    pub(crate) fn seconds_since(&self, earlier: &Self) -> f64 {
        (self.at - earlier.at) as f64 / 1e9
    }

    /// What every process used since an earlier look.
    pub(crate) fn processes_since(&self, earlier: &Self) -> Vec<Process> {
        let seconds = self.seconds_since(earlier);
        let pairs = earlier.usages.iter().zip(&self.usages);
        pairs
            .map(|((name, begin), (_, end))| Process::new(name, *begin, *end, seconds))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_named_by_what_they_do() {
        let plan = Plan {
            scenario: Scenario::Churn,
            crowd: 2,
            ..Plan::default()
        };
        let tasks = tasks(&plan);
        let names: Vec<_> = (0..3).map(|at| name(tasks[at], at, &tasks)).collect();
        assert_eq!(names, ["subscriber", "churner 1", "churner 2"]);
    }
}
