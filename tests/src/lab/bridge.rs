//! The fabric without impairment: a bridge in a namespace of its own and a veth pair to every host, so that GSO batches
//! cross whole and GRO receivers get them whole.

use std::io;
use std::os::fd::AsFd;

use super::namespace::{Namespace, context};
use super::netlink::{LinkChange, Netlink};

const BRIDGE: &str = "bridge";

#[derive(Debug)]
pub(super) struct Bridge {
    namespace: Namespace,
}

impl Bridge {
    pub(super) fn create() -> io::Result<Bridge> {
        let (namespace, ()) = Namespace::create(|netlink| {
            netlink
                .add_bridge(BRIDGE)
                .map_err(|e| context(e, "a bridge (kernel module `bridge`)"))?;
            let index = netlink.link(BRIDGE)?.index;
            netlink.set_link(
                index,
                LinkChange {
                    up: true,
                    ..LinkChange::default()
                },
            )
        })?;
        Ok(Bridge { namespace })
    }

    /// Makes `name` in the host that `netlink` speaks for, and plugs its other end in.
    pub(super) fn plug(
        &self,
        netlink: &mut Netlink,
        name: &str,
        number: usize,
        mtu: u32,
    ) -> io::Result<()> {
        let peer = format!("host{number}");
        netlink
            .add_veth(name, &peer, self.namespace.as_fd())
            .map_err(|e| context(e, "a veth pair (kernel module `veth`)"))?;
        self.namespace.run(|| {
            let mut netlink = Netlink::open()?;
            let bridge = netlink.link(BRIDGE)?.index;
            let port = netlink.link(&peer)?.index;
            netlink.set_link(
                port,
                LinkChange {
                    mtu: Some(mtu),
                    bridge: Some(bridge),
                    up: true,
                    ..LinkChange::default()
                },
            )
        })?
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}
