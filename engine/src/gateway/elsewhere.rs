//! What a connection deals with on other shards: links to the agents of overlays there, and which of the client's numbers
//! each of them serves. A number that is not here is of the connection's own overlay.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use tidings_wire::client::frame::split;
use tidings_wire::client::{Kind, Reply, Request};

use super::link::{End, Ended};
use super::out::Out;

/// Which link serves which number.
#[derive(Default)]
pub(crate) struct Routes {
    publishers: HashMap<u32, usize>,
    subs: HashMap<u32, usize>,
    watches: HashMap<u32, usize>,
}

/// An overlay on another shard.
struct Link {
    overlay: String,
    end: End,
    /// Bytes of PUBLISH frames that were passed on.
    passed: u64,
}

/// A link that is over: its overlay, why, and the numbers that it served, with the kind of frame that a refusal names.
pub(crate) struct Lost {
    pub(crate) overlay: String,
    pub(crate) why: Ended,
    pub(crate) numbers: Vec<(Kind, u32)>,
}

/// What came over the links.
#[derive(Default)]
pub(crate) struct Came {
    /// Anything at all.
    pub(crate) any: bool,
    /// Messages that the agents delivered.
    pub(crate) messages: u64,
    pub(crate) lost: Vec<Lost>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Elsewhere {
    routes: Routes,
    links: Vec<Option<Link>>,
    /// Bytes of PUBLISH frames that went over links that are over: nobody will give them back.
    spent: u64,
}

impl Routes {
    /// The numbers of the sort that `kind` is about.
    fn of(&mut self, kind: Kind) -> Option<&mut HashMap<u32, usize>> {
        match kind {
            Kind::Open | Kind::Publish | Kind::Closed => Some(&mut self.publishers),
            Kind::Subscribe | Kind::Unsubscribed => Some(&mut self.subs),
            Kind::Watch | Kind::Unwatch => Some(&mut self.watches),
            _ => None,
        }
    }

    fn forget(&mut self, kind: Kind, number: u32, link: usize) {
        if let Some(table) = self.of(kind)
            && table.get(&number) == Some(&link)
        {
            table.remove(&number);
        }
    }

    /// Forgets the numbers that these frames of an agent set free.
    fn forget_answered(&mut self, link: usize, frames: &[u8]) {
        let mut rest = frames;
        while let Ok(Some((raw, size))) = split(rest) {
            rest = &rest[size..];
            let kind = Kind::of(raw.kind);
            if !matches!(kind, Some(Kind::Closed | Kind::Unsubscribed | Kind::Error)) {
                continue;
            }
            match Reply::decode(raw) {
                Ok(Reply::Closed(closed)) => self.forget(Kind::Closed, closed.publisher, link),
                Ok(Reply::Unsubscribed(ended)) => self.forget(Kind::Unsubscribed, ended.sub, link),
                Ok(Reply::Error(refusal)) => {
                    if let Some(kind) = Kind::of(refusal.refused) {
                        self.forget(kind, refusal.number, link);
                    }
                }
                _ => {}
            }
        }
    }

    /// Forgets everything of a link.
    fn drain(&mut self, link: usize) -> Vec<(Kind, u32)> {
        let tables = [
            (Kind::Publish, &mut self.publishers),
            (Kind::Subscribe, &mut self.subs),
            (Kind::Watch, &mut self.watches),
        ];
        let mut numbers = Vec::new();
        for (kind, table) in tables {
            table.retain(|&number, of| {
                if *of == link {
                    numbers.push((kind, number));
                }
                *of != link
            });
        }
        numbers.sort_unstable_by_key(|&(kind, number)| (kind as u8, number));
        numbers
    }
}

impl Elsewhere {
    /// The link that serves a request about something that stands; `None`: the connection's own overlay does.
    pub(crate) fn link_for(&self, request: &Request<'_>) -> Option<usize> {
        let Routes {
            publishers,
            subs,
            watches,
        } = &self.routes;
        match request {
            Request::Publish(publish) => publishers.get(&publish.publisher),
            Request::Close(close) => publishers.get(&close.publisher),
            Request::AskOwed(ask) => publishers.get(&ask.publisher),
            Request::Ack(ack) => subs.get(&ack.sub),
            Request::Unsubscribe(unsubscribe) => subs.get(&unsubscribe.sub),
            Request::Unwatch(unwatch) => watches.get(&unwatch.watch),
            _ => None,
        }
        .copied()
    }

