//! Where the peer is and how large a datagram gets there: a new source address must echo before it is believed, and a
//! larger size must be acknowledged before it is used (RFC 8899, PLPMTUD).

use std::mem::size_of;
use std::net::SocketAddr;

use tidings_wire::digest::PathProbe;
use tidings_wire::{PAIR_HEADER, TAG};

use crate::limits;

/// Datagram sizes to try, smallest first: Ethernet with the overhead of a tunnel, Ethernet, jumbo frames, loopback. Records are
/// padded to 8 bytes, so sizes are multiples of it: 1,448 is the last below 1500 - 40 - 8, and 8,952 = 9000 - 40 - 8.
const SIZES: [usize; 4] = [1400, 1448, 8952, limits::DATAGRAM_MAX];
/// An unanswered size is tried this often before it is held too large.
const SIZE_TRIES: u32 = 3;
/// The first probe for a size waits until both ends have the session.
const SIZE_FIRST_NS: u64 = 20_000_000;
/// Between two probes for a size.
const SIZE_PROBE_NS: u64 = 1_000_000_000;
/// A size held too large is tried again after this: routes change (RFC 8899 PMTU_RAISE_TIMER).
const SIZE_RAISE_NS: u64 = 600_000_000_000;
/// Between two probes of a new address.
const ADDR_PROBE_NS: u64 = 200_000_000;
/// Bytes of a datagram with a probe and nothing else.
pub(crate) const PROBE_LEN: usize = PAIR_HEADER + size_of::<PathProbe>() + TAG;
/// An address is left only if nothing came from it for this long: one who forwards faster than the peer's own route
/// moves nothing.
const HOME_SILENT_NS: u64 = 500_000_000;
/// Echoes owed at most; more of them are dropped.
const ECHOES_MAX: usize = 4;

/// An echo that we owe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Echo {
    pub(crate) to: SocketAddr,
    pub(crate) no: u32,
    pub(crate) size: u32,
}

/// A probe to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Probe {
    /// Another address than the link's, or None for the link's.
    pub(crate) to: Option<SocketAddr>,
    pub(crate) no: u32,
    /// The size under test; for another address the most that may go there.
    pub(crate) size: usize,
}

/// What a probe was answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Nothing that was asked for.
    Nothing,
    /// The peer is at this address now.
    Moved(SocketAddr),
    /// Datagrams of this size arrive.
    Carries(usize),
}

struct Candidate {
    addr: SocketAddr,
    // Of the datagram that came from there: no more goes there before an echo.
    len: usize,
    no: u32,
    sent_at: Option<u64>,
}

/// The path of one link.
pub(crate) struct Path {
    next_no: u32,
    home_heard_at: u64,
    candidate: Option<Candidate>,
    echoes: Vec<Echo>,
    least: usize,
    limit: usize,
    /// Index into `SIZES` of the size under test.
    size: usize,
    size_no: u32,
    tries: u32,
    size_at: u64,
    /// A size was found too large, or there is none to try.
    is_settled: bool,
}

impl Path {
    /// A path taken to carry `least` bytes; sizes up to `limit` will be tried from `now` on.
    pub(crate) fn new(now: u64, least: usize, limit: usize) -> Self {
        Self {
            next_no: 1,
            home_heard_at: now,
            candidate: None,
            echoes: Vec::new(),
            least,
            limit,
            size: first_above(least),
            size_no: 0,
            tries: 0,
            size_at: now + SIZE_FIRST_NS,
            is_settled: false,
        }
    }

    /// A path known to carry `carries` bytes: larger sizes will be tried as late as on one where they were just refused.
    pub(crate) fn known(now: u64, least: usize, limit: usize, carries: usize) -> Self {
        Self {
            size: first_above(carries.max(least)),
            size_at: now + SIZE_RAISE_NS,
            is_settled: true,
            ..Self::new(now, least, limit)
        }
    }

    /// Whether nothing is under way or owed, and no probe due soon.
    pub(crate) fn rests(&self, now: u64) -> bool {
        let probes = self.next_size().is_some() && self.size_at < now + SIZE_PROBE_NS;
        self.candidate.is_none() && self.echoes.is_empty() && !probes
    }

