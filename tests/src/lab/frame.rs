//! Reads an Ethernet frame as far as the switch needs it: where it goes, its class, where the payload lies. Also flips a
//! bit of it and repairs the UDP checksum. Never trusts a length field beyond the bytes at hand.

use std::ops::Range;

use super::class::Class;

/// Bytes of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
const UDP_HEADER: usize = 8;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMP6: u8 = 58;

/// Where a frame is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The host with this number, from 1.
    Host(usize),
    /// Broadcast or multicast.
    Everybody,
    /// An address that no host of the lab has.
    Nobody,
}

/// What the switch does with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// ARP or neighbour discovery: passed on at once, never impaired.
    Neighbour,
    /// Multicast listener reports and router solicitations, of no use here: dropped.
    Noise,
    /// IP: impaired. `payload` is what lies above UDP, TCP or ICMP's first bytes, empty for fragments.
    Packet {
        class: Class,
        payload: Range<usize>,
        /// Where the UDP header begins.
        udp: Option<usize>,
    },
}

/// The MAC address of host `number`: 02:77 and the number.
pub(crate) fn mac(number: usize) -> [u8; 6] {
    let n = (number as u32).to_be_bytes();
    [0x02, 0x77, n[0], n[1], n[2], n[3]]
}

pub(super) fn target(frame: &[u8]) -> Target {
    match frame.first_chunk::<6>() {
        Some([first, ..]) if first & 1 == 1 => Target::Everybody,
        Some([0x02, 0x77, number @ ..]) => Target::Host(u32::from_be_bytes(*number) as usize),
        _ => Target::Nobody,
    }
}

pub(super) fn kind(frame: &[u8]) -> Kind {
    match (frame.get(12), frame.get(13)) {
        (Some(0x08), Some(0x06)) => Kind::Neighbour,
        (Some(0x08), Some(0x00)) => ip4(frame),
        (Some(0x86), Some(0xdd)) => ip6(frame),
        _ => Kind::Noise,
    }
}

fn other() -> Kind {
    Kind::Packet {
        class: Class::Other,
        payload: 0..0,
        udp: None,
    }
}

fn ip4(frame: &[u8]) -> Kind {
    let Some(header) = frame.get(ETHERNET..ETHERNET + 20) else {
        return other();
    };
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let end = (ETHERNET + length).min(frame.len());
    if fragment != 0 {
        return other();
    }
    transport(
        frame,
        header[9],
        ETHERNET + 4 * usize::from(header[0] & 0x0f),
        end,
    )
}

fn ip6(frame: &[u8]) -> Kind {
    let Some(header) = frame.get(ETHERNET..ETHERNET + 40) else {
        return other();
    };
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let at = ETHERNET + 40;
    let end = (at + length).min(frame.len());
    match header[6] {
        // Listener reports carry a hop-by-hop router alert in front.
        0 if frame.get(at) == Some(&PROTOCOL_ICMP6) => Kind::Noise,
        PROTOCOL_ICMP6 => match frame.get(at) {
            Some(130..=134 | 143) => Kind::Noise,
            Some(135 | 136) => Kind::Neighbour,
            _ => transport(frame, PROTOCOL_ICMP6, at, end),
        },
        protocol => transport(frame, protocol, at, end),
    }
}

fn transport(frame: &[u8], protocol: u8, at: usize, end: usize) -> Kind {
    let header = match protocol {
        PROTOCOL_UDP | PROTOCOL_ICMP | PROTOCOL_ICMP6 => UDP_HEADER,
        PROTOCOL_TCP => frame
            .get(at + 12)
            .map_or(20, |byte| 4 * usize::from(byte >> 4)),
        _ => return other(),
    };
    let payload = (at + header).min(end)..end;
    match protocol {
        PROTOCOL_UDP => Kind::Packet {
            class: Class::of_payload(&frame[payload.clone()]),
            payload,
            udp: Some(at),
        },
        PROTOCOL_TCP => Kind::Packet {
            class: Class::Tcp,
            payload,
            udp: None,
        },
        _ => Kind::Packet {
            class: Class::Icmp,
            payload,
            udp: None,
        },
    }
}

