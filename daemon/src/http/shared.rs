//! What all parts of the service share, and what outlives a panic of it: the way to the engine, the state, who may ask, the
//! samples of the counters. Handlers get it as axum's state.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use rustls::ServerConfig;
use tidings_engine::{Engine, EngineError, OverlayId, OverlayStats};
use tokio::sync::Semaphore;

use super::auth::{Authority, Doorman, tokens};
use super::body::BodyRoom;
use super::certificate::{CertificateError, Source};
use super::error::{ApiError, ApiResult};
use super::limits::{PUBLISHES, STREAMS};
use super::looks::Looks;
use super::publish::Letterboxes;
use super::questions::Questions;
use super::report::Reports;
use super::wall;
use super::windows::Windows;
use crate::config::InfluxSettings;
use crate::node::{Drain, Facts, Overlays, Refusal, Report};
use crate::state::StateFile;

/// See the module.
pub struct Shared {
    engine: Weak<Engine>,
    /// What does not change while the node runs.
    pub facts: Arc<Facts>,
    /// What is changed while it runs.
    pub state: Arc<StateFile>,
    /// The overlays, to change them.
    pub overlays: Arc<Overlays>,
    /// Finds out who asks.
    pub doorman: Doorman,
    /// Going out of service.
    pub drain: Arc<Drain>,
    /// Whether this machine reads the metrics without a password.
    pub metrics_open: bool,
    /// Whether everything has started: clients can attach, and overlays run.
    pub has_started: AtomicBool,
    /// Whether the node is about to end.
    pub is_stopping: AtomicBool,
    /// What the service counts of itself.
    pub counted: Counted,
    /// What is to be sent to systems for statistics.
    pub reports: Reports,
    /// The ways to those who publish.
    pub letterboxes: Letterboxes,
    /// Looks at the shards for health.
    pub looks: Looks,
    windows: Mutex<Windows>,
    places: Mutex<Arc<Places>>,
    certificate: Option<Source>,
    tls: RwLock<Option<Arc<ServerConfig>>>,
}

/// The places of one life of the service, whose threads they are for. A life that hangs keeps what it has taken, and whoever waits in
/// it would be given more: the next one has its own.
pub struct Places {
    /// Room for bodies that are being received.
    pub bodies: BodyRoom,
    /// Places for messages that are being published.
    pub publishes: Arc<Semaphore>,
    /// Places for streams of events.
    pub streams: Arc<Semaphore>,
    /// Places and threads for what waits for a shard or a disk.
    pub questions: Questions,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            bodies: BodyRoom::default(),
            publishes: Arc::new(Semaphore::new(PUBLISHES)),
            streams: Arc::new(Semaphore::new(STREAMS)),
            questions: Questions::default(),
        }
    }
}

/// What the service counts of itself.
#[derive(Default)]
pub struct Counted {
    /// Requests by the first digit of their answer's status, from 1.
    pub answers: [AtomicU64; 5],
    /// Requests that ended in a panic; each got a 500.
    pub panics: AtomicU64,
    /// Times that the service ended by itself, or hung, and started again.
    pub restarts: AtomicU64,
    /// Threads of earlier lives of it that hang.
    pub hung: AtomicU64,
    /// Connections that stand.
    pub connections: AtomicU64,
    /// Samples that were not taken, in the order of [`SAMPLES`].
    pub skipped: [AtomicU64; SAMPLES.len()],
}

/// What samples are for.
pub const SAMPLES: [&str; 2] = ["windows", "influxdb"];

/// One of [`SAMPLES`].
#[derive(Clone, Copy, Debug)]
pub enum Sample {
    /// Statistics by window.
    Windows,
    /// What is sent to InfluxDB.
    Influx,
}

/// What the parts are made of.
pub struct Parts {
    /// The node's engine, which is not kept alive.
    pub engine: Weak<Engine>,
    /// See [`Shared`].
    pub facts: Arc<Facts>,
    /// See [`Shared`].
    pub state: Arc<StateFile>,
    /// See [`Shared`].
    pub overlays: Arc<Overlays>,
    /// See [`Shared`].
    pub drain: Arc<Drain>,
    /// See [`Shared`].
    pub metrics_open: bool,
    /// Where statistics are sent, if they are.
    pub influx: Option<InfluxSettings>,
    /// None without TLS.
    pub certificate: Option<Source>,
}

