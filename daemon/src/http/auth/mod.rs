//! Who asks, and what they may: credentials of a request made an authority, and held against what its route needs. Called
//! once for each request, by `routes`; nothing else decides about authority.

pub mod credential;
pub mod first;
pub mod passwords;
pub mod throttle;
pub mod tokens;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::http::HeaderMap;

use self::credential::{Credential, User};
use self::passwords::Passwords;
use self::throttle::{Claim, Throttle};
use super::error::{ApiError, ApiResult};
use super::wall;
use crate::paths;
use crate::state::{State, StateFile};

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing. What it answers may differ with authority.
    Open,
    /// The user `user`, or more.
    User,
    /// As `User`; nothing for processes of this machine where the configuration says so.
    Metrics,
    /// A token of the overlay that the path names, or the superuser.
    Overlay,
    /// The superuser.
    Superuser,
}

impl Level {
    /// Who has it, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "nobody in particular",
            Self::User | Self::Metrics => "the user `user` or `superuser`",
            Self::Overlay => "a token of that overlay, or of the user `superuser`",
            Self::Superuser => "the user `superuser`",
        }
    }
}

/// Who asks. In the extensions of every request that reaches a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Nobody said who they are.
    Nobody,
    /// The user `user`.
    User,
    /// The holder of a token.
    Token {
        /// The overlay that it is for.
        overlay: String,
        /// Its name.
        name: String,
        /// What is kept of it, to look whether it still is.
        sha256: String,
    },
    /// The user `superuser`, or a process of the daemon's own uid or of root.
    Superuser,
}

impl Authority {
    /// Whether it may do everything.
    pub fn is_superuser(&self) -> bool {
        *self == Self::Superuser
    }

    /// Whether it suffices for a route of `level`, at `overlay` if its path names one.
    pub fn suffices(&self, level: Level, overlay: Option<&str>) -> bool {
        match level {
            Level::Open => true,
            Level::User | Level::Metrics => matches!(self, Self::User | Self::Superuser),
            Level::Superuser => self.is_superuser(),
            Level::Overlay => match self {
                Self::Superuser => true,
                Self::Token { overlay: of, .. } => Some(of.as_str()) == overlay,
                Self::User | Self::Nobody => false,
            },
        }
    }

    /// Who it is, for error messages and the log.
    pub fn name(&self) -> String {
        match self {
            Self::Nobody => "nobody".to_owned(),
            Self::User => "the user `user`".to_owned(),
            Self::Token { overlay, name, .. } => {
                format!("the holder of token {name:?} of overlay {overlay:?}")
            }
            Self::Superuser => "the user `superuser`".to_owned(),
        }
    }
}

/// The other end of a connection. In the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// Of the network.
    Ip(IpAddr),
    /// A process of this machine at the Unix socket, by its effective uid.
    Uid(u32),
}

impl Peer {
    /// Whether it is on this machine.
    pub fn is_local(self) -> bool {
        match self {
            Self::Ip(ip) => ip.to_canonical().is_loopback(),
            Self::Uid(_) => true,
        }
    }

    /// What failures are counted by: whoever has one address of an IPv6 network has 2^64 of them.
    fn source(self) -> Self {
        match self {
            Self::Ip(ip) => match ip.to_canonical() {
                IpAddr::V6(v6) => {
                    let network = v6.to_bits() & !u128::from(u64::MAX);
                    Self::Ip(Ipv6Addr::from_bits(network).into())
                }
                v4 => Self::Ip(v4),
            },
            Self::Uid(uid) => Self::Uid(uid),
        }
    }

    /// Whether it needs no password: what it could not ask for here it could do to the daemon itself.
    pub fn is_owner(self) -> bool {
        matches!(self, Self::Uid(uid) if uid == 0 || uid == paths::uid())
    }
}

/// Finds out who asks.
pub struct Doorman {
    state: Arc<StateFile>,
    passwords: Passwords,
    throttle: Throttle,
    /// Credentials that were not valid, those of the locked out included.
    failures: AtomicU64,
}

