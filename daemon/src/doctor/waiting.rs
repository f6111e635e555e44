//! How the shards will sleep: on an io_uring, or with epoll where the system refuses one.

use std::fs;

use tidings_engine::host;

use super::finding::Finding;

const SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";

/// Makes what a shard would make.
pub fn check() -> Finding {
    let switch = fs::read_to_string(SWITCH).ok();
    judge(
        host::try_io_uring(),
        switch.as_deref().map(str::trim).unwrap_or_default(),
    )
}

/// `switch`: the value of kernel.io_uring_disabled, empty where the kernel (before 6.6) has none.
fn judge(tried: Result<(), String>, switch: &str) -> Finding {
    let Err(refused) = tried else {
        return Finding::ok("io_uring", "usable: shards wait on it");
    };
    let remedy = match switch {
        "2" => "`sysctl -w kernel.io_uring_disabled=0`: it is off for everybody",
        "1" => {
            "`sysctl -w kernel.io_uring_disabled=0`, or put the daemon's user into the group that kernel.io_uring_group names"
        }
        _ if refused.to_lowercase().contains("memlock") => {
            "raise the limit of locked memory: `LimitMEMLOCK=64M` in the unit, or `ulimit -l 65536`"
        }
        _ => {
            "in a container allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile; else use Linux 5.8 or newer"
        }
    };
    let value =
        format!("refused ({refused}): shards wait with epoll, which costs more for each wake-up");
    Finding::warning("io_uring", value, remedy)
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_refusal_is_a_warning_whose_remedy_fits_its_reason() {
        let refused = |why: &str, switch| judge(Err(why.to_owned()), switch);
        assert_eq!(judge(Ok(()), "0").state, State::Ok);
        assert_eq!(refused("EPERM", "2").state, State::Warning);
        assert!(refused("EPERM", "2").remedy.contains("io_uring_disabled=0"));
        assert!(refused("EPERM", "1").remedy.contains("io_uring_group"));
        assert!(refused("EPERM", "0").remedy.contains("seccomp"));
        let low = refused("MemLockLimit(65536/524288)", "0");
        assert!(low.remedy.contains("LimitMEMLOCK"));
    }
}