impl Shared {
    /// Reads the certificate.
    pub fn new(parts: Parts) -> Result<Self, SharedError> {
        let source = parts.certificate;
        let tls = match &source {
            Some(source) => source.load().map_err(SharedError::Certificate)?,
            None => None,
        };
        Ok(Self {
            engine: parts.engine,
            facts: parts.facts,
            doorman: Doorman::new(Arc::clone(&parts.state)).map_err(SharedError::Randomness)?,
            state: parts.state,
            overlays: parts.overlays,
            drain: parts.drain,
            metrics_open: parts.metrics_open,
            has_started: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            counted: Counted::default(),
            reports: Reports::new(parts.influx),
            letterboxes: Letterboxes::default(),
            windows: Mutex::default(),
            looks: Looks::default(),
            places: Mutex::default(),
            certificate: source,
            tls: RwLock::new(tls),
        })
    }

    /// The node's engine, which may be gone.
    pub fn engine(&self) -> Weak<Engine> {
        self.engine.clone()
    }

    /// The TLS of the next connection; none if they are plain.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the certificate again; connections that stand keep theirs. A mistake leaves it as it was.
    pub fn reload_tls(&self) -> Result<(), CertificateError> {
        if let Some(source) = &self.certificate {
            let loaded = source.load()?;
            *self.tls.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        }
        Ok(())
    }

    /// Reads configuration and certificate again, and says so in the log.
    pub fn reload(&self) -> Result<Report, Refusal> {
        let mut report = self
            .overlays
            .reload()
            .inspect_err(|refusal| tracing::error!("{}: {refusal}", not_reloaded(refusal)))?;
        if let Err(error) = self.reload_tls() {
            report
                .refused
                .push(format!("http: {error}; {}", error.remedy));
        }
        self.looks.outdate();
        report.log();
        Ok(report)
    }

    /// Whether the certificate ends by itself being looked at.
    pub fn renews(&self) -> bool {
        self.certificate.as_ref().is_some_and(Source::is_self_made)
    }

    /// The places of the life that is there.
    pub fn places(&self) -> Arc<Places> {
        let places = self.places.lock();
        Arc::clone(&places.unwrap_or_else(PoisonError::into_inner))
    }

    /// Another life begins: nothing is taken in it, whatever the one before it holds.
    pub fn begin_life(&self) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        *places = Arc::default();
        self.looks.begin_life();
        self.doorman.passwords().begin_life();
    }

    /// The samples of the counters.
    pub fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a question answered by the engine, which may ask a shard and wait, on a blocking thread.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Engine) -> Result<T, EngineError> + Send + 'static,
    ) -> ApiResult<T> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(ApiError::stopping());
        }
        let engine = self.engine.clone();
        self.blocking(move || {
            let engine = engine.upgrade().ok_or_else(ApiError::stopping)?;
            question(&engine).map_err(ApiError::from)
        })
        .await?
    }

    /// Does work that waits, for a shard or a disk, on a blocking thread.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> ApiResult<T> {
        let turn = self.places().questions.turn().await;
        let turn = turn.ok_or_else(|| {
            ApiError::unavailable(
                "busy",
                "too many questions wait for the node's shards",
                "try again; /livez tells whether they answer at all",
            )
        })?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            // Until the work is done, though nobody may wait for it any more.
            drop(turn);
            done
        });
        match done.await {
            Ok(done) => Ok(done),
            // The runtime ends, or it panicked.
            Err(error) if error.is_cancelled() => Err(ApiError::stopping()),
            Err(_) => {
                self.counted.panics.fetch_add(1, Ordering::Relaxed);
                Err(ApiError::panicked())
            }
        }
    }

    /// Counts a panic of which nothing else ended but what one client asked, or one sample, and says so in the log.
    pub fn panicked(&self, what: &'static str) {
        self.counted.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!("{what}");
    }

    /// Counts a sample that was not taken because the shards did not answer. One that ends with the node was to be none. The error does
    /// not tell the two apart: for the engine a shard that does not answer is as one that has stopped.
    pub fn skipped(&self, sample: Sample) {
        let ends = self.is_stopping.load(Ordering::Relaxed) || self.engine.strong_count() == 0;
        if !ends {
            self.counted.skipped[sample as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Changes overlays, which may wait for names and farewells, on a blocking thread: one change at a time of each kind of asker. Of
    /// two kinds one waits for the other's change, but not for what that one's change itself has to wait for.
    pub async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Overlays) -> T + Send + 'static,
    ) -> ApiResult<T> {
        let turn = self.places().questions.change().await;
        let overlays = Arc::clone(&self.overlays);
        let changed = self.blocking(move || {
            let done = change(&overlays);
            // Until then, though nobody may wait for it any more.
            drop(turn);
            done
        });
        let changed = changed.await;
        self.looks.outdate();
        changed
    }

    /// Has a question about the overlay `name` answered by the engine.
    pub async fn ask_overlay<T: Send + 'static>(
        &self,
        name: String,
        question: impl FnOnce(&Engine, OverlayId) -> Result<T, EngineError> + Send + 'static,
    ) -> ApiResult<T> {
        let missing = ApiError::no_overlay(&name);
        let answer = self.ask(move |engine| {
            let id = find(engine, &name)?;
            question(engine, id)
        });
        answer.await.map_err(|error| match error.code() {
            "no_overlay" => missing,
            _ => error,
        })
    }

    /// Whether who asked may still do so: a token may have been revoked since, or its time be over.
    pub fn still_may(&self, authority: &Authority) -> bool {
        let Authority::Token {
            overlay, sha256, ..
        } = authority
        else {
            return true;
        };
        let now = wall::seconds();
        self.state.read(|state| {
            let kept = state.overlays.get(overlay);
            kept.is_some_and(|kept| tokens::find(&kept.tokens, sha256, now).is_some())
        })
    }

    /// Refuses what is about an overlay that does not run. No shard is asked, but whoever adds an overlay is waited for.
    pub async fn runs(&self, name: &str) -> ApiResult<()> {
        self.ask_overlay(name.to_owned(), |_, _| Ok(())).await
    }
}

