//! What the link in `/proc/PID/fd` says, as bytes: the kernel's name for the file, which for a path is the target's text.

use std::sync::Arc;

use crate::aggregate::FdKind;

/// What a link's text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// All there is to know, with the detail to show.
    Known(FdKind, Arc<str>),
    /// A socket, by inode.
    Socket(u64),
    /// A pipe without a name, by inode.
    Pipe(u64),
    /// A process. Newer kernels say the inode.
    Pidfd(Option<u64>),
    /// A file with a path: its type is not in the text.
    Path(Arc<str>),
}

/// Anonymous inodes by name (`anon_inode_getfd` and `anon_inode_getfile` in the kernel's source).
const ANONYMOUS: &[(&[u8], FdKind)] = &[
    (b"[eventpoll]", FdKind::Epoll),
    (b"[eventfd]", FdKind::Eventfd),
    (b"[timerfd]", FdKind::Timerfd),
    (b"[signalfd]", FdKind::Signalfd),
    (b"inotify", FdKind::Inotify),
    (b"[fanotify]", FdKind::Fanotify),
    (b"[userfaultfd]", FdKind::Userfaultfd),
    (b"[perf_event]", FdKind::PerfEvent),
    (b"[io_uring]", FdKind::IoUring),
];

impl Link {
    /// Reads the text. Never fails: what is not known is some other thing, of that name.
    pub(super) fn parse(text: &[u8]) -> Self {
        let known = |kind, detail: &[u8]| Self::Known(kind, String::from_utf8_lossy(detail).into());
        if let Some(name) = text.strip_prefix(b"/memfd:") {
            // A file of that name in the root directory looks the same; nobody has one.
            return known(FdKind::Memfd, name.strip_suffix(b" (deleted)").unwrap_or(name));
        }
        if text.first() == Some(&b'/') || text.starts_with(b"(unreachable)") {
            return Self::Path(String::from_utf8_lossy(text).into());
        }
        if let Some(inode) = numbered(text, b"socket:[") {
            return Self::Socket(inode);
        }
        if let Some(inode) = numbered(text, b"pipe:[") {
            return Self::Pipe(inode);
        }
        if let Some(inode) = numbered(text, b"pidfd:[") {
            return Self::Pidfd(Some(inode));
        }
        match text.strip_prefix(b"anon_inode:") {
            Some(b"[pidfd]") => Self::Pidfd(None),
            Some(name) if name.starts_with(b"bpf") || name == b"btf" => known(FdKind::Bpf, name),
            Some(name) => match ANONYMOUS.iter().find(|(anonymous, _)| *anonymous == name) {
                Some((_, kind)) => known(*kind, b""),
                None => known(FdKind::Other, name),
            },
            None => known(FdKind::Other, text),
        }
    }
}

/// The number in `name:[number]`.
fn numbered(text: &[u8], start: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.strip_prefix(start)?.strip_suffix(b"]")?).ok()?.parse().ok()
}

/// What `Pid:` in the `fdinfo` of a pidfd says: the process's id as this `/proc` counts, or that it is gone.
pub(super) fn pidfd_detail(fdinfo: &[u8]) -> Arc<str> {
    let pid = fdinfo.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Pid:")).unwrap_or_default();
    match std::str::from_utf8(pid.trim_ascii()).ok().and_then(|pid| pid.parse::<i64>().ok()) {
        Some(..0) => "exited".into(),
        Some(pid) => pid.to_string().into(),
        None => "".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(kind: FdKind, detail: &str) -> Link {
        Link::Known(kind, detail.into())
    }

    #[test]
    fn the_kernels_names() {
        let expected = [
            (&b"socket:[591284]"[..], Link::Socket(591_284)),
            (b"pipe:[7]", Link::Pipe(7)),
            (b"pidfd:[4026532]", Link::Pidfd(Some(4_026_532))),
            (b"anon_inode:[pidfd]", Link::Pidfd(None)),
            (b"anon_inode:[eventpoll]", known(FdKind::Epoll, "")),
            (b"anon_inode:inotify", known(FdKind::Inotify, "")),
            (b"anon_inode:bpf-map", known(FdKind::Bpf, "bpf-map")),
            (b"anon_inode:bpf_link", known(FdKind::Bpf, "bpf_link")),
            (b"anon_inode:btf", known(FdKind::Bpf, "btf")),
            (b"anon_inode:seccomp notify", known(FdKind::Other, "seccomp notify")),
            (b"net:[4026531840]", known(FdKind::Other, "net:[4026531840]")),
            (b"/memfd:a b (deleted)", known(FdKind::Memfd, "a b")),
        ];
        for (text, link) in expected {
            assert_eq!(Link::parse(text), link, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn paths_are_kept_as_they_are() {
        for path in ["/a b\n\u{1b}[31m", "/gone (deleted)", "/socket:[7]", "/anon_inode:[eventfd]", "(unreachable)/x"] {
            assert_eq!(Link::parse(path.as_bytes()), Link::Path(path.into()));
        }
        assert_eq!(Link::parse(b"/\xff"), Link::Path("/\u{fffd}".into()));
    }

    #[test]
    fn numbers_that_are_none() {
        for text in ["socket:[]", "socket:[7", "socket:[-7]", "pipe:[99999999999999999999]", "pipe:[7] ", ""] {
            assert_eq!(Link::parse(text.as_bytes()), known(FdKind::Other, text));
        }
    }

    #[test]
    fn the_process_of_a_pidfd() {
        assert_eq!(&*pidfd_detail(b"pos:\t0\nflags:\t02000002\nPid:\t4001\nNSpid:\t4001\n"), "4001");
        assert_eq!(&*pidfd_detail(b"pos:\t0\nPid:\t-1\nNSpid:\t-1\n"), "exited");
        assert_eq!(&*pidfd_detail(b"pos:\t0\nNSpid:\t7\n"), "");
    }

    proptest! {
        #[test]
        fn never_panics(text in prop::collection::vec(any::<u8>(), 0..60), start in 0_usize..5) {
            let start = [&b""[..], b"socket:[", b"anon_inode:", b"/memfd:", b"Pid:"][start];
            Link::parse(&[start, &text].concat());
            pidfd_detail(&[start, &text].concat());
        }
    }
}
