//! A child without an `exec`, which no safe interface makes.
#![allow(unsafe_code)]

use std::ffi::c_int;

unsafe extern "C" {
    fn fork() -> c_int;
    fn alarm(seconds: u32) -> u32;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
}

/// Runs `child` in a forked child of this process, and says whether it returned true. One that
/// hangs is killed and has not. It must not panic; of the threads it has none but its own.
pub(crate) fn in_a_child(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the other threads of this process, a test's own, wait: none holds the allocator's
    // lock or one that the child takes. `status` is valid for the call.
    unsafe {
        let pid = fork();
        if pid == 0 {
            alarm(30);
            _exit(if child() { 0 } else { 1 });
        }
        let mut status = -1;
        pid > 0 && waitpid(pid, &mut status, 0) == pid && status == 0
    }
}