    /// Whether it has shown what it carries: no larger size will be found soon.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled || self.next_size().is_none()
    }

    /// This host sends nothing of so many bytes there.
    pub(crate) fn on_refused(&mut self, now: u64, bytes: usize) {
        if self.size_no != 0 && self.next_size().is_some_and(|size| bytes >= size) {
            self.rest(now);
        }
    }

    /// What the path carries at least.
    pub(crate) fn least(&self) -> usize {
        self.least
    }

    /// A valid datagram of `len` bytes came from `from`, where `home` is the link's address.
    pub(crate) fn heard(&mut self, now: u64, from: SocketAddr, len: usize, home: SocketAddr) {
        if from == home {
            self.home_heard_at = now;
        } else if len >= PROBE_LEN
            && self
                .candidate
                .as_ref()
                .is_none_or(|candidate| candidate.addr != from && !candidate.is_busy(now))
        {
            let no = self.number();
            self.candidate = Some(Candidate {
                addr: from,
                len,
                no,
                sent_at: None,
            });
        }
    }

    /// The peer asked for an echo.
    pub(crate) fn on_probe(&mut self, echo: Echo) {
        if self.echoes.len() < ECHOES_MAX {
            self.echoes.push(echo);
        }
    }

    /// The next echo owed.
    pub(crate) fn take_echo(&mut self) -> Option<Echo> {
        self.echoes.pop()
    }

    /// The next probe due.
    pub(crate) fn take_probe(&mut self, now: u64) -> Option<Probe> {
        if let Some(candidate) = &mut self.candidate {
            if candidate.sent_at.is_none() {
                candidate.sent_at = Some(now);
                return Some(Probe {
                    to: Some(candidate.addr),
                    no: candidate.no,
                    size: candidate.len,
                });
            }
            if !candidate.is_busy(now) {
                self.candidate = None;
            }
        }
        self.take_size_probe(now)
    }

    /// The peer echoed probe `no`, from `from`.
    pub(crate) fn on_echo(&mut self, now: u64, no: u32, from: SocketAddr) -> Verdict {
        if let Some(candidate) = &self.candidate
            && candidate.no == no
            && candidate.addr == from
            && candidate.sent_at.is_some()
        {
            let silent = now >= self.home_heard_at + HOME_SILENT_NS;
            self.candidate = None;
            if silent {
                self.home_heard_at = now;
                return Verdict::Moved(from);
            }
            return Verdict::Nothing;
        }
        if no != 0 && no == self.size_no {
            let size = SIZES[self.size];
            self.size_no = 0;
            self.size += 1;
            self.tries = 0;
            self.size_at = now;
            return Verdict::Carries(size);
        }
        Verdict::Nothing
    }

    /// The path is another, or turned out to swallow what it used to carry: begin again from the least.
    pub(crate) fn restart(&mut self, now: u64) {
        self.size = first_above(self.least);
        self.rest(now);
    }

    /// Another bound of the sizes to try: at once, from what the path is known to carry on.
    pub(crate) fn set_limit(&mut self, now: u64, limit: usize, carried: usize) {
        self.limit = limit;
        self.size = first_above(carried);
        (self.size_no, self.tries, self.size_at) = (0, 0, now);
        self.is_settled = false;
    }

    // The size under test is held too large for some time.
    fn rest(&mut self, now: u64) {
        self.size_no = 0;
        self.tries = 0;
        self.size_at = now + SIZE_RAISE_NS;
        self.is_settled = true;
    }

    /// When `take_probe` has something.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let candidate = self
            .candidate
            .as_ref()
            .map(|candidate| match candidate.sent_at {
                None => 0,
                Some(at) => at + ADDR_PROBE_NS,
            });
        let size = self.next_size().map(|_| self.size_at);
        match (candidate, size) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn next_size(&self) -> Option<usize> {
        SIZES
            .get(self.size)
            .copied()
            .filter(|size| *size <= self.limit)
    }

    fn take_size_probe(&mut self, now: u64) -> Option<Probe> {
        let size = self.next_size()?;
        if now < self.size_at {
            return None;
        }
        if self.tries >= SIZE_TRIES {
            self.rest(now);
            return None;
        }
        self.tries += 1;
        self.size_no = self.number();
        self.size_at = now + SIZE_PROBE_NS;
        Some(Probe {
            to: None,
            no: self.size_no,
            size,
        })
    }

    fn number(&mut self) -> u32 {
        let no = self.next_no;
        self.next_no = self.next_no.wrapping_add(1).max(1);
        no
    }
}

/// What a path that carries `carried` bytes is used for under a bound: a size to try, or 0.
pub(crate) fn at_most(carried: usize, limit: usize) -> usize {
    match carried <= limit {
        true => carried,
        false => SIZES[..first_above(limit)].last().copied().unwrap_or(0),
    }
}

/// Index of the smallest size to try that is above `size`.
fn first_above(size: usize) -> usize {
    SIZES.partition_point(|larger| *larger <= size)
}

