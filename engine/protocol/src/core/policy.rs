//! Another policy for an overlay that runs: it holds at once, for members, paths, subscriptions and messages that are there, too.

use super::*;
use crate::config::Policy;
use crate::publish::subscriber::Subscriber;
use crate::tables::index::SubRef;

impl Core {
    /// Replaces what may change while the overlay runs. Suspects have until then as if they had become so under the new timing;
    /// clients that are gone as if they had gone under the new grace; paths are probed anew, and those that carry more than
    /// `max_datagram` are used for less; a smaller store gives up at once what only catch-up needs. `max_message` holds for what is
    /// published from now on, see [`Batch::up_to`].
    pub fn set_policy(&mut self, now: u64, policy: Policy, out: &mut dyn Outlet) {
        let policy = policy.bounded();
        let was = std::mem::replace(&mut self.config.policy, policy);
        let (mut ctx, members) = self.ctx(now);
        members.set_timing(&mut ctx, policy.profile);
        if was.max_datagram != policy.max_datagram {
            self.links.set_datagram_max(now, policy.max_datagram);
        }
        self.grace.time = policy.client_grace;
        self.publish.set_policy(&policy, &self.peers, now, out);
        self.set_redelivery(policy.redelivery);
    }

    fn set_redelivery(&mut self, redelivery: crate::Redelivery) {
        let changed = self.tables.set_redelivery(redelivery);
        if changed.is_empty() {
            return;
        }
        for sub in changed {
            if let Some(spec) = self.tables.own.spec(sub) {
                let sub = SubRef {
                    peer: PeerIx::LOCAL,
                    sub,
                };
                self.publish
                    .on_subscribed(sub, Subscriber::new(spec.policy, redelivery));
            }
        }
        self.members.set_table_version(self.tables.own.version());
    }
}
