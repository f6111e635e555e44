//! The destination's addresses by its name. The system's resolver blocks, with a dead name server for a minute and more: a lookup has a
//! thread of its own while it lasts, beside those of the service, and there is one at a time.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::thread;

use tokio::sync::oneshot;

type Found = io::Result<Vec<SocketAddr>>;

/// What is being looked up. A try that gives up leaves its lookup to the next one.
#[derive(Default)]
pub struct Lookup {
    running: Option<oneshot::Receiver<Found>>,
}

impl Lookup {
    /// The addresses of `host`, which is a name or an address itself.
    pub async fn addresses(&mut self, host: &str, port: u16) -> Found {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let name = host.to_owned();
        self.find(move || Ok((name.as_str(), port).to_socket_addrs()?.collect()))
            .await
    }

    /// What the lookup that runs finds; `resolve` if there is none.
    async fn find(&mut self, resolve: impl FnOnce() -> Found + Send + 'static) -> Found {
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(begin(resolve)?),
        };
        let found = running.await;
        self.running = None;
        // It panicked.
        found.unwrap_or_else(|_| Err(io::Error::other("the lookup of its name ended")))
    }
}

fn begin(resolve: impl FnOnce() -> Found + Send + 'static) -> io::Result<oneshot::Receiver<Found>> {
    let (tell, told) = oneshot::channel();
    thread::Builder::new()
        .name("tidings-lookup".to_owned())
        .spawn(move || {
            // Nobody waits for it if the service has ended.
            let _ = tell.send(resolve());
        })?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use tokio::runtime::Builder;
    use tokio::task::spawn_blocking;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn tries_share_a_lookup_that_takes_long_and_it_takes_no_thread_of_the_service() {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let address = SocketAddr::from(([192, 0, 2, 1], 8_086));
        let begun = Arc::new(AtomicUsize::new(0));
        let (answer, answers) = channel();
        let mut answers = Some(answers);
        let mut resolver = || {
            let (begun, answers) = (Arc::clone(&begun), answers.take());
            move || {
                begun.fetch_add(1, Ordering::Relaxed);
                // The first waits until it is let go, at the latest when the test fails.
                let _ = answers.map(|answers| answers.recv());
                Ok(vec![address])
            }
        };
        runtime.block_on(async {
            let mut lookup = Lookup::default();
            for _ in 0..5 {
                let tried = timeout(Duration::from_millis(5), lookup.find(resolver())).await;
                assert!(tried.is_err());
            }
            let work = timeout(Duration::from_secs(60), spawn_blocking(|| 7)).await;
            assert_eq!(work.unwrap().unwrap(), 7);
            answer.send(()).unwrap();
            assert_eq!(lookup.find(resolver()).await.unwrap(), [address]);
            assert_eq!(begun.load(Ordering::Relaxed), 1);
            // That one is done: the next is new.
            assert_eq!(lookup.find(resolver()).await.unwrap(), [address]);
            assert_eq!(begun.load(Ordering::Relaxed), 2);
        });
    }

    #[test]
    fn a_lookup_that_panics_is_an_error_and_the_next_one_is_new() {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut lookup = Lookup::default();
            assert!(lookup.find(|| panic!("as it should")).await.is_err());
            assert!(lookup.find(|| Ok(Vec::new())).await.is_ok());
        });
    }

    #[test]
    fn an_address_needs_no_lookup() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let mut lookup = Lookup::default();
        for host in ["192.0.2.1", "2001:db8::1"] {
            let found = runtime.block_on(lookup.addresses(host, 8_086)).unwrap();
            assert_eq!(found, [SocketAddr::new(host.parse().unwrap(), 8_086)]);
            assert!(lookup.running.is_none());
        }
        let found = runtime.block_on(lookup.addresses("localhost", 8_086));
        assert!(found.unwrap().iter().all(|found| found.ip().is_loopback()));
    }
}
