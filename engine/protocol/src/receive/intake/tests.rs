//! One subscription and one publisher, message by message.

use super::*;

fn reports(intake: &mut Intake) -> Vec<(u64, u64)> {
    let mut told = Vec::new();
    intake.reports(|a, b, _| {
        told.push((a, b));
        true
    });
    told
}

#[test]
fn in_order_and_acknowledged_needs_no_extra_state() {
    let held = Held::default();
    let mut intake = Intake::new(1, true, 0);
    for seq in 0..100 {
        assert_eq!(intake.judge(seq, 10, &held), Verdict::Now);
        intake.got(seq, true);
    }
    assert!(intake.extra.is_none());
    assert_eq!(reports(&mut intake), [(0, 100)]);
    assert_eq!(intake.judge(99, 10, &held), Verdict::Duplicate);
}

#[test]
fn an_ordered_one_holds_what_is_ahead_of_a_hole() {
    let mut held = Held::default();
    let mut intake = Intake::new(1, true, 0);
    assert_eq!(intake.judge(1, 1, &held), Verdict::Hold);
    intake.hold(1, b"b", &mut held);
    assert_eq!(intake.judge(1, 1, &held), Verdict::Duplicate);
    assert!(intake.next_held(&mut held).is_none());
    intake.got(0, true);
    assert_eq!(
        intake.next_held(&mut held),
        Some((1, b"b".as_slice().into()))
    );
}

#[test]
fn a_gap_is_told_in_its_place_and_spares_what_arrived() {
    let mut held = Held::default();
    let mut intake = Intake::new(1, true, 0);
    intake.hold(2, b"c", &mut held);
    assert!(intake.skip(1, 4, Outcome::Overflow).is_empty());
    assert!(intake.next_gap().is_none());
    intake.got(0, true);
    assert_eq!(
        intake.next_gap(),
        Some(Gap {
            from: 1,
            to: 2,
            reason: Outcome::Overflow
        })
    );
    let (seq, _) = intake.next_held(&mut held).expect("it arrived");
    intake.got(seq, true);
    assert_eq!(
        intake.next_gap(),
        Some(Gap {
            from: 3,
            to: 4,
            reason: Outcome::Overflow
        })
    );
    assert_eq!(intake.judge(4, 1, &held), Verdict::Now);
}

#[test]
fn a_detached_client_s_unacknowledged_messages_come_again() {
    let mut held = Held::default();
    let mut intake = Intake::new(1, false, 0);
    for seq in 0..5 {
        intake.got(seq, false);
    }
    assert_eq!(intake.acknowledge(1, 2), 1);
    intake.detach(&mut held);
    let missed = &intake.extra.as_ref().unwrap().missed;
    assert_eq!(missed.count(), 4);
    assert_eq!(intake.judge(1, 1, &held), Verdict::Duplicate);
    assert!(intake.is_again(0) && intake.judge(0, 1, &held) == Verdict::Now);
    assert_eq!(reports(&mut intake), [(1, 2)]);
}

#[test]
fn a_backlog_is_fetched_but_for_what_is_there() {
    let mut intake = Intake::new(1, false, 0);
    for seq in 0..4 {
        intake.got(seq, seq != 2);
    }
    reports(&mut intake);
    intake.on_backlog(0, 10, false);
    assert_eq!(intake.next_missed(), Some((4, 10)));
    assert_eq!(
        reports(&mut intake),
        [(0, 2), (3, 4)],
        "acknowledged ones are reported again, the kept one is not"
    );
}

#[test]
fn refusing_the_oldest_takes_no_longer_for_more_of_them() {
    let mut held = Held::default();
    let mut intake = Intake::new(1, true, 0);
    intake.hold(7, b"held back", &mut held);
    intake.on_backlog((1 << 62) - 10, (1 << 62) - 1, false);
    assert_eq!(intake.refuse_oldest(100, &mut held), (1 << 62) - 1 - 100);
    assert_eq!((intake.held_bytes(), held.bytes()), (0, 0));
    let gap = intake.next_gap().expect("all of it is one gap");
    assert_eq!((gap.from, gap.to), (0, (1 << 62) - 1 - 100));
    let mut told = Vec::new();
    intake.reports(|from, to, _| {
        told.push((from, to));
        told.len() < 3
    });
    let report = u64::from(u32::MAX);
    assert_eq!(
        told,
        [(0, report), (report, 2 * report), (2 * report, 3 * report)],
        "in runs that a digest can tell"
    );
}

#[test]
fn acknowledging_up_to_a_number_settles_all_below() {
    let mut intake = Intake::new(1, false, 5);
    for seq in 5..10 {
        intake.got(seq, false);
    }
    assert_eq!(intake.acknowledge(0, 8), 3);
    assert_eq!(intake.acknowledge(0, 8), 0);
    assert_eq!(reports(&mut intake), [(5, 8)]);
}

#[test]
fn numbers_that_come_scattered_on_purpose_take_bounded_memory() {
    let held = Held::default();
    let many = 4 * limits::RANGES as u64;
    let mut intake = Intake::new(1, false, 0);
    for seq in (1..many).map(|n| 2 * n) {
        match intake.judge(seq, 1, &held) {
            Verdict::Now => intake.got(seq, true),
            _ => intake.miss(seq, seq + 1),
        }
        intake.reports(|_, _, _| true);
        intake.on_backlog(3 * many + 2 * seq, 3 * many + 2 * seq + 1, true);
    }
    let extra = intake.extra.as_ref().unwrap();
    assert!(extra.got.ranges() <= limits::RANGES + 1);
    assert!(extra.missed.ranges() <= 2 * limits::RANGES + 1);
    assert!(extra.again.ranges() <= limits::RANGES);
    assert!(intake.is_missed(2 * many - 2), "nothing is forgotten");
}

#[test]
fn an_ordered_one_asks_for_what_it_can_hand_over_next() {
    let mut intake = Intake::new(1, true, 0);
    intake.miss(5, 9);
    assert_eq!(intake.next_missed(), None, "number 0 is on its way");
    intake.miss(0, 2);
    assert_eq!(intake.next_missed(), Some((0, 2)));
}

#[test]
fn what_was_refused_is_told_so_however_often_it_is_asked_for() {
    let mut intake = Intake::new(1, false, 0);
    intake.got(0, true);
    intake.refuse(1, 3);
    intake.got(3, true);
    let mut told = Vec::new();
    for _ in 0..2 {
        intake.on_backlog(0, 4, false);
        intake.reports(|from, to, outcome| {
            told.push((from, to, outcome));
            true
        });
    }
    let delivered = |seq: u64| {
        let about = told
            .iter()
            .filter(|(from, to, _)| (*from..*to).contains(&seq));
        about.map(|told| told.2).collect::<Vec<_>>()
    };
    for seq in [1, 2] {
        assert_eq!(delivered(seq), [Outcome::Rejected; 2], "{told:?}");
    }
    assert!(!delivered(3).contains(&Outcome::Rejected), "{told:?}");
}
