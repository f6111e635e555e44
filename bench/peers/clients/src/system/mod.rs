//! The peers, one file each. Where a part is missing its peers answer with the part's name.

#[cfg(has_aeron)]
mod aeron;
mod broker;
mod mosquitto;
#[cfg(has_libnats)]
mod nats_c;
#[cfg(feature = "nats")]
mod nats_rust;
mod redis;
#[cfg(feature = "zenoh")]
mod zenoh;

use tidings_loadgen::{Error, Plan, Services, System};

use crate::catalogue::{Known, Made};
use crate::certificates;

/// Lives as long as the program, as a list of systems does.
fn made(system: impl System + 'static) -> Made {
    Ok(Box::leak(Box::new(system)))
}

/// Peers are compared on one topic.
fn check(plan: &Plan) -> Result<(), Error> {
    if plan.topics == 1 {
        Ok(())
    } else {
        let topics = plan.topics;
        Err(Error::Usage(format!(
            "--topics {topics}: peers are run with one topic"
        )))
    }
}

/// Whether a peer's messages are.
fn is_encrypted(known: &Known) -> bool {
    known.class.encryption != "none"
}

/// The broker of both clients of NATS.
#[allow(dead_code)] // Without both clients nobody needs it.
fn nats_server(known: &Known) -> Result<Box<dyn Services>, Error> {
    let is_encrypted = is_encrypted(known);
    broker::Broker::start("nats-server", |folder, port| {
        let mut arguments = vec!["-a".to_owned(), "127.0.0.1".to_owned()];
        arguments.extend(["-p".to_owned(), port.to_string()]);
        if is_encrypted {
            certificates::make(folder)?;
            let certificate = certificates::certificate(folder).display().to_string();
            let key = certificates::key(folder).display().to_string();
            arguments.extend(["--tls".to_owned(), "--tlscert".to_owned(), certificate]);
            arguments.extend(["--tlskey".to_owned(), key]);
        }
        Ok(arguments)
    })
}

pub(crate) fn nats_rust(known: Known) -> Made {
    #[cfg(feature = "nats")]
    let system = made(nats_rust::Nats { known });
    #[cfg(not(feature = "nats"))]
    let system = missing(known, "nats");
    system
}

pub(crate) fn nats_c(known: Known) -> Made {
    #[cfg(has_libnats)]
    let system = made(nats_c::Nats { known });
    #[cfg(not(has_libnats))]
    let system = missing(known, "libnats");
    system
}

pub(crate) fn zenoh(known: Known) -> Made {
    #[cfg(feature = "zenoh")]
    let system = made(zenoh::Zenoh { known });
    #[cfg(not(feature = "zenoh"))]
    let system = missing(known, "zenoh");
    system
}

pub(crate) fn aeron(known: Known) -> Made {
    #[cfg(has_aeron)]
    let system = made(aeron::Aeron { known });
    #[cfg(not(has_aeron))]
    let system = missing(known, "aeron");
    system
}

pub(crate) fn redis(known: Known) -> Made {
    made(redis::Redis { known })
}

pub(crate) fn mosquitto(known: Known) -> Made {
    made(mosquitto::Mosquitto { known })
}

#[allow(dead_code)] // With every part there is nobody to call it.
fn missing(_: Known, part: &'static str) -> Made {
    Err(part)
}
