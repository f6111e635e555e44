//! Publishes lines from standard input: `publisher BIND JOIN TOPIC` (`publisher 127.0.0.1:7401 127.0.0.1:7402 orders.new`).
//! Both ends use the same key, here a fixed one; a real cluster reads it from a file made by `tidings keygen`.

use std::error::Error;
use std::io::BufRead;
use std::time::Duration;

use tidings_engine::{
    Engine, KeyRecord, Keyring, OverlayConfig, OverlayId, PublisherOptions, Suite,
};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, bind, join, topic] = args.as_slice() else {
        return Err("usage: publisher BIND JOIN TOPIC".into());
    };
    let engine = Engine::builder().bind(bind.parse()?).start()?;
    let key = KeyRecord::new(0, Suite::Aes256Gcm, [7; 32]);
    let keyring = Keyring::new(OverlayId::from_name("example"), vec![key], 0)?;
    let config = OverlayConfig::new("example", keyring).join([join.parse()?]);
    let overlay = engine.add_overlay(config)?;

    let mut publisher = engine.publisher(overlay, topic, PublisherOptions::default())?;
    while engine.owed(overlay, topic)? == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    for line in std::io::stdin().lock().lines() {
        publisher.publish_within(line?.as_bytes(), Duration::from_secs(5))?;
    }
    let settled = publisher.settled_within(Duration::from_secs(10));
    while let Some(failed) = publisher.try_outcome() {
        println!("{}..{} {}", failed.from, failed.to, failed.outcome.label());
    }
    engine.shutdown();
    settled
        .then_some(())
        .ok_or("not all settled within 10 s".into())
}
