//! A connection that is waited for only so long: for the first byte of a request, for the rest of its head, for the peer to
//! take what is written. Wraps whatever carries HTTP; what is between a request and its answer is timed elsewhere.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::limits::{HEAD_TIME, IDLE_TIME, WRITE_TIME};

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing of a request has come since then.
    Idle(Instant),
    /// Its head began to come then.
    Head(Instant),
    /// So many are answered.
    Answering(usize),
}

/// The stage of one connection: its requests move it on.
#[derive(Clone, Debug)]
pub struct Stages {
    stage: Arc<Mutex<Stage>>,
    flushes: Flushes,
}

/// How often everything that was to be written to one connection was, and handed to the kernel. In the extensions of each
/// request, for answers that have to know what went out.
#[derive(Clone, Debug, Default)]
pub struct Flushes(Arc<Mutex<Flushed>>);

#[derive(Debug, Default)]
struct Flushed {
    count: u64,
    /// Who wants to hear of the next.
    waker: Option<Waker>,
}

impl Flushes {
    fn now(&self) -> MutexGuard<'_, Flushed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.now().count
    }

    /// Ready when there were more than `count`.
    pub fn poll_beyond(&self, context: &mut Context<'_>, count: u64) -> Poll<()> {
        let mut flushed = self.now();
        if flushed.count > count {
            return Poll::Ready(());
        }
        flushed.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn add(&self) {
        let waker = {
            let mut flushed = self.now();
            flushed.count += 1;
            flushed.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A request that is being answered, until this is dropped.
pub struct Answering(Stages);

impl Stages {
    fn new() -> Self {
        Self {
            stage: Arc::new(Mutex::new(Stage::Idle(Instant::now()))),
            flushes: Flushes::default(),
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was flushed.
    pub fn flushes(&self) -> Flushes {
        self.flushes.clone()
    }

    /// A request's head has come.
    pub fn answer(&self) -> Answering {
        let mut stage = self.stage();
        *stage = match *stage {
            Stage::Answering(count) => Stage::Answering(count + 1),
            Stage::Idle(_) | Stage::Head(_) => Stage::Answering(1),
        };
        Answering(self.clone())
    }

    fn read(&self) {
        let mut stage = self.stage();
        if let Stage::Idle(_) = *stage {
            *stage = Stage::Head(Instant::now());
        }
    }

    /// Since when something is waited for, and how long it may take.
    fn waits(&self) -> Option<(Instant, Duration)> {
        match *self.stage() {
            Stage::Idle(since) => Some((since, IDLE_TIME)),
            Stage::Head(since) => Some((since, HEAD_TIME)),
            Stage::Answering(_) => None,
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut stage = self.0.stage();
        *stage = match *stage {
            Stage::Answering(count) if count > 1 => Stage::Answering(count - 1),
            _ => Stage::Idle(Instant::now()),
        };
    }
}

/// See the module.
pub struct Patient<Io> {
    io: Io,
    stages: Stages,
    reading: Alarm,
    writing: Alarm,
    /// Nothing was taken since then.
    stuck_since: Option<Instant>,
}

/// A timer that is set only while something is waited for.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    fn poll(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(context)
    }
}

impl<Io> Patient<Io> {
    /// A connection that has just come, and its stages.
    pub fn new(io: Io) -> (Self, Stages) {
        let stages = Stages::new();
        let patient = Self {
            io,
            stages: stages.clone(),
            reading: Alarm::default(),
            writing: Alarm::default(),
            stuck_since: None,
        };
        (patient, stages)
    }

    /// `written` unless the peer has taken nothing for too long.
    fn took<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck_since = None;
            return written;
        }
        let since = *self.stuck_since.get_or_insert_with(Instant::now);
        ready!(self.writing.poll(context, since + WRITE_TIME));
        Poll::Ready(Err(late(WRITE_TIME)))
    }
}

fn late(time: Duration) -> io::Error {
    let text = format!("the peer took longer than {} s", time.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

impl<Io: AsyncRead + Unpin> AsyncRead for Patient<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.io).poll_read(context, buffer) {
            if buffer.filled().len() > before {
                this.stages.read();
            }
            return Poll::Ready(read);
        }
        match this.stages.waits() {
            None => Poll::Pending,
            Some((since, time)) => {
                ready!(this.reading.poll(context, since + time));
                Poll::Ready(Err(late(time)))
            }
        }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Patient<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.took(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        if let Poll::Ready(Ok(())) = flushed {
            self.stages.flushes.add();
        }
        self.took(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(context);
        self.took(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Runs it with a clock that jumps over every pause.
    fn at_once(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(test);
    }

    #[test]
    fn heads_are_waited_for_less_long_than_requests_and_answers_not_at_all() {
        at_once(async {
            let (mut client, server) = duplex(64);
            let (mut server, stages) = Patient::new(server);
            let mut byte = [0];
            let begin = Instant::now();
            client.write_all(b"G").await.unwrap();
            server.read_exact(&mut byte).await.unwrap();
            assert!(server.read_exact(&mut byte).await.is_err());
            assert_eq!(begin.elapsed().as_secs(), HEAD_TIME.as_secs());
            let (first, answering) = (stages.answer(), stages.answer());
            drop(first);
            let long = tokio::time::timeout(10 * IDLE_TIME, server.read_exact(&mut byte));
            assert!(long.await.is_err(), "it is still waited for");
            drop(answering);
            let begin = Instant::now();
            assert!(server.read_exact(&mut byte).await.is_err());
            assert_eq!(begin.elapsed().as_secs(), IDLE_TIME.as_secs());
        });
    }

    #[test]
    fn whoever_waits_for_a_flush_hears_of_the_next() {
        at_once(async {
            let (_client, server) = duplex(64);
            let (mut server, stages) = Patient::new(server);
            let flushes = stages.flushes();
            let beyond = |count| {
                let flushes = flushes.clone();
                std::future::poll_fn(move |context| flushes.poll_beyond(context, count))
            };
            let waits = tokio::time::timeout(IDLE_TIME, beyond(0)).await;
            assert!(waits.is_err());
            server.write_all(b"x").await.unwrap();
            server.flush().await.unwrap();
            beyond(0).await;
            assert_eq!(flushes.count(), 1);
        });
    }

    #[test]
    fn a_peer_that_takes_nothing_is_given_up() {
        at_once(async {
            let (_client, server) = duplex(8);
            let (mut server, _) = Patient::new(server);
            let begin = Instant::now();
            assert!(server.write_all(&[0; 64]).await.is_err());
            assert_eq!(begin.elapsed().as_secs(), WRITE_TIME.as_secs());
        });
    }
}