    /// Whether a number is taken on a link, and how many of its sort are.
    pub(crate) fn taken(&mut self, kind: Kind, number: u32) -> (bool, usize) {
        let table = self.routes.of(kind);
        table.map_or((false, 0), |table| {
            (table.contains_key(&number), table.len())
        })
    }

    /// A number begins on a link.
    pub(crate) fn begin(&mut self, kind: Kind, number: u32, link: usize) {
        if let Some(table) = self.routes.of(kind) {
            table.insert(number, link);
        }
    }

    /// The link to an overlay, if there is one that stands.
    pub(crate) fn link_to(&self, overlay: &str) -> Option<usize> {
        self.links.iter().position(|link| {
            link.as_ref()
                .is_some_and(|link| link.overlay == overlay && link.end.shared.ended().is_none())
        })
    }

    pub(crate) fn add(&mut self, overlay: &str, end: End) -> usize {
        let link = Some(Link {
            overlay: overlay.to_owned(),
            end,
            passed: 0,
        });
        match self.links.iter().position(Option::is_none) {
            Some(free) => {
                self.links[free] = link;
                free
            }
            None => {
                self.links.push(link);
                self.links.len() - 1
            }
        }
    }

    /// Passes a frame on. `false`: the link is full.
    pub(crate) fn pass_on(&mut self, link: usize, request: &Request<'_>, frame: &[u8]) -> bool {
        let Some(Some(it)) = self.links.get_mut(link) else {
            return true; // The refusal of what it is about is on its way.
        };
        let sent = it.end.send(frame);
        // Also if it was not: whoever reads the link makes room.
        it.end.shared.agent.call();
        match request {
            Request::Publish(_) if sent => it.passed += frame.len() as u64,
            // Nothing answers it.
            Request::Unwatch(unwatch) if sent => {
                self.routes.forget(Kind::Unwatch, unwatch.watch, link)
            }
            _ => {}
        }
        sent
    }

    /// Takes the frames of the agents while `out` holds less than `limit`.
    pub(crate) fn collect(&mut self, out: &mut Out, limit: usize) -> Came {
        let mut came = Came::default();
        for (at, slot) in self.links.iter_mut().enumerate() {
            let Some(it) = slot else { continue };
            // Looked at before the frames: what was sent before the end is there.
            let ended = it.end.shared.ended();
            let mut some = false;
            came.messages += it.end.shared.crossed.swap(0, Ordering::AcqRel);
            while out.backlog() < limit
                && let Some(frames) = it.end.peek()
            {
                self.routes.forget_answered(at, frames);
                out.append(frames);
                it.end.advance();
                some = true;
            }
            if some {
                it.end.wake_blocked_agent();
                came.any = true;
            }
            if let Some(why) = ended
                && it.end.peek().is_none()
            {
                came.any = true;
                came.lost.push(Lost {
                    overlay: std::mem::take(&mut it.overlay),
                    why,
                    numbers: self.routes.drain(at),
                });
                self.spent += it.passed;
                *slot = None;
            }
        }
        came
    }

    /// Whether an agent holds more for this client than its bounds allow.
    pub(crate) fn is_overrun(&self) -> bool {
        let mut links = self.links.iter().flatten();
        links.any(|link| link.end.shared.ended() == Some(Ended::Overrun))
    }

    /// Bytes of PUBLISH frames that the agents are done with.
    pub(crate) fn consumed(&self) -> u64 {
        let links = self.links.iter().flatten();
        let standing: u64 = links
            .map(|link| link.end.shared.consumed.load(Ordering::Acquire))
            .sum();
        self.spent + standing
    }

    /// Ends all links.
    pub(crate) fn end(&mut self) {
        self.links.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use tidings_wire::client::ErrorCode;
    use tidings_wire::client::publish::{Closed, PublishRun};
    use tidings_wire::client::subscribe::Unsubscribed;

    use super::super::link::link;
    use super::super::wake::Wake;
    use crate::limits::COMMANDS_MAX;
    use crate::shard::door::Door;
    use crate::sys::eventfd::EventFd;
    use crate::wait::ShardParker;

    fn door() -> Arc<Door> {
        let parker = ShardParker::new(EventFd::new().unwrap());
        Arc::new(Door::new(Arc::new(parker)))
    }

    /// A link to an overlay, and the agent's end of it.
    fn linked(elsewhere: &mut Elsewhere, agents_door: &Arc<Door>) -> (usize, End) {
        let wake = |door: Arc<Door>| Wake::new(&[door].into());
        let (home, agent) = link(Arc::new(wake(door())), wake(Arc::clone(agents_door)));
        agent.shared.agent.sits(0, 3);
        (elsewhere.add("there", home), agent)
    }

    fn publish(publisher: u32) -> Vec<u8> {
        let mut frame = Vec::new();
        PublishRun::begin(&mut frame, publisher).push(&mut frame, b"payload");
        frame
    }

    fn request(frame: &[u8]) -> Request<'_> {
        Request::decode(split(frame).unwrap().unwrap().0).unwrap()
    }

