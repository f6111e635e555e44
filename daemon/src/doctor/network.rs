//! The way of datagrams through this host: how large the interfaces let them be, and how many the kernel keeps for a
//! socket that is not read at once.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::net::sockopt;
use tidings_engine::host;
use tidings_engine::limits::{RCVBUF_DATA_BYTES, SNDBUF_BYTES};
use tidings_wire::MIN_DATAGRAM_SIZE;

use super::finding::{Finding, State};
use crate::config::units;

/// Bytes of an IPv4 and of an IPv6 header, and of the UDP header behind either.
const HEADERS: (u32, u32) = (20 + 8, 40 + 8);
/// Payloads that paths are probed for (`overlay.max_datagram` bounds them), the largest first.
const STEPS: [u32; 5] = [64_992, 8_952, 1_448, 1_400, MIN_DATAGRAM_SIZE as u32];

/// A socket toward an address, from a port of its own and the address that a node is bound to. Connected, it hears of ports that
/// nobody listens at, takes nothing from elsewhere, and knows the MTU of the way.
pub fn toward(bind: IpAddr, address: SocketAddr) -> io::Result<UdpSocket> {
    // A node bound to [::] serves both families; by its own, a socket tells more.
    let from = match (bind.is_unspecified(), address.is_ipv4()) {
        (false, _) => bind,
        (true, true) => Ipv4Addr::UNSPECIFIED.into(),
        (true, false) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((from, 0))?;
    socket.connect(address)?;
    Ok(socket)
}

/// Looks at every interface that a node bound to `bind` would use.
pub fn interfaces(bind: IpAddr) -> Vec<Finding> {
    let mut used: BTreeMap<String, bool> = BTreeMap::new();
    for (name, ip) in host::addresses() {
        if carries(bind, ip) {
            *used.entry(name).or_default() |= ip.is_ipv6();
        }
    }
    if used.is_empty() {
        return vec![no_interface(bind)];
    }
    let judged = used
        .into_iter()
        .map(|(name, has_v6)| judge_mtu(&name, host::mtu(&name), has_v6));
    weigh(judged.collect())
}

/// An interface that carries too little may be none that the node's traffic takes, as long as there is another.
fn weigh(mut judged: Vec<Finding>) -> Vec<Finding> {
    let others = judged.iter().any(|finding| finding.state == State::Ok);
    for finding in &mut judged {
        if others && finding.state == State::Failure {
            finding.state = State::Warning;
        }
    }
    judged
}

/// Whether a node bound to `bind` sends from `ip`.
fn carries(bind: IpAddr, ip: IpAddr) -> bool {
    match bind {
        bind if bind == ip => true,
        bind if !bind.is_unspecified() || ip.is_loopback() => false,
        IpAddr::V4(_) => ip.is_ipv4(),
        IpAddr::V6(_) => true,
    }
}

fn no_interface(bind: IpAddr) -> Finding {
    let value =
        format!("no interface but loopback has an address that a node bound to {bind} could use");
    let remedy = "`ip address` shows what there is; other hosts are not reached before one is up";
    Finding::warning("interfaces", value, remedy)
}

/// The largest payload that a path of this MTU carries, and the step of it that is used.
fn payload(mtu: u32, is_v6: bool) -> (u32, Option<u32>) {
    let headers = if is_v6 { HEADERS.1 } else { HEADERS.0 };
    let room = mtu.saturating_sub(headers);
    (room, STEPS.into_iter().find(|step| *step <= room))
}

fn judge_mtu(name: &str, mtu: io::Result<u32>, has_v6: bool) -> Finding {
    let what = format!("mtu of {name}");
    let mtu = match mtu {
        Ok(mtu) => mtu,
        Err(error) => {
            return Finding::warning(
                what,
                format!("the system does not tell: {error}"),
                format!(
                    "look at it with `ip link show {name}`; {MIN_DATAGRAM_SIZE} B of UDP payload must pass"
                ),
            );
        }
    };
    let (room, step) = payload(mtu, has_v6);
    match step {
        Some(step) => Finding::ok(
            what,
            format!(
                "{mtu}: {room} B of UDP payload, of which datagrams of up to {step} B are used"
            ),
        ),
        None => Finding::failure(
            what,
            format!("{mtu}: {room} B of UDP payload; {MIN_DATAGRAM_SIZE} B must pass"),
            format!(
                "`ip link set dev {name} mtu 1500`, or what the network carries, from {}",
                min_mtu(has_v6)
            ),
        ),
    }
}

fn min_mtu(is_v6: bool) -> u32 {
    MIN_DATAGRAM_SIZE as u32 + if is_v6 { HEADERS.1 } else { HEADERS.0 }
}

/// Whether the smallest datagram passes on a way of this MTU.
pub fn passes(mtu: u32, is_v6: bool) -> bool {
    payload(mtu, is_v6).1.is_some()
}

/// Says of the way to one address what its MTU means.
pub fn describe_route(mtu: u32, is_v6: bool) -> String {
    let (room, step) = payload(mtu, is_v6);
    match step {
        Some(_) => format!("{room} B of UDP payload"),
        None => format!("only {room} B of UDP payload, {MIN_DATAGRAM_SIZE} B must pass"),
    }
}

/// Asks for the buffers that a shard asks for.
pub fn buffers() -> Vec<Finding> {
    let granted = UdpSocket::bind(("127.0.0.1", 0)).and_then(granted);
    match granted {
        Ok([receive, send]) => vec![
            judge_buffer("net.core.rmem_max", receive, RCVBUF_DATA_BYTES),
            judge_buffer("net.core.wmem_max", send, SNDBUF_BYTES),
        ],
        Err(error) => vec![Finding::failure(
            "socket buffers",
            format!("no socket can be made to look at them: {error}"),
            "look at the limit of open files and at the container's seccomp profile",
        )],
    }
}

/// What the kernel grants of the receive and the send buffer that are asked for, by the limits alone: a daemon without
/// CAP_NET_ADMIN gets no more. It tells twice of what it takes.
fn granted(socket: UdpSocket) -> io::Result<[usize; 2]> {
    sockopt::set_socket_recv_buffer_size(&socket, RCVBUF_DATA_BYTES)?;
    sockopt::set_socket_send_buffer_size(&socket, SNDBUF_BYTES)?;
    Ok([
        sockopt::socket_recv_buffer_size(&socket)? / 2,
        sockopt::socket_send_buffer_size(&socket)? / 2,
    ])
}

fn judge_buffer(limit: &str, granted: usize, asked: usize) -> Finding {
    let [granted_text, asked_text] = [granted, asked].map(|bytes| units::show_size(bytes as u64));
    if granted >= asked {
        return Finding::ok(limit, format!("{granted_text} granted, as asked for"));
    }
    Finding::warning(
        limit,
        format!(
            "{granted_text} granted of {asked_text} that each shard asks for: senders keep less on its way to this node"
        ),
        format!(
            "`sysctl -w {limit}=8388608`, and `echo '{limit} = 8388608' >> /etc/sysctl.d/60-tidings.conf` to keep it"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mtu_is_told_with_the_payload_and_the_step_that_it_allows() {
        for (mtu, is_v6, room, step) in [
            (65_536, false, 65_508, Some(64_992)),
            (9_000, true, 8_952, Some(8_952)),
            (1_500, false, 1_472, Some(1_448)),
            (1_500, true, 1_452, Some(1_448)),
            (1_450, false, 1_422, Some(1_400)),
            (1_280, true, 1_232, Some(1_200)),
            (1_240, true, 1_192, None),
            (0, false, 0, None),
        ] {
            assert_eq!(payload(mtu, is_v6), (room, step), "{mtu}");
        }
    }

    #[test]
    fn an_interface_that_cannot_carry_the_smallest_datagram_is_a_failure() {
        assert_eq!(judge_mtu("eth0", Ok(1_500), true).state, State::Ok);
        let small = judge_mtu("eth0", Ok(1_247), true);
        assert_eq!(small.state, State::Failure);
        assert!(small.remedy.contains("from 1248"), "{small}");
        assert_eq!(judge_mtu("eth0", Ok(1_228), false).state, State::Ok);
        assert_eq!(
            judge_mtu("eth0", Err(io::ErrorKind::NotFound.into()), false).state,
            State::Warning
        );
    }

    #[test]
    fn one_interface_of_several_that_carries_too_little_is_a_warning() {
        let judge = |mtu| judge_mtu("eth0", Ok(mtu), false);
        let states = |all: Vec<Finding>| weigh(all).iter().map(|f| f.state).collect::<Vec<_>>();
        let one = states(vec![judge(1_500), judge(1_000)]);
        assert_eq!(one, [State::Ok, State::Warning]);
        assert_eq!(states(vec![judge(1_000)]), [State::Failure]);
    }

    #[test]
    fn a_node_uses_the_interfaces_of_its_address_or_all_of_its_family_but_loopback() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (bind, address, used) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("0.0.0.0", "10.0.0.2", true),
            ("0.0.0.0", "127.0.0.1", false),
            ("0.0.0.0", "fd00::1", false),
            ("::", "fd00::1", true),
            ("::", "10.0.0.2", true),
            ("::", "::1", false),
        ] {
            assert_eq!(carries(ip(bind), ip(address)), used, "{bind} {address}");
        }
        assert_eq!(interfaces(ip("127.0.0.1"))[0].state, State::Ok);
        assert_eq!(interfaces(ip("192.0.2.77"))[0].state, State::Warning);
    }

    #[test]
    fn a_buffer_below_what_is_asked_for_is_a_warning_with_the_line_to_type() {
        let limit = "net.core.rmem_max";
        assert_eq!(judge_buffer(limit, 4 << 20, 4 << 20).state, State::Ok);
        let small = judge_buffer(limit, 212_992, 4 << 20);
        assert_eq!(small.state, State::Warning);
        assert!(small.remedy.contains("sysctl -w net.core.rmem_max=8388608"));
    }

    #[test]
    fn the_kernel_grants_some_buffer() {
        assert_eq!(buffers().len(), 2);
    }
}
