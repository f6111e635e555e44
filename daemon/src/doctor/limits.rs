//! What the system lets one process have: locked memory, which io_uring takes, and open files, one for each client.

use rustix::process::{Resource, getrlimit};
use tidings_engine::limits::SHARDS_MAX;

use super::finding::Finding;
use crate::config::units;

/// Below this the executor refuses to make a ring.
const MEMLOCK_MIN: u64 = 512 << 10;
/// Descriptors of a shard: two sockets, a hello socket, the descriptor set, a timer, a wake-up, a ring with its own four.
const FILES_A_SHARD: u64 = 12;
/// Files, log, listening socket and threads of the rest of the process.
const FILES_BESIDE: u64 = 32;
/// Clients that one node serves at most.
const CLIENTS_MAX: u64 = 4_096;
/// So many clients are few enough that somebody may meet the bound.
const CLIENTS_FEW: u64 = 1_000;

/// Looks at both limits of this process.
pub fn check() -> [Finding; 2] {
    [
        judge_memlock(getrlimit(Resource::Memlock).current),
        judge_files(getrlimit(Resource::Nofile).maximum),
    ]
}

/// `None`: no limit.
fn judge_memlock(limit: Option<u64>) -> Finding {
    let what = "locked memory (RLIMIT_MEMLOCK)";
    match limit {
        None => Finding::ok(what, "unlimited"),
        Some(bytes) if bytes >= MEMLOCK_MIN => Finding::ok(what, units::show_size(bytes)),
        Some(bytes) => Finding::warning(
            what,
            format!(
                "{}: io_uring takes {}, so shards wait with epoll",
                units::show_size(bytes),
                units::show_size(MEMLOCK_MIN)
            ),
            "`LimitMEMLOCK=64M` in the unit, `ulimit -l 65536` in a shell, or a line `* - memlock 65536` in /etc/security/limits.conf",
        ),
    }
}

/// The daemon raises its soft limit to the hard one, so that counts.
fn judge_files(hard: Option<u64>) -> Finding {
    let what = "open files (RLIMIT_NOFILE, hard)";
    let own = FILES_A_SHARD * SHARDS_MAX as u64 + FILES_BESIDE;
    let Some(files) = hard else {
        return Finding::ok(what, "unlimited");
    };
    let clients = files.saturating_sub(own);
    let remedy = "`LimitNOFILE=16384` in the unit, or a line `* hard nofile 16384` in /etc/security/limits.conf";
    if clients >= CLIENTS_FEW {
        Finding::ok(
            what,
            format!("{files}: enough for {} clients", clients.min(CLIENTS_MAX)),
        )
    } else if files > own {
        let value = format!(
            "{files}: enough for {clients} clients of {CLIENTS_MAX} that a node could serve"
        );
        Finding::warning(what, value, remedy)
    } else {
        let value = format!("{files}: a node of {SHARDS_MAX} shards needs {own} for itself");
        Finding::failure(what, value, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn too_little_locked_memory_is_a_warning_that_names_what_to_write() {
        let finding = judge_memlock(Some(64 << 10));
        assert_eq!(finding.state, State::Warning);
        assert!(finding.value.contains("64KiB") && finding.value.contains("512KiB"));
        assert!(finding.remedy.contains("LimitMEMLOCK"), "{finding}");
        assert_eq!(judge_memlock(Some(MEMLOCK_MIN)).state, State::Ok);
        assert_eq!(judge_memlock(None).state, State::Ok);
    }

    #[test]
    fn few_open_files_are_a_warning_and_too_few_for_the_node_itself_a_failure() {
        for (files, state) in [
            (Some(100), State::Failure),
            (Some(1_024), State::Warning),
            (Some(4_096), State::Ok),
            (Some(1 << 20), State::Ok),
            (None, State::Ok),
        ] {
            assert_eq!(judge_files(files).state, state, "{files:?}");
        }
    }
}
