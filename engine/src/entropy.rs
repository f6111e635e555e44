//! Randomness of the operating system: identities and the seeds of the cores. The only place that asks for it.

use ring::rand::{SecureRandom, SystemRandom};

/// `N` random bytes.
///
/// # Panics
/// If the operating system has none to give: nothing that follows would be safe.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the operating system provides randomness");
    bytes
}