/// What the log says of a reload that was refused.
fn not_reloaded(refusal: &Refusal) -> &'static str {
    match refusal {
        // It ended with its next step, and nothing is taken back: all overlays are left.
        Refusal::Stopping => {
            "configuration not reloaded as a whole, and what was changed by then is not taken back"
        }
        Refusal::NotMade { left, .. } if !left.is_empty() => {
            "configuration not reloaded, and not all that was begun could be taken back"
        }
        _ => "configuration not reloaded, nothing was changed",
    }
}

/// The id of the overlay of this name.
pub fn find(engine: &Engine, name: &str) -> Result<OverlayId, EngineError> {
    let mut entries = engine.overlays().into_iter();
    let entry = entries.find(|entry| entry.name == name);
    entry.map(|entry| entry.id).ok_or(EngineError::Unknown)
}

/// The counters of one overlay.
pub fn stats_of(engine: &Engine, id: OverlayId) -> Result<OverlayStats, EngineError> {
    let overlays = engine.stats()?.overlays;
    let mut overlays = overlays.into_iter();
    overlays
        .find(|overlay| overlay.id == id)
        .ok_or(EngineError::Unknown)
}

/// Why the service cannot be made.
#[derive(Debug)]
pub enum SharedError {
    /// Its certificate.
    Certificate(CertificateError),
    /// The system's random generator.
    Randomness(std::io::Error),
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::future::{Future, pending, poll_fn, ready};
    use std::path::PathBuf;
    use std::pin::pin;
    use std::sync::mpsc::channel;
    use std::task::Poll;
    use std::time::Instant;

    use futures_util::future::{join, join_all};

    use super::*;
    use crate::args::RunArgs;
    use crate::config::HttpTls;
    use crate::http::limits::QUESTIONS;
    use crate::http::questions::Asker;
    use crate::load::Base;
    use crate::node::Clients;

