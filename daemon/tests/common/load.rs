//! Messages on their way while something is changed.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Node, good, tidings};

/// Messages on their way in the overlay `news`, from one node to another for as long as it lives.
pub(crate) struct Load {
    ends: Arc<AtomicBool>,
    feeder: Option<JoinHandle<u64>>,
    publisher: Option<Child>,
    subscriber: Child,
}

impl Load {
    pub(crate) fn begin(from: &Node, to: &Node) -> Self {
        let subscriber = tidings(to.path())
            .args(["sub", "news", "t", "--ordered", "--as", "reader"])
            .stdout(Stdio::from(
                fs::File::create(to.path().join("got")).unwrap(),
            ))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let publish = [
            "pub",
            "news",
            "t",
            "--lines",
            "--confirm",
            "delivered",
            "--wait-for",
            "1",
        ];
        let mut publisher = tidings(from.path())
            .args(publish)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = publisher.stdin.take().unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        let feeder = thread::spawn(move || {
            let mut sent = 0;
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    writeln!(input, "{sent}").unwrap();
                    sent += 1;
                }
                thread::sleep(Duration::from_millis(10));
            }
            sent
        });
        Self {
            ends,
            feeder: Some(feeder),
            publisher: Some(publisher),
            subscriber,
        }
    }

    /// All came, once each and in order.
    pub(crate) fn end(mut self, to: &Node) {
        self.ends.store(true, Ordering::Relaxed);
        let sent = self.feeder.take().unwrap().join().unwrap();
        let told = self.publisher.take().unwrap().wait_with_output().unwrap();
        let all = format!("accepted {sent}, delivered {sent}, failed 0");
        assert!(good(told).contains(&all), "{all}");
        let _ = Command::new("kill")
            .args(["-TERM", &self.subscriber.id().to_string()])
            .status();
        self.subscriber.wait().unwrap();
        let got = fs::read_to_string(to.path().join("got")).unwrap();
        let got = got.lines().map(|line| line.parse::<u64>().unwrap());
        assert!(got.eq(0..sent), "all {sent} came in order");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for child in self.publisher.iter_mut().chain([&mut self.subscriber]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
