//! Chance: what happens to the k-th packet of a link. Every packet draws the same number of numbers whatever the
//! settings are, from a stream of its own, so that a fate depends on seed, link and k alone.

use super::impairment::{Burst, Impairment};

/// What happens to one packet. Times in ns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fate {
    pub(super) lost: bool,
    pub(super) ahead: bool,
    pub(super) corrupt: bool,
    pub(super) duplicate: bool,
    pub(super) delay: u64,
    pub(super) copy_delay: u64,
    /// Chooses the bit to flip.
    pub(super) bit: u64,
}

/// The chance of one directed link.
#[derive(Clone, Debug)]
pub(super) struct Chance {
    seed: u64,
    packets: u64,
    bad: bool,
}

/// SplitMix64 (Steele, Lea, Flood 2014): one multiply-xor chain a number, good enough for dice.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Evenly from 0.0 to below 1.0.
    fn share(&mut self) -> f64 {
        (self.roll() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Chance {
    pub(super) fn new(seed: u64, from: usize, to: usize) -> Chance {
        Chance {
            seed: mix(seed ^ mix(((from as u64) << 32) | to as u64)),
            packets: 0,
            bad: false,
        }
    }

    /// Draws the fate of the next packet; `chosen` says whether its class is among those that have one.
    pub(super) fn draw(&mut self, settings: &Impairment, chosen: bool) -> Fate {
        let mut dice = Dice(mix(self.seed.wrapping_add(self.packets)));
        self.packets += 1;
        let (loss, turn, run) = (dice.share(), dice.share(), dice.share());
        let (duplicate, ahead, corrupt) = (dice.share(), dice.share(), dice.share());
        let (jitter, copy_jitter, bit) = (dice.share(), dice.share(), dice.roll());
        let burst = self.burst(settings.burst, turn, run);
        let ahead = chosen && ahead < settings.ahead;
        Fate {
            lost: chosen && (loss < settings.loss || burst),
            ahead,
            corrupt: chosen && corrupt < settings.corrupt,
            duplicate: chosen && duplicate < settings.duplicate,
            delay: if ahead { 0 } else { delay(settings, jitter) },
            copy_delay: delay(settings, copy_jitter),
            bit,
        }
    }

    fn burst(&mut self, burst: Option<Burst>, turn: f64, run: f64) -> bool {
        let Some(burst) = burst else {
            self.bad = false;
            return false;
        };
        self.bad = if self.bad {
            turn >= burst.leave
        } else {
            turn < burst.enter
        };
        self.bad && run < burst.loss
    }
}

fn delay(settings: &Impairment, random: f64) -> u64 {
    let jitter = settings.jitter.as_nanos() as f64 * (2.0 * random - 1.0);
    (settings.delay.as_nanos() as f64 + jitter).max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fates(seed: u64, settings: &Impairment, n: usize) -> Vec<Fate> {
        let mut chance = Chance::new(seed, 0, 1);
        (0..n).map(|_| chance.draw(settings, true)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_fates() {
        let settings = Impairment::default()
            .loss(0.3)
            .duplicate(0.2)
            .burst(0.1, 3.0)
            .jitter(Duration::from_millis(1));
        assert_eq!(fates(7, &settings, 500), fates(7, &settings, 500));
        assert_ne!(fates(7, &settings, 500), fates(8, &settings, 500));
    }

    #[test]
    fn one_setting_does_not_change_what_another_hits() {
        let lost = |settings: &Impairment| {
            fates(3, settings, 500)
                .iter()
                .map(|f| f.lost)
                .collect::<Vec<_>>()
        };
        let plain = Impairment::default().loss(0.3);
        assert_eq!(
            lost(&plain),
            lost(
                &plain
                    .clone()
                    .duplicate(0.5)
                    .ahead(0.5)
                    .corrupt(0.5, Default::default())
            )
        );
    }

    #[test]
    fn shares_come_out_as_asked() {
        let settings = Impairment::default().loss(0.02).duplicate(0.10).ahead(0.25);
        let fates = fates(1, &settings, 200_000);
        let share = |f: fn(&Fate) -> bool| {
            fates.iter().filter(|fate| f(fate)).count() as f64 / fates.len() as f64
        };
        assert!((share(|f| f.lost) - 0.02).abs() < 0.002);
        assert!((share(|f| f.duplicate) - 0.10).abs() < 0.004);
        assert!((share(|f| f.ahead) - 0.25).abs() < 0.006);
    }

    #[test]
    fn bursts_last_as_long_as_asked() {
        let settings = Impairment::default().burst(0.01, 8.0);
        let lost: Vec<bool> = fates(5, &settings, 400_000)
            .iter()
            .map(|f| f.lost)
            .collect();
        let runs = lost.windows(2).filter(|w| !w[0] && w[1]).count();
        let mean = lost.iter().filter(|&&l| l).count() as f64 / runs as f64;
        assert!((mean - 8.0).abs() < 0.6, "mean run {mean}");
    }

    #[test]
    fn delay_stays_inside_the_jitter() {
        let settings = Impairment::default()
            .delay(Duration::from_micros(5000))
            .jitter(Duration::from_micros(2000));
        let fates = fates(2, &settings, 10_000);
        assert!(
            fates
                .iter()
                .all(|f| (3_000_000..=7_000_000).contains(&f.delay))
        );
        assert!(
            fates.iter().any(|f| f.delay < 3_100_000) && fates.iter().any(|f| f.delay > 6_900_000)
        );
    }
}
