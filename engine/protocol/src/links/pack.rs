//! Writing the datagrams of one link: what is owed to the peer, in the order of its urgency, each sealed once.

use std::mem::size_of;
use std::net::SocketAddr;

use tidings_wire::digest::{BulkAck, CtlAck, Head, LinkOpened, PathAck, PathProbe, Writer};
use tidings_wire::limits::MAX_ACK_WORDS;
use tidings_wire::{Class, MIN_DATAGRAM_SIZE, PAIR_HEADER, TAG};
use zerocopy::little_endian::{U32, U64};

use super::handshake::{Local, pack_caps};
use super::link::Link;
use super::path::PROBE_LEN;
use super::session::Session;
use crate::tx::Tx;

/// PAIR datagrams to one peer in one flush; what is left goes in the next.
const PAIR_PER_FLUSH: usize = 64;
/// What header, tag and chunk head add to a chunk, as channels count it.
const CHUNK_OVERHEAD: usize = PAIR_HEADER + TAG + 8;

impl Link {
    /// Plans every datagram that is due.
    pub(crate) fn flush(&mut self, now: u64, local: &Local, tx: &mut Tx) {
        self.ctl.tx.on_timeout(now, &self.known.rtt, None);
        self.bulk
            .tx
            .on_timeout(now, &self.known.rtt, Some(&mut self.congestion));
        self.send_opened(now, local, tx);
        self.send_path(now, local, tx);
        self.send_pair(now, local, tx);
        // Before the initiator was heard it may lack the keys: BULK would overtake OPENED, be dropped and look like
        // congestion.
        if self.sessions.used_ref().confirmed {
            self.send_bulk(now, tx);
        }
    }

    /// OPENED on sessions that are not used yet; on the used one it leads the next datagram.
    fn send_opened(&mut self, now: u64, local: &Local, tx: &mut Tx) {
        let (addr, link) = (self.known.addr, self.known.our_link);
        while let Some((used, session)) = self.sessions.take_opened_due(now) {
            if used {
                self.owes_sign = true;
                continue;
            }
            let opened = opened(local, link, session);
            pair(tx, addr, MIN_DATAGRAM_SIZE, session, |writer| {
                let _fits = writer.put(&opened);
            });
        }
    }

    fn send_path(&mut self, now: u64, local: &Local, tx: &mut Tx) {
        while let Some(echo) = self.path.take_echo() {
            let ack = PathAck {
                no: U32::new(echo.no),
                size: U32::new(echo.size),
                ..Default::default()
            };
            pair(
                tx,
                echo.to,
                MIN_DATAGRAM_SIZE,
                self.sessions.used(),
                |writer| {
                    let _fits = writer.put(&ack);
                },
            );
        }
        let unconfirmed = self.sessions.used_ref().needs_opened();
        while let Some(probe) = self.path.take_probe(now) {
            let size = probe.size.max(MIN_DATAGRAM_SIZE);
            let (to, room) = match probe.to {
                None => (self.known.addr, size),
                Some(other) => (other, probe.size.min(MIN_DATAGRAM_SIZE)),
            };
            let opened_len = usize::from(unconfirmed) * size_of::<LinkOpened>();
            if room < opened_len + PROBE_LEN {
                continue;
            }
            let digest = PathProbe {
                no: U32::new(probe.no),
                size: U32::new(size as u32),
                ..Default::default()
            };
            let opened = opened(local, self.known.our_link, self.sessions.used_ref());
            pair(tx, to, room, self.sessions.used(), |writer| {
                let _fits = (!unconfirmed || writer.put(&opened)) && writer.put(&digest);
                if probe.to.is_none() {
                    let _fits = writer.pad_to(size - PAIR_HEADER - TAG);
                }
            });
        }
    }

    fn send_pair(&mut self, now: u64, local: &Local, tx: &mut Tx) {
        for _ in 0..PAIR_PER_FLUSH {
            if !self.has_pair(now) {
                return;
            }
            self.known.last_used = now;
            self.owes_sign = false;
            self.bucket.take_anyway(now);
            self.note_counter(now, self.sessions.used_ref().keys.pair_tx.next_counter());
            let addr = self.known.addr;
            tx.datagram(addr, Class::Pair, MIN_DATAGRAM_SIZE, |buffer| {
                let body = &mut buffer[PAIR_HEADER..MIN_DATAGRAM_SIZE - TAG];
                let len = self.write_pair(now, local, &mut Writer::new(body));
                seal_pair(self.sessions.used(), buffer, len)
            });
        }
    }

    /// Whether a PAIR datagram should leave now.
    fn has_pair(&mut self, now: u64) -> bool {
        let urgent = self.owes_sign
            || !self.loose.is_empty()
            || self.ctl.rx.ack_due(now)
            || self.bulk.rx.ack_due(now);
        urgent || (self.bucket.level(now) > 0 && self.ctl.tx.next(u64::MAX).is_some())
    }

