//! What each system call of this architecture does to descriptors.

use tracer_common::fd::Effect;

/// `memfd_secret`, `mq_open` and the like have numbers that the libc crate knows; these are newer than it.
const SYS_FSOPEN: i64 = 430;
const SYS_FSPICK: i64 = 433;
const SYS_FSMOUNT: i64 = 432;
const SYS_OPEN_TREE: i64 = 428;
const SYS_LANDLOCK_CREATE_RULESET: i64 = 444;

/// Every system call that opens, closes or connects a descriptor, by number. What others bring (recvmmsg,
/// ioctls) is found by comparing with the kernel's table.
pub(super) const EFFECTS: &[(i64, Effect)] = &[
    (libc::SYS_open, Effect::Opens),
    (libc::SYS_openat, Effect::Opens),
    (libc::SYS_openat2, Effect::Opens),
    (libc::SYS_creat, Effect::Opens),
    (libc::SYS_open_by_handle_at, Effect::Opens),
    (libc::SYS_mq_open, Effect::Opens),
    (libc::SYS_socket, Effect::Opens),
    (libc::SYS_dup, Effect::Opens),
    (libc::SYS_eventfd, Effect::Opens),
    (libc::SYS_eventfd2, Effect::Opens),
    (libc::SYS_epoll_create, Effect::Opens),
    (libc::SYS_epoll_create1, Effect::Opens),
    (libc::SYS_timerfd_create, Effect::Opens),
    (libc::SYS_inotify_init, Effect::Opens),
    (libc::SYS_inotify_init1, Effect::Opens),
    (libc::SYS_fanotify_init, Effect::Opens),
    (libc::SYS_memfd_create, Effect::Opens),
    (libc::SYS_memfd_secret, Effect::Opens),
    (libc::SYS_pidfd_open, Effect::Opens),
    (libc::SYS_pidfd_getfd, Effect::Opens),
    (libc::SYS_userfaultfd, Effect::Opens),
    (libc::SYS_perf_event_open, Effect::Opens),
    (libc::SYS_io_uring_setup, Effect::Opens),
    (SYS_FSOPEN, Effect::Opens),
    (SYS_FSMOUNT, Effect::Opens),
    (SYS_FSPICK, Effect::Opens),
    (SYS_OPEN_TREE, Effect::Opens),
    (SYS_LANDLOCK_CREATE_RULESET, Effect::Opens),
    (libc::SYS_bpf, Effect::Bpf),
    (libc::SYS_fcntl, Effect::Fcntl),
    (libc::SYS_signalfd, Effect::Signalfd),
    (libc::SYS_signalfd4, Effect::Signalfd),
    (libc::SYS_dup2, Effect::Replaces),
    (libc::SYS_dup3, Effect::Replaces),
    (libc::SYS_pipe, Effect::PairAtFirst),
    (libc::SYS_pipe2, Effect::PairAtFirst),
    (libc::SYS_socketpair, Effect::PairAtFourth),
    (libc::SYS_accept, Effect::Accepts),
    (libc::SYS_accept4, Effect::Accepts),
    (libc::SYS_connect, Effect::Connects),
    (libc::SYS_close, Effect::Closes),
    (libc::SYS_close_range, Effect::ClosesRange),
    (libc::SYS_recvmsg, Effect::Receives),
];

/// Calls that change ranges.
pub(super) const RANGE_EFFECTS: &[(i64, Effect)] = &[
    (libc::SYS_mmap, Effect::MapsRange),
    (libc::SYS_munmap, Effect::UnmapsRange),
    (libc::SYS_mremap, Effect::RemapsRange),
    (libc::SYS_brk, Effect::Breaks),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tracer_common::fd::SYSCALLS;

    use super::*;

    #[test]
    fn numbers_fit_the_table_and_come_once() {
        let mut seen = HashSet::new();
        for (number, effect) in EFFECTS.iter().chain(RANGE_EFFECTS) {
            assert!((0..i64::from(SYSCALLS)).contains(number), "{number}");
            assert!(seen.insert(number), "{number} twice");
            assert_ne!(*effect, Effect::None);
        }
    }
}
