//! A daemon of which one thread does not run.

use std::fs;
use std::io;

use super::Node;

/// Keeps one thread of a process from running, as a debugger does, until it is dropped.
pub(crate) struct Stopped(libc::pid_t);

impl Stopped {
    /// `None`: a thread cannot be stopped here, and the test is skipped, which is told.
    pub(crate) fn thread(node: &Node, name: &str) -> Option<Self> {
        let stopped = Self::stop(node, name);
        let told = |error: &io::Error| {
            let why = format!(
                "a thread of the daemon cannot be stopped here (ptrace: {error}); run it as root"
            );
            tidings_skip::skipped("root", &why);
        };
        stopped.inspect_err(told).ok()
    }

    fn stop(node: &Node, name: &str) -> io::Result<Self> {
        let tasks = fs::read_dir(format!("/proc/{}/task", node.pid()))?;
        let is_it = |task: &fs::DirEntry| {
            let comm = fs::read_to_string(task.path().join("comm"));
            comm.is_ok_and(|comm| comm.trim() == name)
        };
        let task = tasks.flatten().find(is_it).unwrap();
        let tid: libc::pid_t = task.file_name().to_str().unwrap().parse().unwrap();
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: requests that take no memory of ours, about a thread of a process that this test started.
        if unsafe { libc::ptrace(libc::PTRACE_SEIZE, tid, none, none) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above.
        let asked = unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, tid, none, none) };
        assert_eq!(asked, 0);
        let mut status = 0;
        // SAFETY: `status` lives through the call.
        let stopped = unsafe { libc::waitpid(tid, &mut status, libc::__WALL) };
        assert_eq!(stopped, tid);
        Ok(Self(tid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: a request that takes no memory of ours, about the thread that was stopped above.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, none, none) };
    }
}
