//! Nodes that were told of no address find one another on their network segment, and nobody else gets in that way.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tidings_tests::blackbox::{
    Cluster, ClusterBuilder, Node, OVERLAY, PORT, Sniffer, beside_others, eventually, figure,
    tidings,
};

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(20);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 84, 68);
const BEACON_PORT: u16 = 7399;
const HELLO: u8 = 1;

macro_rules! needs_lab {
    () => {
        if !tidings_tests::lab::ready() {
            return;
        }
    };
}

fn without_seeds(nodes: usize) -> ClusterBuilder {
    Cluster::builder().nodes(nodes).seeds(&[])
}

fn discover(node: &Node<'_>) {
    let mut command = node.run_command();
    command.arg("--discover");
    node.start_by(command);
}

/// A number of what discovery did.
fn told(node: &Node<'_>, name: &str) -> u64 {
    let stats = node.stats();
    let discovery = &stats.value()["discovery"];
    let found = match name.split_once('.') {
        Some((outer, inner)) => &discovery[outer][inner],
        None => &discovery[name],
    };
    let number = found.as_u64();
    number.unwrap_or_else(|| panic!("no {name} in {discovery}"))
}

fn refused(node: &Node<'_>, why: &str) -> u64 {
    told(node, &format!("beacons_refused.{why}"))
}

/// Says `datagram` to the group from a host.
fn say(host: &tidings_tests::host::Host, datagram: &[u8]) {
    host.inside(|| {
        let socket = UdpSocket::bind((host.ip4(), 0)).unwrap();
        socket.send_to(datagram, (GROUP, BEACON_PORT)).unwrap();
    });
}

#[test]
fn three_nodes_without_seeds_become_one_cluster_over_ipv4() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = without_seeds(3).build();
    cluster.nodes().for_each(|node| discover(&node));
    let took = cluster.wait_whole(SOON);
    figure(format_args!(
        "one cluster {:.1} s later",
        took.as_secs_f64()
    ));
    for node in cluster.nodes() {
        // One may have been told of both others by another before it heard them.
        eventually("it heard somebody", SOON, || {
            told(&node, "beacons_heard") >= 1 && told(&node, "addresses") == 1
        });
    }
    // Who was away comes back without having been told of anybody, though its memory of them is gone.
    cluster.node(3).kill9();
    std::fs::remove_dir_all(cluster.node(3).home().join("data")).unwrap();
    std::fs::create_dir(cluster.node(3).home().join("data")).unwrap();
    discover(&cluster.node(3));
    cluster.wait_view(&[1, 2, 3], SOON);
}

#[test]
fn three_nodes_without_seeds_become_one_cluster_over_ipv6() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = without_seeds(3).v6().build();
    if !cluster.lab().host(1).has_ip6() {
        tidings_tests::lab::skipped("kernel", "no IPv6 here");
        return;
    }
    cluster.nodes().for_each(|node| discover(&node));
    cluster.wait_whole(SOON);
}

#[test]
fn a_node_bound_to_every_address_speaks_in_both_families_on_a_bridge() {
    needs_lab!();
    if let Err(why) = tidings_tests::lab::bridge_available() {
        tidings_tests::lab::skipped("kernel", &why);
        return;
    }
    let _turn = beside_others();
    let keys = "discovery = \"lan\"";
    let cluster = without_seeds(3).bridge().overlay_keys(keys).build();
    for node in cluster.nodes() {
        node.reconfigure(&format!("{}", node.address()), &format!("[::]:{PORT}"));
        node.start();
    }
    cluster.wait_whole(SOON);
    let families = 1 + u64::from(cluster.lab().host(1).has_ip6());
    assert_eq!(told(&cluster.node(1), "addresses"), families);
}

#[test]
fn who_has_another_key_is_never_let_in_and_is_counted() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = without_seeds(3).build();
    let other = cluster.folder().join("other.key");
    let made = std::process::Command::new(tidings())
        .arg("keygen")
        .arg(&other)
        .output()
        .unwrap();
    assert!(made.status.success());
    cluster
        .node(3)
        .reconfigure("../overlay.key", "../other.key");
    cluster.nodes().for_each(|node| discover(&node));
    cluster.wait_view(&[1, 2], SOON);
    for node in cluster.nodes() {
        eventually("beacons under the other key are refused", SOON, || {
            refused(&node, "key") >= 3
        });
    }
    assert_eq!(cluster.node(3).sees(OVERLAY), [3]);
    assert_eq!(cluster.node(1).sees(OVERLAY), [1, 2]);
    let log = cluster.node(1).daemon().stderr();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("key")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn junk_forged_and_recorded_beacons_lead_nowhere() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = without_seeds(3).hosts(4).build();
    let (one, stranger) = (cluster.node(1), cluster.lab().host(4));
    // Whoever would take the stranger for a node would say HELLO to it here.
    let trap = stranger.inside(|| UdpSocket::bind((stranger.ip4(), PORT)).unwrap());
    trap.set_nonblocking(true).unwrap();
    let sniffer = Sniffer::on(cluster.lab().host(2));
    discover(&cluster.node(2));
    let recorded = sniffer.next(HELLO, BEACON_PORT, SOON).expect("a beacon");
    assert_eq!(recorded.len(), 136);
    discover(&one);
    cluster.wait_view(&[1, 2], SOON);
    say(stranger, &recorded);
    eventually("what another sent again is refused", SOON, || {
        refused(&one, "source") >= 1
    });
    for bit in 0..recorded.len() * 8 {
        let mut forged = recorded.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        say(stranger, &forged);
        if bit % 64 == 63 {
            // What the group's socket cannot hold is dropped there.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    eventually("forged ones are refused", SOON, || {
        refused(&one, "forged") >= 100 && refused(&one, "key") >= 100
    });
    let before = refused(&one, "header");
    eventually("junk is refused", SOON, || {
        for length in [0, 1, 63, 80, 135, 137, 513, 1400] {
            say(stranger, &vec![0x11; length]);
        }
        refused(&one, "header") >= before + 8
    });
    // Discovery goes on: another node is found.
    discover(&cluster.node(3));
    cluster.wait_whole(SOON);
    let mut room = [0; 2048];
    let nothing = trap.recv_from(&mut room);
    assert!(
        nothing.is_err(),
        "somebody spoke to a stranger: {nothing:?}"
    );
    for node in cluster.nodes() {
        assert!(node.daemon().is_running());
        assert_eq!(node.sees(OVERLAY), [1, 2, 3]);
    }
}

