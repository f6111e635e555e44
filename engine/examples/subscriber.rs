//! Prints what is published: `subscriber BIND JOIN PATTERN [COUNT]` (`subscriber 127.0.0.1:7402 127.0.0.1:7401 'orders.*'`).
//! Stops after COUNT messages, or runs for ever.

use std::error::Error;
use std::time::Duration;

use tidings_engine::{
    Engine, KeyRecord, Keyring, OverlayConfig, OverlayId, Received, SubscriberOptions, Suite,
};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, bind, join, pattern, rest @ ..] = args.as_slice() else {
        return Err("usage: subscriber BIND JOIN PATTERN [COUNT]".into());
    };
    let mut left = rest.first().map_or(Ok(u64::MAX), |count| count.parse())?;
    let engine = Engine::builder().bind(bind.parse()?).start()?;
    let key = KeyRecord::new(0, Suite::Aes256Gcm, [7; 32]);
    let keyring = Keyring::new(OverlayId::from_name("example"), vec![key], 0)?;
    let config = OverlayConfig::new("example", keyring).join([join.parse()?]);
    let overlay = engine.add_overlay(config)?;

    let mut subscriber = engine.subscribe(overlay, &[pattern], SubscriberOptions::default())?;
    while left > 0 {
        let message = match subscriber.next_within(Duration::from_secs(60)) {
            Some(Received::Message(message)) => message,
            Some(Received::Gap(gap)) => return Err(format!("lost {gap:?}").into()),
            None => continue,
        };
        let text = String::from_utf8_lossy(message.payload);
        println!("{} {text}", message.topic);
        let (sub, id) = (message.sub, message.id);
        subscriber.ack(sub, id);
        left -= 1;
    }
    subscriber.flush();
    // The last acknowledgements have this long to travel.
    std::thread::sleep(Duration::from_millis(200));
    engine.shutdown();
    Ok(())
}