    fn write_pair(&mut self, now: u64, local: &Local, writer: &mut Writer<'_>) -> usize {
        if self.sessions.used_ref().needs_opened() {
            let _fits = writer.put(&opened(
                local,
                self.known.our_link,
                self.sessions.used_ref(),
            ));
        }
        // Acknowledgements alone must not fill every datagram while a chunk waits.
        let first = std::mem::take(&mut self.chunk_first);
        if first {
            self.put_chunk(now, writer);
        }
        self.put_acks(now, writer);
        self.loose.write_into(writer);
        if !first {
            self.chunk_first = !self.put_chunk(now, writer);
        }
        writer.len()
    }

    /// Every acknowledgement that waits, due or not: the datagram goes anyway.
    fn put_acks(&mut self, now: u64, writer: &mut Writer<'_>) {
        if self.ctl.rx.ack_pending() {
            let mut words = [0; 1];
            self.ctl.rx.bitmap(&mut words);
            let ack = CtlAck {
                head: Head::flagged(if self.ctl.rx.ack_is_late() {
                    CtlAck::LATE
                } else {
                    0
                }),
                floor: U32::new(self.ctl.rx.floor()),
                bits: U64::new(words[0]),
            };
            if writer.put(&ack) {
                self.ctl.rx.acked();
            }
        }
        if self.bulk.rx.ack_pending() {
            let mut words = [0; MAX_ACK_WORDS];
            let used = self.bulk.rx.bitmap(&mut words);
            let delay_us = self.bulk.rx.ack_delay(now) / 1000;
            let ack = BulkAck {
                floor: U32::new(self.bulk.rx.floor()),
                delay_us: U32::new(u32::try_from(delay_us).unwrap_or(u32::MAX)),
                ..Default::default()
            };
            if writer.put_bulk_ack(&ack, &words[..used]) {
                self.bulk.rx.acked();
            }
        }
    }

    // False if a chunk waits that does not fit any more.
    fn put_chunk(&mut self, now: u64, writer: &mut Writer<'_>) -> bool {
        let allowance = (writer.room() + PAIR_HEADER + TAG) as u64;
        let Some(seq) = self.ctl.tx.next(allowance) else {
            return self.ctl.tx.next(u64::MAX).is_none();
        };
        let fits = writer.put_ctl(seq as u32, self.ctl.tx.chunk(seq));
        if fits {
            self.ctl.tx.sent(seq, now, None);
        }
        fits
    }

    fn send_bulk(&mut self, now: u64, tx: &mut Tx) {
        loop {
            let allowance = self.bulk_allowance(now);
            let Some(seq) = self.bulk.tx.next(allowance) else {
                break;
            };
            let session = self.sessions.used();
            let chunk = self.bulk.tx.chunk(seq);
            tx.datagram(
                self.known.addr,
                Class::Bulk,
                chunk.len() + CHUNK_OVERHEAD,
                |buffer| {
                    let end = buffer.len() - TAG;
                    let mut writer = Writer::new(&mut buffer[PAIR_HEADER..end]);
                    let written = writer.put_bulk(seq as u32, chunk);
                    let tx = &mut session.keys.bulk_tx;
                    let sealed =
                        written && tx.seal(session.tx_index, session.tx_steer, buffer).is_ok();
                    if sealed { buffer.len() } else { 0 }
                },
            );
            let bytes = (chunk.len() + CHUNK_OVERHEAD) as u64;
            self.owed_to_bulk = self.owed_to_bulk.saturating_sub(bytes);
            self.bulk.tx.sent(seq, now, Some(&mut self.congestion));
            self.known.last_used = now;
        }
        self.stream_waits = 0;
        if !self.bulk.tx.wants_room() {
            self.owed_to_bulk = 0;
        }
    }
}

/// One PAIR datagram of at most `room` bytes.
fn pair(
    tx: &mut Tx,
    to: SocketAddr,
    room: usize,
    session: &mut Session,
    write: impl FnOnce(&mut Writer<'_>),
) {
    tx.datagram(to, Class::Pair, room, |buffer| {
        let mut writer = Writer::new(&mut buffer[PAIR_HEADER..room - TAG]);
        write(&mut writer);
        let len = writer.len();
        seal_pair(session, buffer, len)
    });
}

/// Seals a body of `len` bytes that lies behind the header's place; 0 if the session is used up.
fn seal_pair(session: &mut Session, buffer: &mut [u8], len: usize) -> usize {
    let end = PAIR_HEADER + len + TAG;
    let tx = &mut session.keys.pair_tx;
    match tx.seal(session.tx_index, session.tx_steer, &mut buffer[..end]) {
        Ok(_) => end,
        Err(_) => 0,
    }
}

fn opened(local: &Local, link: u32, session: &Session) -> LinkOpened {
    LinkOpened {
        rx_index: U32::new(local.index(session.slot)),
        rcvbuf: U32::new(local.rcvbuf),
        steer: local.steer,
        caps: pack_caps(local.caps, link),
        generation: U64::new(local.generation.unwrap_or(0)),
        ..Default::default()
    }
}