impl Doorman {
    /// By what `state` holds.
    pub fn new(state: Arc<StateFile>) -> std::io::Result<Self> {
        Ok(Self {
            passwords: Passwords::new(Arc::clone(&state))?,
            throttle: Throttle::default(),
            failures: AtomicU64::new(0),
            state,
        })
    }

    /// The passwords.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Requests with credentials that were not valid.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Who sends `headers` from `peer`. What they present counts, even if they could do without.
    pub async fn identify(&self, headers: &HeaderMap, peer: Peer) -> ApiResult<Authority> {
        let found = self.look(headers, peer).await;
        if found.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    async fn look(&self, headers: &HeaderMap, peer: Peer) -> ApiResult<Authority> {
        let credential = Credential::of(headers)?;
        let claim = match &credential {
            Credential::None if peer.is_owner() => return Ok(Authority::Superuser),
            Credential::None => return Ok(Authority::Nobody),
            Credential::Password { user, .. } => Claim::User(*user),
            Credential::Stranger => Claim::Stranger,
            Credential::Token { .. } => Claim::Token,
        };
        let source = peer.source();
        let found = match credential {
            Credential::Password { user, password } => {
                self.throttle.admit(source, claim, Instant::now())?;
                let is_right = self.passwords.verify(user.name(), password).await?;
                is_right.then_some(user.authority())
            }
            // 256 random bits are not guessed, and looked up at once: who holds them is never held back by others' failures.
            Credential::Token { overlay, token } => {
                let now = wall::seconds();
                self.state
                    .read(|state| holder(state, &token, overlay.as_deref(), now))
            }
            Credential::None | Credential::Stranger => None,
        };
        match found {
            Some(authority) => {
                self.throttle.succeeded(source, claim);
                Ok(authority)
            }
            None => {
                self.throttle.admit(source, claim, Instant::now())?;
                self.throttle.failed(source, claim, Instant::now());
                tracing::warn!(peer = ?peer, "a request with credentials that are not valid");
                Err(ApiError::unauthorized(
                    "bad_credentials",
                    "the password or token is not valid",
                    "check it; a token may have been revoked, rotated or have expired",
                ))
            }
        }
    }
}

/// Whose token it is. With `within`, only of that overlay.
fn holder(state: &State, token: &str, within: Option<&str>, now: u64) -> Option<Authority> {
    let digest = tokens::digest(token);
    let overlays = state.overlays.iter();
    let mut overlays = overlays.filter(|(name, _)| within.is_none_or(|within| within == *name));
    overlays.find_map(|(overlay, kept)| {
        let held = tokens::find(&kept.tokens, &digest, now)?;
        Some(Authority::Token {
            overlay: overlay.clone(),
            name: held.name.clone(),
            sha256: held.sha256.clone(),
        })
    })
}

impl User {
    fn authority(self) -> Authority {
        match self {
            Self::Superuser => Authority::Superuser,
            Self::User => Authority::User,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_authority_suffices_for_what_it_is_for() {
        let token = Authority::Token {
            overlay: "news".to_owned(),
            name: "t".to_owned(),
            sha256: String::new(),
        };
        let all = [
            Authority::Nobody,
            Authority::User,
            token,
            Authority::Superuser,
        ];
        for (level, overlay, wanted) in [
            (Level::Open, None, [true, true, true, true]),
            (Level::User, None, [false, true, false, true]),
            (Level::Metrics, None, [false, true, false, true]),
            (Level::Overlay, Some("news"), [false, false, true, true]),
            (Level::Overlay, Some("other"), [false, false, false, true]),
            (Level::Overlay, None, [false, false, false, true]),
            (Level::Superuser, None, [false, false, false, true]),
        ] {
            let suffices: Vec<bool> = all.iter().map(|a| a.suffices(level, overlay)).collect();
            assert_eq!(suffices, wanted, "{level:?} {overlay:?}");
        }
    }

    #[test]
    fn neighbours_in_an_ipv6_network_are_one_source() {
        let of = |text: &str| Peer::Ip(text.parse().unwrap()).source();
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert!(Peer::Ip("::ffff:127.0.0.1".parse().unwrap()).is_local());
    }
}