    #[test]
    fn a_frame_is_passed_on_once_though_the_shard_takes_no_command() {
        let agents_door = door();
        let mut elsewhere = Elsewhere::default();
        let (at, mut agent) = linked(&mut elsewhere, &agents_door);
        while agents_door.try_send(Box::new(|_| ())) {}
        assert_eq!(agents_door.queued().0, COMMANDS_MAX);
        let frame = publish(1);
        assert!(elsewhere.pass_on(at, &request(&frame), &frame));
        assert_eq!(agent.peek(), Some(frame.as_slice()));
        agent.advance();
        assert_eq!(agent.peek(), None);
        // It is heard of all the same.
        assert!(agents_door.take_session_alarm() && !agents_door.take_session_alarm());
    }

    #[test]
    fn a_link_whose_agent_never_began_is_told_with_its_numbers_and_its_credit_comes_back() {
        let mut elsewhere = Elsewhere::default();
        let (at, agent) = linked(&mut elsewhere, &door());
        elsewhere.begin(Kind::Open, 7, at);
        elsewhere.begin(Kind::Watch, 8, at);
        let frame = publish(7);
        assert!(elsewhere.pass_on(at, &request(&frame), &frame));
        assert_eq!(
            (elsewhere.link_to("there"), elsewhere.consumed()),
            (Some(at), 0)
        );
        drop(agent);
        assert_eq!(elsewhere.link_to("there"), None);
        let came = elsewhere.collect(&mut Out::default(), usize::MAX);
        let lost = &came.lost[0];
        assert_eq!((lost.overlay.as_str(), lost.why), ("there", Ended::Gone));
        assert_eq!(lost.numbers, [(Kind::Publish, 7), (Kind::Watch, 8)]);
        assert_eq!(elsewhere.link_for(&request(&frame)), None);
        assert_eq!(elsewhere.consumed(), frame.len() as u64);
    }

    #[test]
    fn numbers_are_forgotten_when_they_end_or_are_refused() {
        let mut elsewhere = Elsewhere::default();
        let (at, mut agent) = linked(&mut elsewhere, &door());
        for number in 0..3 {
            elsewhere.begin(Kind::Open, number, at);
            elsewhere.begin(Kind::Subscribe, number, at);
            elsewhere.begin(Kind::Watch, number, at);
        }
        let mut out = Out::default();
        Closed { publisher: 0 }.encode(out.frame());
        out.refuse(ErrorCode::TooLarge, Kind::Publish, 1, "too large");
        out.refuse(ErrorCode::BadNumber, Kind::Close, 2, "about what stands");
        Unsubscribed { sub: 0 }.encode(out.frame());
        out.refuse(ErrorCode::BadTopic, Kind::Subscribe, 1, "refused");
        out.refuse(ErrorCode::BadNumber, Kind::Watch, 0, "refused");
        out.take_with(|frames| agent.send_all(frames));
        elsewhere.collect(&mut Out::default(), usize::MAX);
        let mut frame = Vec::new();
        tidings_wire::client::presence::Unwatch { watch: 1 }.encode(&mut frame);
        assert!(elsewhere.pass_on(at, &request(&frame), &frame));
        for (kind, left) in [
            (Kind::Open, 2..3),
            (Kind::Subscribe, 2..3),
            (Kind::Watch, 2..3),
        ] {
            for number in 0..3 {
                let (taken, count) = elsewhere.taken(kind, number);
                assert_eq!(
                    (taken, count),
                    (left.contains(&number), 1),
                    "{kind:?} {number}"
                );
            }
        }
    }

    #[test]
    fn an_agent_that_holds_too_much_ends_the_connection() {
        let mut elsewhere = Elsewhere::default();
        let (_, agent) = linked(&mut elsewhere, &door());
        assert!(!elsewhere.is_overrun());
        agent.shared.end(Ended::Overrun);
        assert!(elsewhere.is_overrun());
    }
}
