//! Places and threads for what waits for a shard or a disk, kept apart by who asks: however much is asked over the network, the
//! daemon's own user is answered, and the service sees how the node is. Nothing is asked here; `shared` does that.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::auth::Peer;
use super::limits::{
    ASKING, ASKING_OWNER, ASKING_SERVICE, QUESTIONS, QUESTIONS_OWNER, QUESTIONS_SERVICE,
    SUBSCRIBING,
};

/// On whose behalf something is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Whoever comes over the network, and other users of this host.
    Network,
    /// The daemon's own user, or root, at the Unix socket.
    Owner,
    /// The service by itself: health, reports.
    Service,
}

tokio::task_local! {
    static ASKER: Asker;
}

impl Asker {
    /// Who is at the other end of a connection.
    pub fn at(peer: Peer) -> Self {
        match peer.is_owner() {
            true => Self::Owner,
            false => Self::Network,
        }
    }

    /// Does what is asked within `future` on its behalf. Tasks that begin there are again the network's.
    pub async fn does<T>(self, future: impl Future<Output = T>) -> T {
        ASKER.scope(self, future).await
    }

    /// Whoever has nobody to speak for has no more than the network.
    fn current() -> Self {
        ASKER.try_with(|asker| *asker).unwrap_or(Self::Network)
    }
}

/// See the module.
pub struct Questions {
    network: Lane,
    owner: Lane,
    service: Lane,
}

/// Those of one kind of asker.
struct Lane {
    /// For what waits, and what is being done.
    places: Arc<Semaphore>,
    /// For what is being done.
    threads: Arc<Semaphore>,
    /// For a change of overlays. They wait for one another anyway: the other threads are there for what only looks.
    changes: Arc<Semaphore>,
    /// For subscriptions that are about to begin.
    subscribing: Arc<Semaphore>,
}

impl Lane {
    fn new(places: usize, threads: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            threads: Arc::new(Semaphore::new(threads)),
            changes: Arc::new(Semaphore::new(1)),
            subscribing: Arc::new(Semaphore::new(SUBSCRIBING)),
        }
    }
}

/// A place and a thread, taken until the work is done, though nobody may wait for it any more.
pub struct Turn {
    _place: OwnedSemaphorePermit,
    _thread: OwnedSemaphorePermit,
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            network: Lane::new(QUESTIONS, ASKING),
            owner: Lane::new(QUESTIONS_OWNER, ASKING_OWNER),
            service: Lane::new(QUESTIONS_SERVICE, ASKING_SERVICE),
        }
    }
}

impl Questions {
    fn lane(&self) -> &Lane {
        match Asker::current() {
            Asker::Network => &self.network,
            Asker::Owner => &self.owner,
            Asker::Service => &self.service,
        }
    }

    /// What whoever asks now takes before its turn at a change of overlays, and keeps until it is done; waited for behind those of the
    /// same kind.
    pub async fn change(&self) -> Option<OwnedSemaphorePermit> {
        let changes = Arc::clone(&self.lane().changes);
        changes.acquire_owned().await.ok()
    }

    /// The same for a subscription that is about to begin.
    pub async fn subscribe(&self) -> Option<OwnedSemaphorePermit> {
        let subscribing = Arc::clone(&self.lane().subscribing);
        subscribing.acquire_owned().await.ok()
    }

    /// A turn for whoever asks now, waited for behind those of the same kind; none if too many wait already.
    pub async fn turn(&self) -> Option<Turn> {
        let lane = self.lane();
        let place = Arc::clone(&lane.places).try_acquire_owned().ok()?;
        let thread = Arc::clone(&lane.threads).acquire_owned().await.ok()?;
        Some(Turn {
            _place: place,
            _thread: thread,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::runtime::{Builder, Runtime};
    use tokio::time::{Duration, timeout};

    use super::*;

    /// Time passes when all wait.
    fn paused() -> Runtime {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    }

    #[test]
    fn however_much_the_network_asks_owner_and_service_have_their_turn() {
        let runtime = paused();
        let questions = Questions::default();
        runtime.block_on(async {
            let mut held = Vec::new();
            for _ in 0..ASKING {
                held.push(questions.turn().await.expect("a thread"));
            }
            // Those that wait have their places, one more has none.
            let waiting = join_all((ASKING..QUESTIONS).map(|_| questions.turn()));
            let mut waiting = std::pin::pin!(waiting);
            let soon = Duration::from_secs(1);
            assert!(timeout(soon, waiting.as_mut()).await.is_err());
            assert!(questions.turn().await.is_none());
            for (asker, threads) in [
                (Asker::Owner, ASKING_OWNER),
                (Asker::Service, ASKING_SERVICE),
            ] {
                for _ in 0..threads {
                    let turn = timeout(soon, asker.does(questions.turn())).await;
                    held.push(turn.expect("no wait").expect("a place"));
                }
            }
            // Who comes later is behind those that wait.
            held.remove(0);
            assert!(timeout(soon, questions.turn()).await.is_err());
        });
    }

    #[test]
    fn changes_and_subscriptions_of_the_network_keep_the_owner_from_none_of_its_own() {
        let runtime = paused();
        let questions = Questions::default();
        let soon = Duration::from_secs(1);
        runtime.block_on(async {
            let mut held = Vec::new();
            for asker in [Asker::Network, Asker::Owner] {
                let change = || timeout(soon, asker.does(questions.change()));
                held.push(change().await.expect("no wait"));
                assert!(change().await.is_err());
                let subscribe = || timeout(soon, asker.does(questions.subscribe()));
                for _ in 0..SUBSCRIBING {
                    held.push(subscribe().await.expect("no wait"));
                }
                assert!(subscribe().await.is_err());
            }
        });
    }
}