/// Flips one bit of the payload, chosen by `random`. With `repair` (the offset of the UDP header) the checksum is made
/// to fit again, so that the datagram reaches the application. Returns whether there was a bit to flip.
pub(super) fn flip(
    frame: &mut [u8],
    payload: Range<usize>,
    repair: Option<usize>,
    random: u64,
) -> bool {
    let bits = payload.len() as u64 * 8;
    if bits == 0 {
        return false;
    }
    let bit = (random % bits) as usize;
    let at = payload.start + bit / 8;
    let mask = 1u8 << (bit % 8);
    frame[at] ^= mask;
    if let Some(udp) = repair {
        let now = u16::from(frame[at]);
        let shift = if (at - udp).is_multiple_of(2) { 8 } else { 0 };
        repair_checksum(
            frame,
            udp + 6,
            (now ^ u16::from(mask)) << shift,
            now << shift,
        );
    }
    true
}

/// RFC 1624: HC' = ~(~HC + ~m + m').
fn repair_checksum(frame: &mut [u8], at: usize, before: u16, after: u16) {
    let sum = u16::from_be_bytes([frame[at], frame[at + 1]]);
    if sum == 0 {
        return; // the sender computed none
    }
    let mut wide = u32::from(!sum) + u32::from(!before) + u32::from(after);
    while wide > 0xffff {
        wide = (wide & 0xffff) + (wide >> 16);
    }
    let sum = match !(wide as u16) {
        0 => 0xffff,
        sum => sum,
    };
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp4(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::from(mac(2));
        frame.extend(mac(1));
        frame.extend([0x08, 0x00]);
        let total = (28 + payload.len()) as u16;
        frame.extend([
            0x45,
            0,
            (total >> 8) as u8,
            total as u8,
            0,
            0,
            0x40,
            0,
            64,
            PROTOCOL_UDP,
            0,
            0,
        ]);
        frame.extend([10, 77, 0, 1, 10, 77, 0, 2]);
        let length = (8 + payload.len()) as u16;
        frame.extend([
            0x30,
            0x39,
            0x10,
            0x92,
            (length >> 8) as u8,
            length as u8,
            0,
            0,
        ]);
        frame.extend(payload);
        let sum = full_checksum(&frame);
        frame[40..42].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    /// The checksum over pseudo header, header and payload, from scratch.
    fn full_checksum(frame: &[u8]) -> u16 {
        let udp = &frame[34..];
        let mut bytes = frame[26..34].to_vec();
        bytes.extend([0, PROTOCOL_UDP]);
        bytes.extend((udp.len() as u16).to_be_bytes());
        bytes.extend(&udp[..6]);
        bytes.extend([0, 0]);
        bytes.extend(&udp[8..]);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        let mut sum: u32 = bytes
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn a_udp_frame_is_classed_by_its_first_payload_byte() {
        let frame = udp4(&[0x13, 9, 9]);
        assert_eq!(target(&frame), Target::Host(2));
        assert_eq!(
            kind(&frame),
            Kind::Packet {
                class: Class::Bulk,
                payload: 42..45,
                udp: Some(34)
            }
        );
    }

    #[test]
    fn the_repaired_checksum_equals_a_full_one() {
        for (length, random) in (1..70).zip((0..).step_by(12345)) {
            let mut frame = udp4(&vec![0xa5; length]);
            let Kind::Packet { payload, udp, .. } = kind(&frame) else {
                panic!("not a packet")
            };
            let before = frame.clone();
            assert!(flip(&mut frame, payload, udp, random));
            assert_ne!(frame[42..], before[42..]);
            assert_eq!(frame[40..42], full_checksum(&frame).to_be_bytes());
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_read_without_a_panic() {
        let frame = udp4(&[1; 40]);
        for length in 0..frame.len() {
            target(&frame[..length]);
            kind(&frame[..length]);
        }
    }
}
