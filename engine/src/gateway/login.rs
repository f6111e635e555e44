//! One login: the frames until WELCOME, without ever blocking. What the bytes mean is decided here; the control thread moves
//! them.

use std::sync::Arc;

use tidings_wire::client::auth::{Challenge, Hello, NONCE_SIZE, Proof};
use tidings_wire::client::key::{SECRET_SIZE, Transcript};
use tidings_wire::client::{CLIENT_PROTOCOL, ClientKey, ErrorCode, Request, Side};
use tidings_wire::{Boot, NodeId};

use super::grant::{Grant, Grants, Rights};

/// Who the daemon is, and whom it knows.
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    pub(crate) boot: Boot,
    /// The daemon's uid.
    pub(crate) uid: u32,
    pub(crate) grants: Grants,
    /// Stands in for the secret of a name that is not known, so that it takes the same time.
    pub(crate) dummy: [u8; SECRET_SIZE],
}

/// How far a login got.
pub(crate) enum Login {
    /// HELLO has not come.
    Waiting,
    /// CHALLENGE is sent.
    Challenged(Box<Challenged>),
    /// It is done.
    Done,
}

/// What PROOF is checked against.
pub(crate) struct Challenged {
    name: String,
    client_nonce: [u8; NONCE_SIZE],
    daemon_nonce: [u8; NONCE_SIZE],
    key: ClientKey,
    grant: Option<Arc<Grant>>,
}

/// What a frame led to.
pub(crate) enum Step {
    /// Send this and wait.
    Challenge(Challenge),
    /// The client is who it says.
    Admit { name: String, rights: Rights },
    /// It is not, or may not attach.
    Refuse {
        code: ErrorCode,
        text: &'static str,
        /// The name whose proof was wrong.
        failed: Option<String>,
    },
}

const DENIED: &str = "this user may not attach to this daemon without a client name and its secret";
const UNPROVEN: &str = "the client's name or secret is not known to this daemon";

impl Login {
    /// Takes the next frame. `uid` is the peer's, as the kernel tells it; `nonce` is fresh.
    pub(crate) fn step(
        &mut self,
        request: &Request<'_>,
        uid: u32,
        nonce: [u8; NONCE_SIZE],
        who: &Identity,
    ) -> Step {
        match (std::mem::replace(self, Self::Done), request) {
            (Self::Waiting, Request::Hello(hello)) => self.hello(hello, uid, nonce, who),
            (Self::Challenged(challenged), Request::Proof(proof)) => challenged.check(proof, who),
            _ => {
                let text = "HELLO comes first, and PROOF after a CHALLENGE only";
                Step::Refuse {
                    code: ErrorCode::Protocol,
                    text,
                    failed: None,
                }
            }
        }
    }

    fn hello(
        &mut self,
        hello: &Hello<'_>,
        uid: u32,
        nonce: [u8; NONCE_SIZE],
        who: &Identity,
    ) -> Step {
        if hello.version_min > CLIENT_PROTOCOL || hello.version_max < CLIENT_PROTOCOL {
            let text = "this daemon speaks version 1 of the client protocol only";
            return Step::Refuse {
                code: ErrorCode::Version,
                text,
                failed: None,
            };
        }
        if !hello.prove {
            return match uid == who.uid {
                true => Step::Admit {
                    name: hello.name.to_owned(),
                    rights: Rights::All,
                },
                false => Step::Refuse {
                    code: ErrorCode::Denied,
                    text: DENIED,
                    failed: None,
                },
            };
        }
        let grant = who.grants.get(hello.name).cloned();
        let secret = grant.as_ref().map_or(&who.dummy, |grant| &grant.secret);
        let challenged = Challenged {
            name: hello.name.to_owned(),
            client_nonce: hello.nonce,
            daemon_nonce: nonce,
            key: ClientKey::derive(secret, hello.name),
            grant,
        };
        let proof = challenged
            .key
            .prove(Side::Daemon, &challenged.transcript(who));
        *self = Self::Challenged(Box::new(challenged));
        Step::Challenge(Challenge {
            node: who.node,
            boot: who.boot,
            nonce,
            proof,
        })
    }
}

