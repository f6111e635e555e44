//! Processors: how many a node may use, whether a quota stops it, and whether they do AES by themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use tidings_wire::{Keyring, Suite};

use super::finding::Finding;

const CGROUPS: &str = "/sys/fs/cgroup";
/// Nested groups that are looked at: deeper than any manager nests them.
const DEPTH_MAX: usize = 32;

/// Looks at the processors and at the groups that this process is in.
pub fn check() -> Vec<Finding> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    vec![
        judge_cores(cores()),
        judge_quota(quota(Path::new(CGROUPS), &own)),
    ]
}

/// Processors that this process may use, by its affinity and its quota.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn judge_cores(cores: usize) -> Finding {
    let value = match cores {
        1 => "1: a node and its clients share it".to_owned(),
        cores => cores.to_string(),
    };
    Finding::ok("processors", value)
}

/// Compares the number of shards, if it is configured.
pub fn shards(shards: Option<usize>) -> Option<Finding> {
    Some(judge_shards(shards?, cores()))
}

fn judge_shards(shards: usize, cores: usize) -> Finding {
    if shards <= cores {
        return Finding::ok("shards", format!("{shards} on {cores} processors"));
    }
    Finding::warning(
        "shards",
        format!("{shards} on {cores} processors: they take turns, and each makes the others late"),
        format!(
            "node.shards = {}, or none for the default",
            (cores / 2).max(1)
        ),
    )
}

/// Processors' worth of time that a group's quota leaves: the least of all groups above, in hundredths.
fn quota(root: &Path, own: &str) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let path = Path::new(path.trim_start_matches('/'));
        let found = match controllers {
            "" => above(&[root.to_owned(), root.join("unified")], path, quota_v2),
            other if other.split(',').any(|name| name == "cpu") => {
                above(&[root.join("cpu"), root.join(other)], path, quota_v1)
            }
            _ => None,
        };
        least = least.into_iter().chain(found).min();
    }
    least
}

/// The least that `read` finds in a group and those above it, wherever the hierarchy is mounted.
fn above(mounts: &[PathBuf], path: &Path, read: impl Fn(&Path) -> Option<u64>) -> Option<u64> {
    let groups = mounts.iter().flat_map(|mount| {
        let groups = path.ancestors().take(DEPTH_MAX);
        groups.map(|group| mount.join(group))
    });
    groups.filter_map(|group| read(&group)).min()
}

fn quota_v2(group: &Path) -> Option<u64> {
    let text = fs::read_to_string(group.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    hundredths(quota, period)
}

fn quota_v1(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    hundredths(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?)
}

/// `max` and -1 stand for none.
fn hundredths(quota: &str, period: &str) -> Option<u64> {
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok()?;
    quota.checked_mul(100)?.checked_div(period)
}

fn judge_quota(quota: Option<u64>) -> Finding {
    let what = "processor quota";
    match quota {
        None => Finding::ok(what, "none"),
        Some(hundredths) => Finding::warning(
            what,
            format!(
                "{}.{:02} processors: when it is used up all threads stop for up to 100 ms, and others hold this node for silent",
                hundredths / 100,
                hundredths % 100
            ),
            "weights instead of quotas: `CPUWeight=` in the unit, `--cpu-shares` of a container; or `profile = \"wan\"`",
        ),
    }
}

/// Whether the processor has instructions for AES and for what GCM adds to it.
pub fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return is_x86_feature_detected!("aes") && is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// Looks at the processor and at the ciphers of the overlays.
pub fn cipher(keyrings: &[Option<Keyring>]) -> Finding {
    let suites = keyrings.iter().map(|ring| match ring {
        Some(ring) => ring.suite(ring.primary_slot()),
        // What a generated key will be of.
        None => Some(Suite::Aes256Gcm),
    });
    judge_cipher(has_aes(), suites.flatten().any(is_aes))
}

fn is_aes(suite: Suite) -> bool {
    match suite {
        Suite::Aes128Gcm | Suite::Aes192Gcm | Suite::Aes256Gcm => true,
        Suite::ChaCha20Poly1305 => false,
    }
}

fn judge_cipher(has_aes: bool, uses_aes: bool) -> Finding {
    let what = "AES in hardware";
    match (has_aes, uses_aes) {
        (true, _) => Finding::ok(what, "yes"),
        (false, false) => Finding::ok(what, "no, and no overlay uses it"),
        (false, true) => Finding::warning(
            what,
            "no: AES-GCM in software costs several times as much",
            "new keys with `tidings keygen --suite chacha20-poly1305 FILE`, for all members of the overlay",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_quota_of_a_group_or_of_any_above_it_counts() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let own = "0::/system.slice/tidings.service\n";
        assert_eq!(quota(root.path(), own), None);
        write(at("system.slice/tidings.service/cpu.max"), "max 100000\n");
        assert_eq!(quota(root.path(), own), None);
        write(at("system.slice/cpu.max"), "150000 100000\n");
        assert_eq!(quota(root.path(), own), Some(150));
        write(at("cpu.max"), "50000 100000\n");
        assert_eq!(quota(root.path(), own), Some(50));
    }

    #[test]
    fn the_older_kind_of_groups_is_read_too() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let own = "4:memory:/m\n2:cpu,cpuacct:/docker/7\n1:name=systemd:/\n0::/\n";
        write(at("cpu,cpuacct/docker/7/cpu.cfs_quota_us"), "-1\n");
        write(at("cpu,cpuacct/docker/7/cpu.cfs_period_us"), "100000\n");
        assert_eq!(quota(root.path(), own), None);
        write(at("cpu/docker/7/cpu.cfs_quota_us"), "200000\n");
        write(at("cpu/docker/7/cpu.cfs_period_us"), "100000\n");
        assert_eq!(quota(root.path(), own), Some(200));
    }

    #[test]
    fn junk_in_the_place_of_a_quota_is_none() {
        let all = [
            ("", ""),
            ("x", "1"),
            ("1", "0"),
            ("18446744073709551615", "1"),
        ];
        for (quota, period) in all {
            assert_eq!(hundredths(quota, period), None, "{quota} {period}");
        }
        assert_eq!(quota(Path::new("/nowhere"), "junk\n::\n1:cpu\n"), None);
    }

    #[test]
    fn a_quota_and_too_many_shards_are_warnings() {
        assert_eq!(judge_quota(None).state, State::Ok);
        let half = judge_quota(Some(50));
        assert_eq!(half.state, State::Warning);
        assert!(half.value.starts_with("0.50 processors"), "{half}");
        assert_eq!(judge_shards(2, 4).state, State::Ok);
        assert_eq!(judge_shards(5, 4).state, State::Warning);
        assert!(judge_shards(5, 1).remedy.contains("= 1,"));
    }

    #[test]
    fn another_cipher_is_recommended_only_where_aes_is_used_and_slow() {
        assert_eq!(judge_cipher(true, true).state, State::Ok);
        assert_eq!(judge_cipher(false, false).state, State::Ok);
        let slow = judge_cipher(false, true);
        assert_eq!(slow.state, State::Warning);
        assert!(slow.remedy.contains("--suite chacha20-poly1305"));
        for suite in Suite::ALL {
            assert_eq!(is_aes(suite), suite.name().starts_with("aes-"), "{suite}");
        }
    }
}
