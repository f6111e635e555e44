//! Puts a cluster together: lab, key, configuration of each node.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::cluster::{Cluster, Seat};
use super::{OVERLAY, PORT, tidings};
use crate::lab::{Impairment, Lab, LabBuilder};

/// How long all nodes may take to see each other on a network that does no harm to speak of.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

/// What the acceptance list calls a bad network: 5 +- 2 ms, 2 % lost, 1 % doubled, 25 % sent ahead.
pub fn bad_network() -> Impairment {
    Impairment::default()
        .delay(Duration::from_millis(5))
        .jitter(Duration::from_millis(2))
        .loss(0.02)
        .duplicate(0.01)
        .ahead(0.25)
}

/// Makes a [`Cluster`]. Defaults: three nodes, IPv4, one overlay, one shard each, the first node is the seed.
#[derive(Clone, Debug)]
pub struct ClusterBuilder {
    nodes: usize,
    hosts: usize,
    lab: LabBuilder,
    v6: bool,
    shards: usize,
    overlays: Vec<String>,
    overlay_keys: String,
    client_keys: String,
    clients: Vec<String>,
    seeds: Vec<usize>,
}

impl ClusterBuilder {
    pub(super) fn new() -> ClusterBuilder {
        ClusterBuilder {
            nodes: 3,
            hosts: 0,
            lab: Lab::builder(),
            v6: false,
            shards: 1,
            overlays: vec![OVERLAY.into()],
            overlay_keys: String::new(),
            client_keys: String::new(),
            clients: Vec::new(),
            seeds: vec![1],
        }
    }

    /// How many nodes, each on a host of its own.
    pub fn nodes(self, nodes: usize) -> Self {
        ClusterBuilder { nodes, ..self }
    }

    /// How many hosts; those above the nodes run no daemon.
    pub fn hosts(self, hosts: usize) -> Self {
        ClusterBuilder { hosts, ..self }
    }

    /// What every link does.
    pub fn impairment(self, impairment: Impairment) -> Self {
        ClusterBuilder {
            lab: self.lab.impairment(impairment),
            ..self
        }
    }

    /// A bridge between the hosts instead of the switch, so that GSO batches stay whole.
    pub fn bridge(self) -> Self {
        ClusterBuilder {
            lab: self.lab.bridge(),
            ..self
        }
    }

    /// Nodes bind and join by IPv6.
    pub fn v6(self) -> Self {
        ClusterBuilder { v6: true, ..self }
    }

    /// Shards of each node.
    pub fn shards(self, shards: usize) -> Self {
        ClusterBuilder { shards, ..self }
    }

    /// Overlays that every node runs.
    pub fn overlays(self, names: &[&str]) -> Self {
        let overlays = names.iter().map(|&name| name.into()).collect();
        ClusterBuilder { overlays, ..self }
    }

    /// Lines for every `[[overlay]]` of every node.
    pub fn overlay_keys(self, lines: &str) -> Self {
        ClusterBuilder {
            overlay_keys: lines.into(),
            ..self
        }
    }

    /// Lines for `[client]` of every node.
    pub fn client_keys(self, lines: &str) -> Self {
        ClusterBuilder {
            client_keys: lines.into(),
            ..self
        }
    }

    /// A client that every node admits by name, with a secret of its own in `NAME.secret`.
    pub fn client(mut self, name: &str) -> Self {
        self.clients.push(name.into());
        self
    }

    /// Nodes through which the others join.
    pub fn seeds(self, seeds: &[usize]) -> Self {
        ClusterBuilder {
            seeds: seeds.to_vec(),
            ..self
        }
    }

    /// Makes lab and configuration; no daemon runs yet.
    ///
    /// # Panics
    /// If the lab, the key or a file cannot be made.
    pub fn build(self) -> Cluster {
        let hosts = self.hosts.max(self.nodes);
        let lab = self.lab.clone().hosts(hosts).build().expect("a lab");
        let folder = lab.folder().to_owned();
        keygen(&folder.join("overlay.key"), &[]);
        let clients = self.clients_file(&folder);
        let address = |number: usize| {
            let host = lab.host(number);
            let ip: IpAddr = if self.v6 {
                host.ip6().into()
            } else {
                host.ip4().into()
            };
            SocketAddr::new(ip, PORT)
        };
        let seats = (1..=self.nodes).map(|number| {
            let home = folder.join(format!("node-{number}"));
            std::fs::create_dir_all(home.join("data")).expect("a folder");
            let seat = Seat::new(home, address(number));
            let seeds: Vec<SocketAddr> = self
                .seeds
                .iter()
                .filter(|&&seed| seed != number)
                .map(|&seed| address(seed))
                .collect();
            let config = self.config(number, &seat, &seeds, clients.as_deref());
            std::fs::write(&seat.config, config).expect("a configuration file");
            seat
        });
        let seats = seats.collect();
        Cluster::new(lab, seats, self.overlays.clone())
    }

    /// As [`build`](Self::build), then starts all nodes and waits until they see each other.
    ///
    /// # Panics
    /// If they do not.
    pub fn start(self) -> Cluster {
        let cluster = self.build();
        for node in cluster.nodes() {
            node.start();
        }
        cluster.wait_whole(WHOLE_WITHIN);
        cluster
    }

    fn clients_file(&self, folder: &Path) -> Option<PathBuf> {
        let mut text = String::new();
        for name in &self.clients {
            let secret = folder.join(format!("{name}.secret"));
            keygen(&secret, &["--client", name]);
            write!(
                text,
                "[[client]]\nname = {name:?}\nsecret_file = {secret:?}\noverlays = [\"*\"]\npublish = [\"*\"]\nsubscribe = [\"*\"]\n"
            )
            .expect("writing to a string");
        }
        if text.is_empty() {
            return None;
        }
        let file = folder.join("clients.toml");
        std::fs::write(&file, text).expect("a client file");
        private(&file);
        Some(file)
    }

    fn config(
        &self,
        number: usize,
        seat: &Seat,
        seeds: &[SocketAddr],
        clients: Option<&Path>,
    ) -> String {
        let seeds: Vec<String> = seeds.iter().map(ToString::to_string).collect();
        let mut text = format!(
            "[node]\nname = \"n{number}\"\nbind = \"{}\"\ndata_dir = \"data\"\nshards = {}\n\n[client]\nsocket = \"sock\"\n{}\n",
            seat.address, self.shards, self.client_keys
        );
        if let Some(clients) = clients {
            writeln!(text, "clients_file = {clients:?}").expect("writing to a string");
        }
        for name in &self.overlays {
            writeln!(
                text,
                "\n[[overlay]]\nname = {name:?}\nkey_file = \"../overlay.key\"\njoin = {seeds:?}\n{}",
                self.overlay_keys
            )
            .expect("writing to a string");
        }
        text
    }
}

/// `tidings keygen`.
pub(super) fn keygen(file: &Path, args: &[&str]) {
    let output = Command::new(tidings())
        .arg("keygen")
        .args(args)
        .arg(file)
        .output()
        .expect("the program starts");
    assert!(
        output.status.success(),
        "tidings keygen: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn private(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
}
