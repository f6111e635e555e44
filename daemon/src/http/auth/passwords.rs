//! Passwords of the users `superuser` and `user`: only argon2id hashes are kept. Hashing is slow on purpose, so it is done on
//! a blocking thread, one at a time, and what was right lately is remembered under a key of this start.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::hmac;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::files;
use crate::http::error::{ApiError, ApiResult};
use crate::http::limits::{HASH_KIB, HASH_PASSES, HASHES_WAITING, PASSWORD_BYTES, REMEMBERED};
use crate::state::StateFile;

/// How much work hashing is.
#[derive(Clone, Copy, Debug)]
pub enum Cost {
    /// For passwords that people choose.
    Slow,
    /// For 192 random bits, which nobody guesses however fast: a start must not take longer for them.
    Quick,
}

/// The hash of a password in PHC text form, under a salt of its own.
pub fn hash(password: &str, cost: Cost) -> io::Result<String> {
    let (kib, passes) = match cost {
        Cost::Slow => (HASH_KIB, HASH_PASSES),
        Cost::Quick => (Params::MIN_M_COST, 1),
    };
    let mut salt = [0; 16];
    files::random(&mut salt)?;
    let params = Params::new(kib, passes, 1, None).map_err(io::Error::other)?;
    let hash: PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|error| io::Error::other(error.to_string()))?;
    Ok(hash.to_string())
}

fn matches(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

/// Checks passwords.
pub struct Passwords {
    state: Arc<StateFile>,
    /// Tags of what was right lately, the latest first.
    remembered: Mutex<VecDeque<[u8; 32]>>,
    key: hmac::Key,
    line: Mutex<Arc<Line>>,
}

/// Those whose passwords are hashed, in one life of the service.
struct Line {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            running: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
        }
    }
}

/// One place among those that wait.
struct Place(Arc<Line>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Passwords {
    /// By the hashes in `state`.
    pub fn new(state: Arc<StateFile>) -> io::Result<Self> {
        let mut key = [0; 32];
        files::random(&mut key)?;
        Ok(Self {
            state,
            remembered: Mutex::default(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            line: Mutex::default(),
        })
    }

    fn line(&self) -> MutexGuard<'_, Arc<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another life of the service begins: nobody waits in it yet.
    pub fn begin_life(&self) {
        *self.line() = Arc::default();
    }

    /// Whether it is the password of `user`.
    pub async fn verify(&self, user: &str, password: String) -> ApiResult<bool> {
        let kept = self.state.read(|state| state.passwords.get(user).cloned());
        let Some(hash) = kept.filter(|_| password.len() <= *PASSWORD_BYTES.end()) else {
            return Ok(false);
        };
        // With the hash in it, a changed password is not remembered.
        let tag = self.tag(&[user, &hash, &password]);
        if self.remembers(&tag) {
            return Ok(true);
        }
        let is_right = self.slowly(move || matches(&password, &hash)).await?;
        if is_right {
            self.remember(tag);
        }
        Ok(is_right)
    }

    /// Replaces the password of `user`.
    pub async fn change(&self, user: &'static str, password: String) -> ApiResult<()> {
        if !PASSWORD_BYTES.contains(&password.len()) || password.chars().any(char::is_control) {
            return Err(ApiError::bad(
                "bad_password",
                format!("a password of {} bytes is not taken", password.len()),
                format!(
                    "choose one of {} to {} bytes without control characters",
                    PASSWORD_BYTES.start(),
                    PASSWORD_BYTES.end()
                ),
            ));
        }
        let state = Arc::clone(&self.state);
        self.slowly(move || {
            let hash = hash(&password, Cost::Slow).map_err(|error| {
                ApiError::unavailable("no_randomness", error.to_string(), "try again")
            })?;
            state.change(|state| {
                state.passwords.insert(user.to_owned(), hash);
                Ok::<_, ApiError>(())
            })
        })
        .await?
    }

    /// Does costly work off this thread, in turn.
    async fn slowly<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> ApiResult<T> {
        let line = Arc::clone(&self.line());
        let place = Place(Arc::clone(&line));
        if line.waiting.fetch_add(1, Ordering::Relaxed) > HASHES_WAITING {
            return Err(ApiError::too_many(
                "busy",
                "too many passwords are being checked",
                1,
            ));
        }
        let turn = Arc::clone(&line.running).acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            // Whoever waits goes on only now, though the one who asked may have gone long ago.
            drop(turn);
            done
        });
        let done = done.await.map_err(|_| ApiError::panicked());
        drop(place);
        done
    }

    fn tag(&self, parts: &[&str]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    fn remembers(&self, tag: &[u8; 32]) -> bool {
        let known = self.remembered.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|known| known.ct_eq(tag).into())
    }

    fn remember(&self, tag: [u8; 32]) {
        let known = self.remembered.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        known.truncate(REMEMBERED - 1);
        known.push_front(tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_its_password_alone_and_is_another_each_time() {
        for cost in [Cost::Slow, Cost::Quick] {
            let [one, two] = [(); 2].map(|()| hash("correct horse", cost).unwrap());
            assert_ne!(one, two);
            assert!(one.starts_with("$argon2id$v=19$"), "{one}");
            assert!(matches("correct horse", &one) && matches("correct horse", &two));
            assert!(!matches("correct horsf", &one));
        }
        assert!(!matches("", "") && !matches("x", "$argon2id$nonsense"));
    }

    #[test]
    fn a_password_that_was_right_is_remembered_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let state = Arc::new(StateFile::open(dir.path()).unwrap());
        let passwords = Passwords::new(state).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let verify = |password: &str| passwords.verify("user", password.to_owned());
            assert!(!verify("first password").await.unwrap());
            let changed = passwords.change("user", "short".to_owned()).await;
            assert_eq!(changed.err().unwrap().code(), "bad_password");
            passwords
                .change("user", "first password".to_owned())
                .await
                .unwrap();
            assert!(verify("first password").await.unwrap());
            assert_eq!(passwords.remembered.lock().unwrap().len(), 1);
            assert!(verify("first password").await.unwrap());
            assert_eq!(passwords.remembered.lock().unwrap().len(), 1);
            passwords
                .change("user", "other password".to_owned())
                .await
                .unwrap();
            assert!(!verify("first password").await.unwrap());
            assert!(verify("other password").await.unwrap());
            assert_eq!(passwords.line().waiting.load(Ordering::Relaxed), 0);
            // Those that are remembered need no place among the ones that wait.
            passwords
                .line()
                .waiting
                .store(HASHES_WAITING + 1, Ordering::Relaxed);
            let refused = verify("a third password").await.expect_err("no place");
            assert_eq!(refused.code(), "busy");
            assert!(verify("other password").await.unwrap());
        });
    }
}
