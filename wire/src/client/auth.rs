//! The frames that begin a connection: HELLO, CHALLENGE, PROOF, WELCOME, and ERROR, which may end it.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::codes::ErrorCode;
use super::frame::{self, Fixed, FrameError, Kind};
use super::{MAX_CLIENT_NAME, valid_client_name};
use crate::ids::{Boot, NodeId};

/// Bytes of a nonce of either side.
pub const NONCE_SIZE: usize = 32;
/// Bytes of a proof: HMAC-SHA256.
pub const PROOF_SIZE: usize = 32;

/// Flag of HELLO: the client holds a secret and will prove it. Without the flag the daemon admits only its own uid.
pub const FLAG_PROVE: u8 = 1;
/// Flag of ERROR: the daemon closes the connection after this frame.
pub const FLAG_FATAL: u8 = 1;
/// Number in an ERROR that is about no numbered thing.
pub const NO_NUMBER: u32 = u32::MAX;

/// HELLO: who the client is and which versions it speaks. Tail: its name, empty for an unnamed client.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct HelloFixed {
    /// Lowest version of the client protocol that the client speaks.
    pub version_min: U16,
    /// Highest.
    pub version_max: U16,
    /// Fresh random bytes of this connection.
    pub nonce: [u8; NONCE_SIZE],
    /// Bytes of the name.
    pub name_len: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// CHALLENGE: the daemon's nonce, and its proof that it knows the client's secret.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct ChallengeFixed {
    /// The node that the daemon runs.
    pub node: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// Fresh random bytes of this connection.
    pub nonce: [u8; NONCE_SIZE],
    /// `HMAC(K, "d" || nonces || node || boot || name)`, see [`super::key`].
    pub proof: [u8; PROOF_SIZE],
}

/// PROOF: the client's proof that it holds its secret.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct ProofFixed {
    /// `HMAC(K, "c" || nonces || node || boot || name)`, see [`super::key`].
    pub proof: [u8; PROOF_SIZE],
}

/// WELCOME: the session stands. Tail: the node's name.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct WelcomeFixed {
    /// Version of the client protocol that both use from here on.
    pub version: U16,
    /// Bytes of the node's name.
    pub name_len: u8,
    /// Zero.
    pub reserved: u8,
    /// Largest frame (value of its length field) that the daemon takes.
    pub max_frame: U32,
    /// The node that the daemon runs.
    pub node: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// Fencing token: each acknowledgement carries it; a newer login under the name gets a higher one.
    pub session_epoch: U64,
    /// Bytes of PUBLISH frames that the client may send on this connection in all, until a CREDIT says more.
    pub credit: U64,
}

/// ERROR: something was refused. Tail: a sentence for people.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
pub struct ErrorFixed {
    /// One of [`ErrorCode`].
    pub code: U16,
    /// Kind of the frame that was refused; 0 if none.
    pub refused: u8,
    /// Zero.
    pub reserved: u8,
    /// The number in that frame (subscription, publisher, watch or request), or [`NO_NUMBER`].
    pub number: U32,
}

impl Fixed for HelloFixed {
    const KIND: Kind = Kind::Hello;
}
impl Fixed for ChallengeFixed {
    const KIND: Kind = Kind::Challenge;
}
impl Fixed for ProofFixed {
    const KIND: Kind = Kind::Proof;
}
impl Fixed for WelcomeFixed {
    const KIND: Kind = Kind::Welcome;
}
impl Fixed for ErrorFixed {
    const KIND: Kind = Kind::Error;
}

/// Longest sentence in an ERROR.
const MAX_ERROR_TEXT: usize = 4096;

/// A decoded HELLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Lowest version that the client speaks.
    pub version_min: u16,
    /// Highest.
    pub version_max: u16,
    /// The client's nonce.
    pub nonce: [u8; NONCE_SIZE],
    /// Whether the client will prove that it holds its secret.
    pub prove: bool,
    /// Its name, empty for none.
    pub name: &'a str,
}

impl<'a> Hello<'a> {
    pub(crate) fn decode(flags: u8, body: &'a [u8]) -> Result<Self, FrameError> {
        let (fixed, tail) = frame::fixed::<HelloFixed>(body)?;
        let (name, _) = frame::text(Kind::Hello, tail, fixed.name_len as usize)?;
        if !name.is_empty() && !valid_client_name(name) {
            return Err(FrameError::Malformed(Kind::Hello as u8));
        }
        Ok(Self {
            version_min: fixed.version_min.get(),
            version_max: fixed.version_max.get(),
            nonce: fixed.nonce,
            prove: flags & FLAG_PROVE != 0,
            name,
        })
    }

