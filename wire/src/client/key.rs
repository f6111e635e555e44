//! The client's own secret and the proofs made with it. Both sides prove that they know the secret, the daemon first,
//! and nothing that either says helps to guess it. A client's secret is unrelated to any overlay key.

use ring::{hkdf, hmac};

use super::auth::{NONCE_SIZE, PROOF_SIZE};
use crate::ids::{Boot, NodeId};

/// Bytes of a client secret.
pub const SECRET_SIZE: usize = 32;

/// HKDF salt: client keys are apart from every other key of the system.
const SALT: &[u8] = b"tidings/1 local";

/// Which side proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The daemon, first.
    Daemon,
    /// The client.
    Client,
}

/// What both proofs of one connection are about.
#[derive(Clone, Copy, Debug)]
pub struct Transcript<'a> {
    /// The client's nonce.
    pub client_nonce: &'a [u8; NONCE_SIZE],
    /// The daemon's nonce.
    pub daemon_nonce: &'a [u8; NONCE_SIZE],
    /// The daemon's node.
    pub node: NodeId,
    /// Its boot.
    pub boot: Boot,
    /// The client's name.
    pub name: &'a str,
}

/// `HKDF-SHA256(salt = "tidings/1 local", ikm = secret, info = name)`, ready to prove and to check proofs.
pub struct ClientKey(hmac::Key);

impl ClientKey {
    /// Derives the key of the client `name` from its secret.
    pub fn derive(secret: &[u8; SECRET_SIZE], name: &str) -> Self {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret);
        let info = [name.as_bytes()];
        let okm = prk
            .expand(&info, hmac::HMAC_SHA256)
            .expect("32 bytes are within HKDF's bound");
        Self(okm.into())
    }

    /// The proof of `side`.
    pub fn prove(&self, side: Side, transcript: &Transcript<'_>) -> [u8; PROOF_SIZE] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in transcript.parts(side) {
            context.update(part);
        }
        let mut proof = [0; PROOF_SIZE];
        proof.copy_from_slice(context.sign().as_ref());
        proof
    }

    /// Whether `proof` is that of `side`, in constant time.
    pub fn verify(
        &self,
        side: Side,
        transcript: &Transcript<'_>,
        proof: &[u8; PROOF_SIZE],
    ) -> bool {
        let message: Vec<u8> = transcript.parts(side).concat();
        hmac::verify(&self.0, &message, proof).is_ok()
    }
}

impl<'a> Transcript<'a> {
    /// What is signed. Every part but the last has a fixed length, so no two transcripts read the same.
    fn parts(&'a self, side: Side) -> [&'a [u8]; 6] {
        let label: &[u8] = match side {
            Side::Daemon => b"d",
            Side::Client => b"c",
        };
        [
            label,
            self.client_nonce,
            self.daemon_nonce,
            &self.node.0,
            &self.boot.0,
            self.name.as_bytes(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript<'a>(name: &'a str, nonces: &'a [[u8; NONCE_SIZE]; 2]) -> Transcript<'a> {
        Transcript {
            client_nonce: &nonces[0],
            daemon_nonce: &nonces[1],
            node: NodeId([3; 16]),
            boot: Boot([4; 16]),
            name,
        }
    }

    #[test]
    fn a_proof_verifies_for_its_side_its_name_and_its_nonces_only() {
        let nonces = [[1; NONCE_SIZE], [2; NONCE_SIZE]];
        let other = [[1; NONCE_SIZE], [9; NONCE_SIZE]];
        let key = ClientKey::derive(&[7; SECRET_SIZE], "worker");
        let proof = key.prove(Side::Daemon, &transcript("worker", &nonces));
        assert!(key.verify(Side::Daemon, &transcript("worker", &nonces), &proof));
        assert!(!key.verify(Side::Client, &transcript("worker", &nonces), &proof));
        assert!(!key.verify(Side::Daemon, &transcript("walker", &nonces), &proof));
        assert!(!key.verify(Side::Daemon, &transcript("worker", &other), &proof));
        let stranger = ClientKey::derive(&[8; SECRET_SIZE], "worker");
        assert!(!stranger.verify(Side::Daemon, &transcript("worker", &nonces), &proof));
    }
}