    fn shared(dir: &std::path::Path, tls: HttpTls) -> Shared {
        let facts = Facts {
            name: "n".to_owned(),
            socket: PathBuf::new(),
            data_dir: dir.to_owned(),
            since: Instant::now(),
            ready_timeout: Default::default(),
        };
        let certificate = Source {
            tls,
            data_dir: dir.to_owned(),
            address: "127.0.0.1:1".parse().unwrap(),
            host: "host".to_owned(),
        };
        let state = Arc::new(StateFile::open(dir).unwrap());
        let base = Base::read(&RunArgs::default()).unwrap();
        let settings = base.settings(&Default::default()).unwrap();
        let known = (base, settings);
        let clients = Arc::new(Clients::new(Weak::new(), Arc::clone(&state), Vec::new()));
        let overlays = Overlays::new(
            Weak::new(),
            Arc::clone(&state),
            known,
            clients,
            Box::new(|| ()),
        );
        let parts = Parts {
            engine: Weak::new(),
            facts: Arc::new(facts),
            state,
            overlays: Arc::new(overlays),
            drain: Arc::new(Drain::new(Weak::new(), crate::node::orders().0)),
            metrics_open: false,
            influx: None,
            certificate: Some(certificate),
        };
        Shared::new(parts).expect("it can be made")
    }

    #[test]
    fn a_certificate_is_read_again_and_a_mistake_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join("http").join(name);
        drop(shared(dir.path(), HttpTls::SelfMade));
        let (cert, key) = (file("cert.pem"), file("key.pem"));
        let shared = shared(
            dir.path(),
            HttpTls::Files {
                cert: cert.clone(),
                key,
            },
        );
        let first = shared.tls().expect("TLS");
        shared.reload_tls().unwrap();
        let second = shared.tls().expect("TLS");
        assert!(!Arc::ptr_eq(&first, &second));
        fs::write(cert, "no certificate").unwrap();
        assert!(shared.reload_tls().is_err());
        assert!(Arc::ptr_eq(&shared.tls().expect("TLS"), &second));
    }

    #[test]
    fn a_reload_that_ends_with_the_node_is_not_said_to_have_changed_nothing() {
        let stopping = not_reloaded(&Refusal::Stopping);
        assert!(!stopping.contains("nothing was changed"), "{stopping}");
        let refused = not_reloaded(&Refusal::Exists("a".to_owned()));
        assert!(refused.contains("nothing was changed"), "{refused}");
    }

    #[test]
    fn a_look_that_a_life_began_before_it_hung_keeps_no_later_one_from_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let shared = shared(dir.path(), HttpTls::Off);
        let paused = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().start_paused(true).build().unwrap()
        };
        let hung = paused();
        let silent = hung.block_on(shared.looks.look(pending));
        assert!(silent.is_none());
        // It is still there with the look, and nobody goes on with it.
        shared.begin_life();
        let next = paused();
        let looks = || next.block_on(shared.looks.look(|| ready(Some(Vec::new()))));
        assert!(looks().is_some());
        drop(hung);
        assert!(looks().is_some());
    }

    #[test]
    fn without_an_engine_questions_are_refused_and_too_many_at_a_time_are_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let shared = shared(dir.path(), HttpTls::Off);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let refused = shared.ask(|_| Ok(())).await.expect_err("no engine");
            assert_eq!(refused.code(), "stopping");
            let (held, is_over) = channel::<()>();
            let is_over = Arc::new(Mutex::new(is_over));
            let asked = (1..QUESTIONS).map(|_| {
                let is_over = Arc::clone(&is_over);
                // None ends before all are there.
                shared.blocking(move || is_over.lock().map(|is_over| is_over.recv()).is_ok())
            });
            // The last place has a change, which waits behind them.
            let asked = join(join_all(asked), shared.change(|_| ()));
            let mut asked = pin!(asked);
            let all_wait =
                poll_fn(|context| Poll::Ready(asked.as_mut().poll(context).is_pending()));
            assert!(all_wait.await);
            let refused = shared.blocking(|| ()).await.expect_err("no room");
            assert_eq!(refused.code(), "busy");
            let own = Asker::Owner.does(shared.blocking(|| 7)).await;
            assert_eq!(own.expect("a place of its own"), 7);
            let own = Asker::Owner.does(shared.change(|_| 7)).await;
            assert_eq!(own.expect("a change of its own"), 7);
            // Another life has all of it, though nobody ends what the one before began.
            shared.begin_life();
            assert_eq!(shared.blocking(|| 8).await.expect("a place"), 8);
            drop(held);
            let (asked, changed) = asked.await;
            assert!(asked.iter().all(Result::is_ok) && changed.is_ok());
        });
    }
}
