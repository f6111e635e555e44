//! The handle to one directed link of a switched lab.

use super::class::Classes;
use super::control::Control;
use super::counters::LinkCounts;
use super::impairment::Impairment;

/// One direction between two hosts. Changes hold from the moment at which the call returns; what was sent before meets
/// the old settings, except that a cut also drops what is on its way.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    control: &'a Control,
    from: usize,
    to: usize,
    at: usize,
}

impl<'a> Link<'a> {
    pub(super) fn new(control: &'a Control, from: usize, to: usize, hosts: usize) -> Link<'a> {
        Link {
            control,
            from,
            to,
            at: (from - 1) * hosts + (to - 1),
        }
    }

    /// The number of the sending host.
    pub fn from(&self) -> usize {
        self.from
    }

    /// The number of the receiving host.
    pub fn to(&self) -> usize {
        self.to
    }

    /// The settings.
    pub fn impairment(&self) -> Impairment {
        self.control.wanted().links[self.at].clone()
    }

    /// Replaces the settings.
    pub fn set(&self, impairment: Impairment) {
        self.update(|link| *link = impairment);
    }

    /// Changes some settings.
    pub fn update(&self, change: impl FnOnce(&mut Impairment)) {
        self.control
            .change(|wanted| change(&mut wanted.links[self.at]));
    }

    /// Cuts these classes too.
    pub fn cut(&self, classes: impl Into<Classes>) {
        let classes = classes.into();
        self.update(|link| link.cut = link.cut | classes);
    }

    /// Ends all cuts of this direction; other settings stay.
    pub fn heal(&self) {
        self.update(|link| link.cut = Classes::NONE);
    }

    /// The counters.
    pub fn counts(&self) -> LinkCounts {
        self.control.counters.read(self.at)
    }
}
