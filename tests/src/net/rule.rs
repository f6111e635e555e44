//! What a link of the in-process network does to datagrams.

use tidings_wire::Class;

use super::MS;

/// What a link does to datagrams in one direction. Probabilities are in 1/1000.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Least delay in ns, and how much more at random.
    pub delay: (u64, u64),
    /// Lost.
    pub loss: u32,
    /// Delivered twice.
    pub duplicate: u32,
    /// Delivered without delay.
    pub ahead: u32,
    /// Bytes a second that pass, and bytes that may wait for it; what is more is lost.
    pub rate: Option<(u64, u64)>,
    /// Larger datagrams do not pass.
    pub mtu: usize,
    /// Nothing passes.
    pub cut: bool,
    /// Nothing of this class passes.
    pub cut_class: Option<Class>,
}

impl Rule {
    /// 50 us and nothing bad.
    pub const GOOD: Rule = Rule {
        delay: (50_000, 10_000),
        loss: 0,
        duplicate: 0,
        ahead: 0,
        rate: None,
        mtu: 65_507,
        cut: false,
        cut_class: None,
    };
    /// The hostile link of the acceptance tests: 5 +- 2 ms, 2 % loss, 1 % duplicates, 25 % sent ahead.
    pub const HOSTILE: Rule = Rule {
        delay: (3 * MS, 4 * MS),
        loss: 20,
        duplicate: 10,
        ahead: 250,
        ..Rule::GOOD
    };
    /// Nothing passes.
    pub const CUT: Rule = Rule {
        cut: true,
        ..Rule::GOOD
    };

    /// A long clean path: `ms` milliseconds each way.
    pub const fn far(ms: u64) -> Rule {
        Rule {
            delay: (ms * MS, 1),
            ..Rule::GOOD
        }
    }

    /// The same link without one class of datagrams.
    pub const fn without(self, class: Class) -> Rule {
        Rule {
            cut_class: Some(class),
            ..self
        }
    }
}
