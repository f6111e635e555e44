//! The books of one connection: what a frame from the daemon changes in them, before anybody is told of it.

use std::collections::{BTreeMap, VecDeque};

use tidings_wire::client::auth::Refusal;
use tidings_wire::client::publish::CONNECTION;
use tidings_wire::client::{ErrorCode, Kind, Reply};

use crate::event::{Attached, Event};
use crate::publisher::PublisherState;
use crate::subscription::SubscriptionState;

/// A refusal that waits for whoever asked.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) code: ErrorCode,
    pub(crate) text: String,
}

/// What a client keeps across connections, and the credit of this one.
pub(crate) struct Books {
    pub(crate) attached: Attached,
    pub(crate) session_epoch: u64,
    /// Bytes of PUBLISH frames that may be sent on this connection, and those that were.
    pub(crate) credit: u64,
    pub(crate) sent: u64,
    pub(crate) publishers: Vec<Option<PublisherState>>,
    pub(crate) subscriptions: Vec<Option<SubscriptionState>>,
    pub(crate) watches: BTreeMap<u32, String>,
    pub(crate) next_number: u32,
    /// The request that somebody waits for, by kind and number, and its answer.
    pub(crate) waiting: Option<(Kind, u32)>,
    pub(crate) answer: Option<Result<String, Refused>>,
    /// Refusals that nobody waited for.
    pub(crate) refusals: VecDeque<Refused>,
    /// Set by a fatal refusal.
    pub(crate) fatal: Option<Refused>,
    /// Frames of this connection that were scanned and taken, and events that are only scanned.
    scanned: u64,
    taken: u64,
    untaken_events: u64,
    /// What is over although events that came before wait to be taken, and the frame that said so. Its number stays taken until then:
    /// they would pass for those of whoever has it next.
    ended: VecDeque<(u64, Ended)>,
}

/// A number of a publisher or of a subscription.
#[derive(Clone, Copy)]
enum Ended {
    Publisher(u32),
    Subscription(u32),
}

impl Books {
    pub(crate) fn new(attached: Attached, session_epoch: u64, credit: u64) -> Self {
        Self {
            attached,
            session_epoch,
            credit,
            sent: 0,
            publishers: Vec::new(),
            subscriptions: Vec::new(),
            watches: BTreeMap::new(),
            next_number: 0,
            waiting: None,
            answer: None,
            refusals: VecDeque::new(),
            fatal: None,
            scanned: 0,
            taken: 0,
            untaken_events: 0,
            ended: VecDeque::new(),
        }
    }

    pub(crate) fn publisher(&mut self, number: u32) -> Option<&mut PublisherState> {
        let state = self.publishers.get_mut(number as usize)?.as_mut()?;
        (!state.ended).then_some(state)
    }

    pub(crate) fn subscription(&mut self, number: u32) -> Option<&mut SubscriptionState> {
        let state = self.subscriptions.get_mut(number as usize)?.as_mut()?;
        (!state.ended).then_some(state)
    }

    /// A frame was scanned.
    pub(crate) fn scanned(&mut self, is_event: bool) {
        self.scanned += 1;
        self.untaken_events += u64::from(is_event);
    }

    /// The next of the scanned frames was taken.
    pub(crate) fn taken(&mut self, is_event: bool) {
        self.taken += 1;
        self.untaken_events -= u64::from(is_event);
        while let Some((_, ended)) = self.ended.pop_front_if(|(at, _)| *at <= self.taken) {
            self.free(ended);
        }
    }

    /// Whether there are events that were not taken.
    pub(crate) fn has_untaken_events(&self) -> bool {
        self.untaken_events > 0
    }

    /// The connection is lost, with whatever was not taken.
    pub(crate) fn lost(&mut self) {
        (self.scanned, self.taken, self.untaken_events) = (0, 0, 0);
        while let Some((_, ended)) = self.ended.pop_front() {
            self.free(ended);
        }
    }

    fn end(&mut self, ended: Ended) {
        if self.untaken_events == 0 {
            self.free(ended);
            return;
        }
        let was = match ended {
            Ended::Publisher(number) => self.publisher(number).map(|state| &mut state.ended),
            Ended::Subscription(number) => self.subscription(number).map(|state| &mut state.ended),
        };
        if let Some(was) = was {
            *was = true;
            self.ended.push_back((self.scanned, ended));
        }
    }