impl Challenged {
    fn transcript<'a>(&'a self, who: &Identity) -> Transcript<'a> {
        Transcript {
            client_nonce: &self.client_nonce,
            daemon_nonce: &self.daemon_nonce,
            node: who.node,
            boot: who.boot,
            name: &self.name,
        }
    }

    fn check(self: Box<Self>, proof: &Proof, who: &Identity) -> Step {
        let proven = self
            .key
            .verify(Side::Client, &self.transcript(who), &proof.proof);
        match self.grant {
            Some(grant) if proven => Step::Admit {
                name: self.name,
                rights: Rights::Granted(grant),
            },
            _ => Step::Refuse {
                code: ErrorCode::Denied,
                text: UNPROVEN,
                failed: Some(self.name),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn identity() -> Identity {
        let grant = Grant {
            name: "worker".into(),
            secret: [5; SECRET_SIZE],
            overlays: Vec::new(),
            publish: Vec::new(),
            subscribe: Vec::new(),
        };
        Identity {
            node: NodeId([1; 16]),
            boot: Boot([2; 16]),
            uid: 1000,
            grants: HashMap::from([("worker".to_owned(), Arc::new(grant))]),
            dummy: [9; SECRET_SIZE],
        }
    }

    fn hello(prove: bool, name: &str) -> Request<'_> {
        Request::Hello(Hello {
            version_min: 1,
            version_max: 3,
            nonce: [3; 32],
            prove,
            name,
        })
    }

    /// Logs in as a client with this secret would.
    fn prove(secret: [u8; SECRET_SIZE], name: &str) -> Step {
        let who = identity();
        let mut login = Login::Waiting;
        let Step::Challenge(challenge) = login.step(&hello(true, name), 77, [4; 32], &who) else {
            panic!("no challenge");
        };
        let transcript = Transcript {
            client_nonce: &[3; 32],
            daemon_nonce: &challenge.nonce,
            node: challenge.node,
            boot: challenge.boot,
            name,
        };
        let proof = ClientKey::derive(&secret, name).prove(Side::Client, &transcript);
        login.step(&Request::Proof(Proof { proof }), 77, [0; 32], &who)
    }

    #[test]
    fn the_daemons_own_user_needs_no_secret_and_others_do() {
        let who = identity();
        assert!(matches!(
            Login::Waiting.step(&hello(false, "any"), 1000, [4; 32], &who),
            Step::Admit {
                rights: Rights::All,
                ..
            }
        ));
        assert!(matches!(
            Login::Waiting.step(&hello(false, ""), 77, [4; 32], &who),
            Step::Refuse {
                code: ErrorCode::Denied,
                failed: None,
                ..
            }
        ));
    }

    #[test]
    fn a_proven_name_gets_its_grant_and_everybody_else_one_answer() {
        assert!(matches!(
            prove([5; 32], "worker"),
            Step::Admit {
                rights: Rights::Granted(_),
                ..
            }
        ));
        for (secret, name) in [
            ([6; 32], "worker"),
            ([5; 32], "stranger"),
            ([9; 32], "stranger"),
        ] {
            assert!(
                matches!(
                    prove(secret, name),
                    Step::Refuse {
                        code: ErrorCode::Denied,
                        text: UNPROVEN,
                        failed: Some(failed),
                    } if failed == name
                ),
                "{name}"
            );
        }
    }

    #[test]
    fn frames_out_of_place_and_unknown_versions_are_refused() {
        let who = identity();
        let proof = Request::Proof(Proof { proof: [0; 32] });
        assert!(matches!(
            Login::Waiting.step(&proof, 1000, [4; 32], &who),
            Step::Refuse {
                code: ErrorCode::Protocol,
                ..
            }
        ));
        let future = Request::Hello(Hello {
            version_min: 2,
            version_max: 3,
            nonce: [3; 32],
            prove: false,
            name: "",
        });
        assert!(matches!(
            Login::Waiting.step(&future, 1000, [4; 32], &who),
            Step::Refuse {
                code: ErrorCode::Version,
                ..
            }
        ));
    }
}