impl Candidate {
    /// Whether its probe may still be answered.
    fn is_busy(&self, now: u64) -> bool {
        self.sent_at.is_none_or(|at| now < at + ADDR_PROBE_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn a_new_address_is_believed_only_after_its_echo_and_when_the_old_one_is_silent() {
        let mut path = Path::new(0, 1200, 1200);
        path.heard(0, addr(2), PROBE_LEN, addr(1));
        let probe = path.take_probe(0).unwrap();
        assert_eq!(probe.to, Some(addr(2)));
        assert_eq!(path.take_probe(1), None);
        assert_eq!(path.on_echo(10, probe.no, addr(3)), Verdict::Nothing);
        assert_eq!(path.on_echo(10, probe.no + 7, addr(2)), Verdict::Nothing);
        assert_eq!(path.on_echo(10, probe.no, addr(2)), Verdict::Nothing);
        let later = HOME_SILENT_NS;
        path.heard(later, addr(2), PROBE_LEN, addr(1));
        let probe = path.take_probe(later).unwrap();
        assert_eq!(
            path.on_echo(later, probe.no, addr(2)),
            Verdict::Moved(addr(2))
        );
        assert_eq!(path.on_echo(later, probe.no, addr(2)), Verdict::Nothing);
    }

    #[test]
    fn a_datagram_shorter_than_a_probe_is_not_answered_with_one() {
        let mut path = Path::new(0, 1200, 1200);
        path.heard(0, addr(2), PROBE_LEN - 1, addr(1));
        assert_eq!(path.take_probe(0), None);
        path.heard(1, addr(2), PROBE_LEN + 7, addr(1));
        assert_eq!(path.take_probe(1).unwrap().size, PROBE_LEN + 7);
    }

    #[test]
    fn sizes_are_raised_step_by_step_up_to_the_limit() {
        let mut path = Path::new(0, 1200, 1500);
        let mut now = SIZE_PROBE_NS;
        for size in [1400, 1448] {
            let probe = path.take_probe(now).unwrap();
            assert_eq!(probe.size, size);
            assert_eq!(path.take_probe(now), None);
            assert_eq!(path.on_echo(now, probe.no, addr(1)), Verdict::Carries(size));
            now += 1;
        }
        assert_eq!(path.take_probe(now + SIZE_RAISE_NS), None);
        assert_eq!(path.deadline(), None);
    }

    #[test]
    fn a_size_that_this_host_refuses_is_not_tried_again_soon() {
        let mut path = Path::new(0, 1200, 9000);
        let mut now = SIZE_PROBE_NS;
        for size in [1400, 1448] {
            let probe = path.take_probe(now).unwrap();
            path.on_refused(now, size - 8);
            assert_eq!(path.on_echo(now, probe.no, addr(1)), Verdict::Carries(size));
            now += 1;
        }
        path.on_refused(now, 8952);
        assert!(!path.is_settled(), "nothing of that size was sent");
        assert_eq!(path.take_probe(now).unwrap().size, 8952);
        path.on_refused(now, 8952);
        assert!(path.is_settled());
        assert_eq!(path.take_probe(now + SIZE_PROBE_NS), None);
        assert_eq!(path.deadline(), Some(now + SIZE_RAISE_NS));
        assert_eq!(path.take_probe(now + SIZE_RAISE_NS).unwrap().size, 8952);
    }

    #[test]
    fn another_limit_is_tried_at_once_from_what_is_known_to_pass() {
        let mut path = Path::new(0, 1200, 1200);
        assert_eq!(path.take_probe(SIZE_PROBE_NS), None);
        path.set_limit(SIZE_PROBE_NS, 1448, 1200);
        let probe = path.take_probe(SIZE_PROBE_NS).unwrap();
        assert_eq!(probe.size, 1400);
        path.set_limit(SIZE_PROBE_NS, 1200, 1200);
        let late = path.on_echo(SIZE_PROBE_NS, probe.no, addr(1));
        assert_eq!(late, Verdict::Nothing, "nobody asks for that any more");
        assert_eq!(path.take_probe(SIZE_PROBE_NS), None);
        assert_eq!([at_most(8952, 64_992), at_most(8952, 1500)], [8952, 1448]);
        assert_eq!([at_most(1448, 1448), at_most(1448, 1200)], [1448, 0]);
    }

    #[test]
    fn a_size_that_is_never_answered_rests_for_ten_minutes() {
        let mut path = Path::new(0, 1200, 9000);
        let mut now = 0;
        let mut probes = 0;
        for _ in 0..20 {
            now += SIZE_PROBE_NS;
            probes += u32::from(path.take_probe(now).is_some());
        }
        assert_eq!(probes, SIZE_TRIES);
        assert!(path.is_settled());
        assert!(path.take_probe(now + SIZE_RAISE_NS).is_some());
    }
}