    fn free(&mut self, ended: Ended) {
        match ended {
            Ended::Publisher(number) => clear(&mut self.publishers, number),
            Ended::Subscription(number) => clear(&mut self.subscriptions, number),
        }
    }

    /// A refusal that nobody waited for, as an event.
    pub(crate) fn take_refusal(&mut self) -> Option<Event<'static>> {
        self.refusals.pop_front().map(|refused| Event::Refused {
            code: refused.code,
            text: refused.text,
        })
    }

    fn answered(&mut self, kind: Kind, number: u32, answer: Result<String, Refused>) {
        if self.waiting == Some((kind, number)) {
            self.answer = Some(answer);
        }
    }

    /// Enters a frame.
    pub(crate) fn apply(&mut self, reply: &Reply<'_>) {
        match reply {
            Reply::Deliver(_) | Reply::Gap(_) | Reply::Presence(_) | Reply::Unknown(_) => {}
            Reply::Challenge(_) | Reply::Welcome(_) => {}
            Reply::Credit(credit) if credit.publisher == CONNECTION => {
                self.credit = self.credit.max(credit.credit);
            }
            Reply::Credit(credit) => {
                if let Some(publisher) = self.publisher(credit.publisher) {
                    publisher.credit = publisher.credit.max(credit.credit);
                }
            }
            Reply::Accepted(accepted) => {
                if let Some(publisher) = self.publisher(accepted.publisher) {
                    publisher.accepted += u64::from(accepted.count);
                    publisher.outcomes_owed += u64::from(accepted.count) * u64::from(accepted.owed);
                }
            }
            Reply::Outcome(outcome) => {
                if let Some(publisher) = self.publisher(outcome.publisher) {
                    publisher.outcomes += u64::from(outcome.count);
                }
            }
            Reply::Opened(opened) => {
                if let Some(publisher) = self.publisher(opened.publisher) {
                    publisher.opened(opened);
                }
                self.answered(Kind::Open, opened.publisher, Ok(String::new()));
            }
            Reply::Owed(owed) => {
                if let Some(publisher) = self.publisher(owed.publisher) {
                    publisher.owed = owed.owed;
                }
                self.answered(Kind::AskOwed, owed.publisher, Ok(String::new()));
            }
            Reply::Closed(closed) => {
                self.end(Ended::Publisher(closed.publisher));
                self.answered(Kind::Close, closed.publisher, Ok(String::new()));
            }
            Reply::Subscribed(subscribed) => {
                if let Some(subscription) = self.subscription(subscribed.sub) {
                    subscription.stands = true;
                }
                self.answered(Kind::Subscribe, subscribed.sub, Ok(String::new()));
            }
            Reply::Unsubscribed(unsubscribed) => {
                self.end(Ended::Subscription(unsubscribed.sub));
                self.answered(Kind::Unsubscribe, unsubscribed.sub, Ok(String::new()));
            }
            Reply::Answer(answer) => {
                self.answered(Kind::Query, answer.request, Ok(answer.json.to_owned()));
                self.answered(Kind::Leave, answer.request, Ok(answer.json.to_owned()));
            }
            Reply::Error(refusal) => self.refused(refusal),
        }
    }

    fn refused(&mut self, refusal: &Refusal<'_>) {
        let refused = Refused {
            code: refusal.code,
            text: refusal.text.to_owned(),
        };
        if refusal.fatal {
            self.fatal = Some(refused);
            return;
        }
        let kind = Kind::of(refusal.refused);
        match kind {
            Some(Kind::Open | Kind::Publish) => self.end(Ended::Publisher(refusal.number)),
            Some(Kind::Subscribe) => self.end(Ended::Subscription(refusal.number)),
            Some(Kind::Watch) => drop(self.watches.remove(&refusal.number)),
            _ => {}
        }
        match kind {
            Some(kind) if self.waiting == Some((kind, refusal.number)) => {
                self.answer = Some(Err(refused))
            }
            _ if self.refusals.len() < REFUSALS => self.refusals.push_back(refused),
            _ => {}
        }
    }
}

/// Refusals that are kept for whoever takes events; a client that makes more mistakes than that between two events has
/// no use for the rest.
const REFUSALS: usize = 1024;

fn clear<T>(slots: &mut [Option<T>], number: u32) {
    if let Some(slot) = slots.get_mut(number as usize) {
        *slot = None;
    }
}
