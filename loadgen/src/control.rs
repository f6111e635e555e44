//! How the processes of a run talk: lines of JSON over the standard input and output of those that were started.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::crowd::Attended;
use crate::error::{Error, While};
use crate::plan::{Place, Plan, Task};
use crate::tally::Tallied;
use crate::usage::Usage;

/// What the first process asks of the second. Each order has one answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Subscribe.
    Start { plan: Box<Plan>, place: Place },
    /// Have the crowd come.
    Go,
    /// Say how many came.
    Count,
    /// Say how far you are.
    Mark,
    /// So many messages were published: wait for them, then end.
    Finish { published: u64 },
}

/// What the second process answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It subscribed; address of its node, if it has one.
    Ready(Option<SocketAddr>),
    Gone,
    Counted(u64),
    Marked(Mark),
    Finished(Box<Finished>),
    Failed(String),
}

/// How far the subscriber is at one moment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// In ns of [`crate::clock`].
    pub(crate) at: u64,
    /// Different messages received.
    pub(crate) unique: u64,
    pub(crate) usage: Usage,
}

/// The subscriber's last word.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub(crate) tallied: Tallied,
    pub(crate) crowd: Option<Attended>,
    pub(crate) usage: Usage,
    pub(crate) counters: Vec<(String, u64)>,
}

/// How long the second process may take to subscribe: a partial subscription takes 2 s, a daemon up to 30.
const START: Duration = Duration::from_secs(40);
/// ... to say how far it is.
const MARK: Duration = Duration::from_secs(5);
/// ... to end, beside what messages may take.
const FINISH: Duration = Duration::from_secs(30);

/// The second process, as the first one sees it. It dies with this.
pub(crate) struct Peer {
    name: String,
    task: Task,
    child: Child,
    orders: ChildStdin,
    answers: Receiver<Result<Answer, String>>,
}

impl Peer {
    /// Starts it and has it subscribe; answers with its node's address.
    pub(crate) fn start(
        name: String,
        plan: &Plan,
        place: Place,
    ) -> Result<(Self, Option<SocketAddr>), Error> {
        let program = std::env::current_exe().during("find this program")?;
        let mut child = Command::new(program)
            .arg("peer")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .during(&format!("start the {name}"))?;
        let (orders, output) = (child.stdin.take(), child.stdout.take());
        let (Some(orders), Some(output)) = (orders, output) else {
            return Err(Error::Failed(format!("the {name} has no pipes")));
        };
        let (tx, answers) = channel();
        // It ends with the pipe.
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let answer = line.map_err(|error| error.to_string()).and_then(|line| {
                    serde_json::from_str(&line).map_err(|error| error.to_string())
                });
                if tx.send(answer).is_err() {
                    return;
                }
            }
        });
        let mut peer = Self {
            name,
            task: place.task,
            child,
            orders,
            answers,
        };
        let plan = Box::new(plan.clone());
        match peer.ask(&Order::Start { plan, place }, START)? {
            Answer::Ready(addr) => Ok((peer, addr)),
            other => Err(unexpected(&other)),
        }
    }

    /// What the report calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn task(&self) -> Task {
        self.task
    }

    /// Has the crowd come.
    pub(crate) fn go(&mut self) -> Result<(), Error> {
        match self.ask(&Order::Go, MARK)? {
            Answer::Gone => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Different messages received.
    pub(crate) fn count(&mut self) -> Result<u64, Error> {
        match self.ask(&Order::Count, MARK)? {
            Answer::Counted(unique) => Ok(unique),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn mark(&mut self) -> Result<Mark, Error> {
        match self.ask(&Order::Mark, MARK)? {
            Answer::Marked(mark) => Ok(mark),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn finish(&mut self, published: u64, patience: Duration) -> Result<Finished, Error> {
        match self.ask(&Order::Finish { published }, FINISH + patience)? {
            Answer::Finished(finished) => Ok(*finished),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(&mut self, order: &Order, patience: Duration) -> Result<Answer, Error> {
        let line = serde_json::to_string(order).during("write an order")?;
        writeln!(self.orders, "{line}").during(&format!("order the {}", self.name))?;
        match self.answers.recv_timeout(patience) {
            Ok(Ok(Answer::Failed(why))) => Err(Error::Failed(format!("{}: {why}", self.name))),
            Ok(answer) => answer.during(&format!("read the answer of the {}", self.name)),
            Err(RecvTimeoutError::Timeout) => Err(Error::Late("the subscriber answers")),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::Failed(format!("the {} ended", self.name)))
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unexpected(answer: &Answer) -> Error {
    Error::Failed(format!("an answer to another order: {answer:?}"))
}
