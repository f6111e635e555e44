//! Panics on purpose, for the tests: only in builds with debug assertions, and only of a daemon whose environment has
//! `TIDINGS_HTTP_PANICS`. A request with the header `x-tidings-panic: request` panics; `service` makes the service itself do so, and
//! `hang` its thread wait without end. A header, because the restart has to be seen from outside, with connections open; no release build has any of it.

use std::env;
use std::thread;

use axum::extract::Request;
use tokio::sync::{Notify, watch};

use super::serve::unless;

const VARIABLE: &str = "TIDINGS_HTTP_PANICS";
const HEADER: &str = "x-tidings-panic";
static ASKED: Notify = Notify::const_new();

/// Panics if the request asks for it.
pub fn panic_if_asked(request: &Request) {
    let Some(what) = request.headers().get(HEADER) else {
        return;
    };
    if env::var_os(VARIABLE).is_none() {
        return;
    }
    match what.as_bytes() {
        b"service" => ASKED.notify_one(),
        b"hang" => loop {
            thread::park();
        },
        _ => panic!("on purpose, by a request"),
    }
}

/// A part of the service that panics once it is asked to.
pub async fn wait(mut stopped: watch::Receiver<bool>) {
    if unless(&mut stopped, ASKED.notified()).await.is_some() {
        panic!("on purpose, of the service");
    }
}
