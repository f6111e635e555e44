//! Paths that do not carry the datagrams they must: told once in a while each, in one line.

use std::net::SocketAddr;

use crate::limits::{TOO_BIG_LOG_MAX, TOO_BIG_LOG_NS};

/// The paths that were told of, and until when they are not told of again.
#[derive(Default)]
pub(crate) struct Oversize {
    told: Vec<(SocketAddr, u64)>,
}

impl Oversize {
    /// A datagram of `bytes` that no smaller one could replace was refused on its way to `to`.
    pub(crate) fn report(&mut self, to: SocketAddr, bytes: usize, now: u64) {
        if self.is_news(to, now) {
            tracing::warn!(
                %to,
                bytes,
                "datagrams do not fit the path: nothing gets there until its MTU is raised"
            );
        }
    }

    fn is_news(&mut self, to: SocketAddr, now: u64) -> bool {
        self.told.retain(|&(_, until)| until > now);
        let known = self.told.iter().any(|&(told, _)| told == to);
        if known || self.told.len() == TOO_BIG_LOG_MAX {
            return false;
        }
        self.told.push((to, now + TOO_BIG_LOG_NS));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_told_once_in_a_while_and_no_more_than_are_remembered() {
        let mut oversize = Oversize::default();
        let path = |n: u16| SocketAddr::from(([127, 0, 0, 1], n));
        assert!(oversize.is_news(path(1), 5));
        assert!(!oversize.is_news(path(1), 5 + TOO_BIG_LOG_NS - 1));
        assert!(oversize.is_news(path(2), 6));
        assert!(oversize.is_news(path(1), 5 + TOO_BIG_LOG_NS));
        let news = (0..1000).filter(|n| oversize.is_news(path(1000 + n), 7 + TOO_BIG_LOG_NS));
        assert_eq!(news.count(), TOO_BIG_LOG_MAX - 1);
    }
}
