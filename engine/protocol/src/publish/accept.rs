//! Taking messages: route, room, stream, local copies.

use super::*;
use crate::event::{Accepted, PublishError};
use crate::publish::stream::Append;
use crate::receive::{Incoming, Receive};
use crate::tables::Tables;

impl Publish {
    /// Takes a message of an open publisher, which is not too large. Local subscriptions get their copy before this returns.
    #[allow(clippy::too_many_arguments)] // the parts of the core that one message touches
    pub(crate) fn publish(
        &mut self,
        number: u32,
        payload: &[u8],
        tables: &Tables,
        sealing: &mut Sealing<'_>,
        receive: &mut Receive,
        now: u64,
        out: &mut dyn Outlet,
    ) -> Result<Accepted, PublishError> {
        if let Some(mut following) = self.following(number, tables.epoch(), payload.len()) {
            let place = following.put(payload.len());
            let accepted = place.map(|(mut place, accepted)| {
                place.put(payload);
                accepted
            });
            self.enter(following, now);
            if let Some(accepted) = accepted {
                return Ok(accepted);
            }
        }
        self.publish_anew(number, payload, tables, sealing, receive, now, out)
    }

    /// The long way, which every message may go.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn publish_anew(
        &mut self,
        number: u32,
        payload: &[u8],
        tables: &Tables,
        sealing: &mut Sealing<'_>,
        receive: &mut Receive,
        now: u64,
        out: &mut dyn Outlet,
    ) -> Result<Accepted, PublishError> {
        let (seq, route) = self.route(number, tables, sealing, receive)?;
        let owed = route.subs.len() as u32;
        if owed == 0 {
            self.counters.unowed += 1;
        } else if owed == route.local && self.is_settled_for(number) {
            self.publish_locally(
                number,
                seq,
                payload,
                &route,
                sealing.peers,
                receive,
                now,
                out,
            )?;
        } else {
            self.make_sure_of_room(route.stream, payload.len(), sealing.peers, now, out)?;
            self.append(number, seq, payload, &route, now);
            if route.local > 0 {
                let message = Incoming {
                    peer: PeerIx::LOCAL,
                    handle: number,
                    seq,
                    payload,
                };
                let _ = receive.on_message(message, out);
            }
        }
        if let Some(handle) = self.handle_mut(number) {
            handle.next = seq + 1;
        }
        self.counters.accepted += 1;
        self.counters.accepted_bytes += payload.len() as u64;
        Ok(Accepted { seq, owed })
    }

    fn is_settled_for(&self, number: u32) -> bool {
        let out = self.handle(number).and_then(|h| h.out.as_ref());
        out.is_none_or(|out| out.is_empty())
    }

    // Only local subscriptions, and nothing waits: the store is needed only if one of them does not acknowledge at once.
    #[allow(clippy::too_many_arguments)]
    fn publish_locally(
        &mut self,
        number: u32,
        seq: u64,
        payload: &[u8],
        route: &Route,
        peers: &Peers,
        receive: &mut Receive,
        now: u64,
        out: &mut dyn Outlet,
    ) -> Result<(), PublishError> {
        self.make_sure_of_room(route.stream, payload.len(), peers, now, out)?;
        let message = Incoming {
            peer: PeerIx::LOCAL,
            handle: number,
            seq,
            payload,
        };
        let unsettled = receive.on_message(message, out).unwrap_or(route.local);
        if unsettled == 0 {
            if let Some(handle) = self.handle_mut(number) {
                // It would take this number for one that is still owed.
                handle.out = None;
            }
            self.latency.record(0, u64::from(route.local));
            for sub in &route.subs {
                self.counters.delivered += 1;
                let (node, outcome) = (self.node, Outcome::Delivered);
                out.event(Event::Outcome {
                    handle: number,
                    node,
                    sub: sub.sub,
                    from: seq,
                    to: seq + 1,
                    outcome,
                });
            }
            return Ok(());
        }
        self.append(number, seq, payload, route, now);
        Ok(())
    }

    // The publisher's next number and its route, brought up to date.
    fn route(
        &mut self,
        number: u32,
        tables: &Tables,
        sealing: &mut Sealing<'_>,
        receive: &mut Receive,
    ) -> Result<(u64, Arc<Route>), PublishError> {
        let epoch = tables.epoch();
        let handle = self
            .handle(number)
            .filter(|h| h.next != CLOSED)
            .ok_or(PublishError::Closed)?;
        let seq = handle.next;
        if let Some(route) = handle.current_route(epoch) {
            return Ok((seq, route.clone()));
        }
        let subs = tables.index.matches(&handle.topic);
        let route = match self.routes.get(&subs) {
            Some(route) => route.clone(),
            None => self.make_route(subs, sealing),
        };
        if route.local > 0 {
            receive.define(
                PeerIx::LOCAL,
                number,
                seq,
                &self.handle(number).expect("seen above").topic,
            );
        }
        let handle = self.handle_mut(number).expect("seen above");
        // The nodes define the topic anew: subscriptions that are new to it are owed it from here on.
        handle.defined = (u32::MAX, 0);
        handle.route = Some((epoch, route.clone()));
        Ok((seq, route))
    }

    fn make_route(&mut self, subs: Vec<SubRef>, sealing: &mut Sealing<'_>) -> Arc<Route> {
        let mut nodes: Vec<PeerIx> = subs
            .iter()
            .map(|s| s.peer)
            .filter(|p| *p != PeerIx::LOCAL)
            .collect();
        nodes.dedup();
        let local = subs.iter().filter(|s| s.peer == PeerIx::LOCAL).count() as u32;
        let spills = !nodes.is_empty();
        let stream = self.stream_for(nodes, sealing);
        if self.routes.len() >= limits::MAX_STREAMS * 4 {
            self.routes.retain(|_, route| Arc::strong_count(route) > 1);
        }
        self.routes_made += 1;
        let route = Arc::new(Route {
            id: self.routes_made,
            subs: subs.clone(),
            stream,
            local,
        });
        self.spills |= spills
            && self.streams[stream as usize]
                .as_ref()
                .is_some_and(|s| s.is_local());
        self.routes.insert(subs, route.clone());
        route
    }

    fn append(&mut self, number: u32, seq: u64, payload: &[u8], route: &Route, now: u64) {
        let Self {
            handles,
            streams,
            store,
            active,
            counters,
            nodes,
            spilled,
            ..
        } = self;
        let Some(handle) = handles.get_mut(number) else {
            return;
        };
        let stream = streams[route.stream as usize]
            .as_mut()
            .expect("a route's stream exists");
        let owed = route.subs.len() as u32;
        let epoch = (route.stream, stream.define_epoch);
        let define = (handle.defined != epoch && !stream.is_local()).then(|| {
            let known = handle.owed_from(number, &route.subs, nodes);
            (&*handle.topic, known.map_or(seq, |from| from.min(seq)))
        });
        let append = Append {
            handle: number,
            seq,
            define,
            payload,
            owed,
        };
        let (counter, datagrams) = stream
            .append(store, append, now)
            .expect("a checked message fits");
        if stream.is_local() {
            let peers = route.subs.iter().map(|s| s.peer);
            for peer in peers.filter(|p| *p != PeerIx::LOCAL) {
                spilled.entry(peer).or_insert(now);
            }
        }
        counters.sealed += stream.take_sealings();
        handle.defined = epoch;
        let out = handle.out.get_or_insert_default();
        if out.is_empty() {
            active.insert(number);
        }
        out.owe(route.id, &route.subs, seq, now);
        out.push(
            seq,
            DatagramId {
                stream: route.stream,
                counter,
            },
            datagrams,
            owed,
            now,
        );
    }

    fn make_sure_of_room(
        &mut self,
        stream: u32,
        bytes: usize,
        peers: &Peers,
        now: u64,
        out: &mut dyn Outlet,
    ) -> Result<(), PublishError> {
        let (chunks, is_large) = self.streams[stream as usize]
            .as_ref()
            .map_or((1, false), |s| (s.chunks_for(bytes), s.takes_turns(bytes)));
        if self.is_congested(stream, is_large) {
            if !self.refused_on.contains(&(stream, is_large)) {
                self.refused_on.push((stream, is_large));
            }
            self.counters.would_block += 1;
            return Err(PublishError::WouldBlock);
        }
        if self.store.has_room(chunks) || self.give_up_slow(chunks, peers, now, out) {
            return Ok(());
        }
        self.counters.would_block += 1;
        self.blocked = self.blocked.max(chunks);
        Err(PublishError::WouldBlock)
    }

    // Whether a live node has too much unsent. Only other large messages have to wait for large ones.
    fn is_congested(&self, stream: u32, is_large: bool) -> bool {
        let Some(stream) = &self.streams[stream as usize] else {
            return false;
        };
        let mut live = stream.nodes.iter().filter(|n| n.is_live());
        live.any(|node| stream.is_backlogged(node) || is_large && stream.is_crowded())
    }

    /// Whether refused publishers may try again; tells once.
    pub(crate) fn take_writable(&mut self, now: u64) -> bool {
        let mut refused_on = std::mem::take(&mut self.refused_on);
        let waiting = refused_on.len();
        refused_on.retain(|(stream, is_large)| self.is_congested(*stream, *is_large));
        let flows = refused_on.len() < waiting;
        self.refused_on = refused_on;
        // Messages may be given up now that could not before.
        let again = self.evict_at != 0 && now >= self.evict_at;
        let room = self.blocked > 0 && (again || self.store.has_room(self.blocked));
        if room {
            self.blocked = 0;
        }
        flows || room
    }
}
