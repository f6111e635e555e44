//! The frames that begin a connection: who this client is, that the daemon knows its secret, that it holds it.

use std::time::Instant;

use ring::rand::{SecureRandom, SystemRandom};
use tidings_wire::client::auth::{Hello, NONCE_SIZE, Proof, Welcome};
use tidings_wire::client::frame::split;
use tidings_wire::client::key::Transcript;
use tidings_wire::client::{CLIENT_PROTOCOL, ClientKey, ErrorCode, FrameError, Kind, Reply, Side};

use crate::error::Error;
use crate::event::Attached;
use crate::limits::LOGIN_WAIT;
use crate::options::Options;
use crate::stream::Stream;
use crate::trust::check_folder;

/// A connection that stands, and what WELCOME said.
pub(crate) struct Login {
    pub(crate) stream: Stream,
    pub(crate) attached: Attached,
    pub(crate) session_epoch: u64,
    pub(crate) credit: u64,
}

/// Connects and logs in.
pub(crate) fn login(options: &Options) -> Result<Login, Error> {
    let mut stream = connect(options)?;
    let mut nonce = [0; NONCE_SIZE];
    SystemRandom::new()
        .fill(&mut nonce)
        .map_err(|_| Error::Random)?;
    let name = options.name.as_deref().unwrap_or("");
    let hello = Hello {
        version_min: CLIENT_PROTOCOL,
        version_max: CLIENT_PROTOCOL,
        nonce,
        prove: options.secret.is_some(),
        name,
    };
    hello.encode(&mut stream.output);
    let until = Instant::now() + LOGIN_WAIT;
    if let Some(secret) = &options.secret {
        let frame = next_frame(&mut stream, until)?;
        let Reply::Challenge(challenge) = decode(stream.bytes(frame))? else {
            return Err(unexpected());
        };
        let transcript = Transcript {
            client_nonce: &nonce,
            daemon_nonce: &challenge.nonce,
            node: challenge.node,
            boot: challenge.boot,
            name,
        };
        let key = ClientKey::derive(&secret.0, name);
        if !key.verify(Side::Daemon, &transcript, &challenge.proof) {
            return Err(Error::Impostor);
        }
        let proof = Proof {
            proof: key.prove(Side::Client, &transcript),
        };
        proof.encode(&mut stream.output);
    }
    let frame = next_frame(&mut stream, until)?;
    let Reply::Welcome(welcome) = decode(stream.bytes(frame))? else {
        return Err(unexpected());
    };
    let Welcome {
        session_epoch,
        credit,
        node,
        boot,
        ..
    } = welcome;
    let attached = Attached {
        node,
        boot,
        name: welcome.name.to_owned(),
    };
    Ok(Login {
        stream,
        attached,
        session_epoch,
        credit,
    })
}

/// A connection to the daemon, or to whoever will have to prove that it knows the secret.
fn connect(options: &Options) -> Result<Stream, Error> {
    let untrusted = |distrust| Error::Untrusted {
        socket: options.socket.clone(),
        distrust,
    };
    let no_daemon = |error| Error::NoDaemon {
        socket: options.socket.clone(),
        error,
    };
    if options.secret.is_some() {
        return Stream::connect(&options.socket).map_err(no_daemon);
    }
    check_folder(&options.socket).map_err(untrusted)?;
    let stream = Stream::connect(&options.socket).map_err(no_daemon)?;
    let listener = stream.check_listener().map_err(no_daemon)?;
    listener.map_err(untrusted)?;
    Ok(stream)
}

fn next_frame(stream: &mut Stream, until: Instant) -> Result<std::ops::Range<usize>, Error> {
    loop {
        stream.drain();
        if stream.scan()?.is_some() {
            return stream.take().ok_or(unexpected());
        }
        if stream.fill()? {
            continue;
        }
        if let Some(why) = stream.ended() {
            return Err(Error::Lost(why.to_owned()));
        }
        if Instant::now() >= until {
            return Err(Error::TimedOut);
        }
        stream.wait(Some(until));
    }
}

/// Decodes a frame; an ERROR becomes the error that it is.
fn decode(bytes: &[u8]) -> Result<Reply<'_>, Error> {
    let (raw, _) = split(bytes)?.ok_or(FrameError::TooShort)?;
    match Reply::decode(raw)? {
        Reply::Error(refusal) => Err(Error::Refused {
            code: refusal.code,
            text: refusal.text.to_owned(),
        }),
        reply => Ok(reply),
    }
}

fn unexpected() -> Error {
    Error::Refused {
        code: ErrorCode::Protocol,
        text: format!("the daemon sent another frame than {:?}", Kind::Welcome),
    }
}