    /// Appends the frame. The name is one that [`valid_client_name`] passes, or empty.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let name = frame::clip(self.name, MAX_CLIENT_NAME);
        let fixed = HelloFixed {
            version_min: U16::new(self.version_min),
            version_max: U16::new(self.version_max),
            nonce: self.nonce,
            name_len: name.len() as u8,
            reserved: [0; 3],
        };
        frame::put(
            out,
            if self.prove { FLAG_PROVE } else { 0 },
            &fixed,
            &[name.as_bytes()],
        );
    }
}

/// A decoded CHALLENGE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The node that the daemon runs.
    pub node: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// The daemon's nonce.
    pub nonce: [u8; NONCE_SIZE],
    /// The daemon's proof.
    pub proof: [u8; PROOF_SIZE],
}

impl Challenge {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let (fixed, _) = frame::fixed::<ChallengeFixed>(body)?;
        Ok(Self {
            node: fixed.node,
            boot: fixed.boot,
            nonce: fixed.nonce,
            proof: fixed.proof,
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let fixed = ChallengeFixed {
            node: self.node,
            boot: self.boot,
            nonce: self.nonce,
            proof: self.proof,
        };
        frame::put(out, 0, &fixed, &[]);
    }
}

/// A decoded PROOF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The client's proof.
    pub proof: [u8; PROOF_SIZE],
}

impl Proof {
    pub(crate) fn decode(body: &[u8]) -> Result<Self, FrameError> {
        Ok(Self {
            proof: frame::fixed::<ProofFixed>(body)?.0.proof,
        })
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        frame::put(out, 0, &ProofFixed { proof: self.proof }, &[]);
    }
}

/// A decoded WELCOME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// Version that both use.
    pub version: u16,
    /// Largest frame that the daemon takes.
    pub max_frame: u32,
    /// The node that the daemon runs.
    pub node: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// Fencing token of this session.
    pub session_epoch: u64,
    /// Bytes of PUBLISH frames that the client may send on this connection in all.
    pub credit: u64,
    /// The node's name.
    pub name: &'a str,
}

impl<'a> Welcome<'a> {
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, FrameError> {
        let (fixed, tail) = frame::fixed::<WelcomeFixed>(body)?;
        let (name, _) = frame::text(Kind::Welcome, tail, fixed.name_len as usize)?;
        Ok(Self {
            version: fixed.version.get(),
            max_frame: fixed.max_frame.get(),
            node: fixed.node,
            boot: fixed.boot,
            session_epoch: fixed.session_epoch.get(),
            credit: fixed.credit.get(),
            name,
        })
    }

    /// Appends the frame; a name beyond 255 bytes is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let name = frame::clip(self.name, u8::MAX as usize);
        let fixed = WelcomeFixed {
            version: U16::new(self.version),
            name_len: name.len() as u8,
            reserved: 0,
            max_frame: U32::new(self.max_frame),
            node: self.node,
            boot: self.boot,
            session_epoch: U64::new(self.session_epoch),
            credit: U64::new(self.credit),
        };
        frame::put(out, 0, &fixed, &[name.as_bytes()]);
    }
}

/// A decoded ERROR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Why.
    pub code: ErrorCode,
    /// Whether the daemon closes the connection.
    pub fatal: bool,
    /// Kind of the frame that was refused; 0 if none.
    pub refused: u8,
    /// The number in that frame, or [`NO_NUMBER`].
    pub number: u32,
    /// A sentence for people.
    pub text: &'a str,
}

impl<'a> Refusal<'a> {
    pub(crate) fn decode(flags: u8, body: &'a [u8]) -> Result<Self, FrameError> {
        let (fixed, tail) = frame::fixed::<ErrorFixed>(body)?;
        let (text, _) = frame::text(Kind::Error, tail, tail.len())?;
        Ok(Self {
            code: ErrorCode::of(fixed.code.get()).unwrap_or(ErrorCode::Failed),
            fatal: flags & FLAG_FATAL != 0,
            refused: fixed.refused,
            number: fixed.number.get(),
            text,
        })
    }

    /// Appends the frame; a text beyond 4 KiB is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let fixed = ErrorFixed {
            code: U16::new(self.code as u16),
            refused: self.refused,
            reserved: 0,
            number: U32::new(self.number),
        };
        let text = frame::clip(self.text, MAX_ERROR_TEXT);
        frame::put(
            out,
            if self.fatal { FLAG_FATAL } else { 0 },
            &fixed,
            &[text.as_bytes()],
        );
    }
}