#[test]
fn a_recorded_beacon_sent_again_from_its_own_address_leads_to_where_its_node_was() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = without_seeds(2).build();
    let (one, two) = (cluster.node(1), cluster.node(2));
    let sniffer = Sniffer::on(two.host());
    discover(&two);
    let from_two = sniffer.next(HELLO, BEACON_PORT, SOON).expect("a beacon");
    two.kill9();
    drop(sniffer);
    discover(&one);
    // Nobody is there now, whatever it says: some handshakes are tried, and that is all.
    let host = two.host();
    eventually("it is heard", SOON, || {
        say(host, &from_two);
        told(&one, "beacons_heard") >= 1
    });
    eventually("its address is known", SOON, || {
        let stats = one.stats();
        stats.value()["overlays"][0]["found"] == 1
    });
    assert_eq!(one.sees(OVERLAY), [1]);
    assert!(one.daemon().is_running());
}

#[test]
fn discovery_is_turned_on_and_off_while_the_node_runs() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = without_seeds(2).build();
    let one = cluster.node(1);
    cluster.nodes().for_each(|node| drop(node.start()));
    let change = |node: &Node<'_>, option: &str| {
        let done = node.verb(&["overlays", "change", OVERLAY, option], SOON);
        assert_eq!(done.code, Some(0), "{}", done.err);
    };
    assert_eq!(told(&one, "overlays"), 0);
    cluster
        .nodes()
        .for_each(|node| change(&node, "discovery=lan"));
    cluster.wait_whole(SOON);
    change(&one, "discovery=off");
    assert_eq!(told(&one, "overlays"), 0);
    eventually("the thread has ended", SOON, || {
        told(&one, "addresses") == 0
    });
    let sent = told(&one, "beacons_sent");
    assert!(sent >= 1);
    std::thread::sleep(3 * SECOND);
    assert_eq!(told(&one, "beacons_sent"), sent, "beacons went on");
    assert_eq!(one.sees(OVERLAY), [1, 2], "members stay");
    let shown = one.json(&[
        "config",
        "show",
        "--effective",
        "--config",
        one.config().to_str().unwrap(),
    ]);
    let rows = shown.as_array().cloned().unwrap_or_default();
    let key = format!("overlay.{OVERLAY}.discovery");
    let row = rows
        .iter()
        .find(|row| row["key"].as_str() == Some(key.as_str()));
    let row = row.unwrap_or_else(|| panic!("{key} is not shown in {shown}"));
    assert_eq!(row["value"], "\"off\"", "{row}");
    change(&one, "discovery=lan");
    eventually("beacons are sent again", SOON, || {
        told(&one, "beacons_sent") > sent
    });
}

#[test]
fn an_address_that_comes_later_is_spoken_from_as_soon_as_it_is_there() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = without_seeds(2).build();
    let (one, two) = (cluster.node(1), cluster.node(2));
    discover(&one);
    let (host, ip) = (two.host(), two.host().ip4().into());
    host.remove_address(ip).unwrap();
    two.reconfigure(&two.address().to_string(), &format!("0.0.0.0:{PORT}"));
    let mut command = two.run_command();
    command.args(["--discover", "--advertise", &two.address().to_string()]);
    two.start_by(command);
    // For want of a network it speaks on its loopback, where nobody is.
    eventually("it speaks", SOON, || told(&two, "beacons_sent") >= 1);
    assert_eq!(two.sees(OVERLAY), [2]);
    host.add_address(ip).unwrap();
    cluster.wait_whole(SOON);
}

#[test]
fn two_daemons_of_one_host_find_each_other_and_those_of_others() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = without_seeds(2).build();
    for node in cluster.nodes() {
        node.reconfigure(&node.address().to_string(), &format!("0.0.0.0:{PORT}"));
        discover(&node);
    }
    let host = cluster.node(1).host();
    let home = cluster.folder().join("second");
    std::fs::create_dir(&home).unwrap();
    let mut command = host.command(tidings());
    command
        .arg("run")
        .args(["--name", "n3", "--http", "off", "--discover"]);
    command.args(["--bind", "0.0.0.0:7500", "--overlay", OVERLAY]);
    let paths = [
        ("--data-dir", home.join("data")),
        ("--socket", home.join("sock")),
        ("--key-file", cluster.folder().join("overlay.key")),
    ];
    for (flag, path) in &paths {
        command.arg(flag).arg(path);
    }
    let second = host.spawn("second", command).unwrap();
    for node in cluster.nodes() {
        eventually("all three are there", SOON, || {
            node.sees(OVERLAY) == [1, 2, 3]
        });
    }
    let member = cluster.node(2).members(OVERLAY);
    let third = member.iter().find(|member| member.name == "n3").unwrap();
    let address: SocketAddr = third.address.parse().unwrap();
    assert_eq!(address, SocketAddr::from((host.ip4(), 7500)));
    assert!(second.is_running());
}
