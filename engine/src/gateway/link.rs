//! The two rings between a connection and its agent for an overlay on another shard: whole frames either way, no locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tidings_wire::client::frame::frame_size;

use super::limits::{LINK_BYTES, LINK_RECORD};
use super::wake::Wake;
use crate::queue::bell::Flag;
use crate::queue::ring::{Consumer, Producer, ring};

/// Kind of the records: whole frames.
const FRAMES: u32 = 1;

/// Why a link is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ended {
    /// An end is gone: the client's connection, or the overlay.
    Gone = 1,
    /// The client broke the protocol. The agent's last frame is the fatal ERROR that says how.
    Breach = 2,
    /// The client leaves too much unread.
    Overrun = 3,
}

/// What both ends see.
pub(crate) struct Shared {
    pub(crate) home: Arc<Wake>,
    pub(crate) agent: Wake,
    /// Bytes of PUBLISH frames that the agent has done with.
    pub(crate) consumed: AtomicU64,
    /// Messages that the agent delivered and the connection has not counted.
    pub(crate) crossed: AtomicU64,
    /// An [`Ended`] as soon as either end is over, 0 before.
    ended: AtomicU8,
    /// The agent found its ring full and waits for a wake.
    agent_blocked: Flag,
}

/// One end: frames out, frames in.
pub(crate) struct End {
    tx: Producer,
    rx: Consumer,
    pub(crate) shared: Arc<Shared>,
    is_home: bool,
}

/// Makes a link between a connection and its agent, the connection's end first.
pub(crate) fn link(home: Arc<Wake>, agent: Wake) -> (End, End) {
    let shared = Arc::new(Shared {
        home,
        agent,
        consumed: AtomicU64::new(0),
        crossed: AtomicU64::new(0),
        ended: AtomicU8::new(0),
        agent_blocked: Flag::new(false),
    });
    let (out_tx, out_rx) = ring(LINK_BYTES);
    let (back_tx, back_rx) = ring(LINK_BYTES);
    let home = End {
        tx: out_tx,
        rx: back_rx,
        shared: Arc::clone(&shared),
        is_home: true,
    };
    (
        home,
        End {
            tx: back_tx,
            rx: out_rx,
            shared,
            is_home: false,
        },
    )
}

impl Shared {
    /// Ends the link; the first reason stands.
    pub(crate) fn end(&self, why: Ended) {
        let _ = self
            .ended
            .compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        match self.ended.load(Ordering::Acquire) {
            0 => None,
            2 => Some(Ended::Breach),
            3 => Some(Ended::Overrun),
            _ => Some(Ended::Gone),
        }
    }
}

impl End {
    /// Sends one whole frame. `false`: the ring is full.
    pub(crate) fn send(&mut self, frame: &[u8]) -> bool {
        self.tx.push(FRAMES, &[frame])
    }

    /// By the agent: sends as many of the whole frames in `bytes` as fit, and says how many bytes that were.
    pub(crate) fn send_all(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            let run = run_of_frames(&bytes[sent..]);
            if !self.tx.push(FRAMES, &[&bytes[sent..sent + run]]) {
                self.shared.agent_blocked.raise();
                // The other end may have made room before it could see the flag.
                if !self.tx.push(FRAMES, &[&bytes[sent..sent + run]]) {
                    return sent;
                }
            }
            sent += run;
        }
        sent
    }

    /// The next frames from the other end, of which there may be several; `None` if there are none.
    pub(crate) fn peek(&mut self) -> Option<&[u8]> {
        self.rx.peek().map(|(_, bytes)| &*bytes)
    }

    /// Has done with what [`peek`](Self::peek) gave.
    pub(crate) fn advance(&mut self) {
        self.rx.advance();
        self.rx.release();
    }

    /// By the connection, after it made room: an agent that waits for it is woken.
    pub(crate) fn wake_blocked_agent(&self) {
        if self.shared.agent_blocked.take() {
            self.shared.agent.call();
        }
    }
}

/// However an end goes, also with an overlay that went before the agent was seated, the other hears of it.
impl Drop for End {
    fn drop(&mut self) {
        self.shared.end(Ended::Gone);
        match self.is_home {
            true => self.shared.agent.call(),
            false => self.shared.home.call(),
        }
    }
}

/// Bytes of as many whole frames as one record should hold: at least one.
fn run_of_frames(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Ok(Some(size)) = frame_size(&bytes[end..]) {
        if end > 0 && end + size > LINK_RECORD {
            break;
        }
        end += size;
    }
    assert!(end > 0, "whole frames are in the output");
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_wire::client::publish::Close;

    #[test]
    fn runs_end_between_frames() {
        let mut bytes = Vec::new();
        for publisher in 0..20_000 {
            Close { publisher }.encode(&mut bytes);
        }
        let run = run_of_frames(&bytes);
        assert!(run <= LINK_RECORD && run > LINK_RECORD - 12);
        assert_eq!(run % 12, 0);
        assert_eq!(run_of_frames(&bytes[..12]), 12);
    }
}
