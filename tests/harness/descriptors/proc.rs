//! What the kernel says is open in a process: /proc/PID/fd.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs,
    os::unix::{ffi::OsStrExt, fs::FileTypeExt},
    path::Path,
};

use anyhow::{Context, Result};

/// The open descriptors of process `pid`, with their kinds as the report names them. What it closes while they are
/// read is left out.
pub fn open(pid: u32) -> Result<BTreeMap<u32, String>> {
    let mut open = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).with_context(|| format!("process {pid} is gone"))? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok()).context("not a number")?;
        match kind(&entry.path()) {
            Ok(kind) => {
                open.insert(number, kind);
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("descriptor {number} of process {pid}")),
        }
    }
    Ok(open)
}

fn is_gone(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::NotFound)
}

fn kind(path: &Path) -> Result<String> {
    let link = fs::read_link(path)?;
    let link = link.to_string_lossy();
    let kind = match &*link {
        link if link.starts_with("socket:") => return socket(path),
        link if link.starts_with("pipe:") => "pipe",
        // Of its own file system since Linux 6.9.
        link if link.starts_with("pidfd:") => "pidfd",
        link if link.starts_with("/memfd:") => "memfd",
        link => match link.strip_prefix("anon_inode:") {
            Some("[eventpoll]") => "epoll",
            Some("[eventfd]") => "eventfd",
            Some("[timerfd]") => "timerfd",
            Some("[signalfd]") => "signalfd",
            Some("inotify") => "inotify",
            Some("[fanotify]") => "fanotify",
            Some("[pidfd]") => "pidfd",
            Some("[userfaultfd]") => "userfaultfd",
            Some("[perf_event]") => "perf_event",
            Some("[io_uring]") => "io_uring",
            Some(name) if name.starts_with("bpf") => "bpf",
            Some(_) => "other",
            None => return Ok(of_file(&fs::metadata(path)?).to_owned()),
        },
    };
    Ok(kind.to_owned())
}

fn of_file(metadata: &fs::Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_dir() {
        "directory"
    } else if kind.is_fifo() {
        "pipe"
    } else if kind.is_char_device() || kind.is_block_device() {
        "device"
    } else {
        "file"
    }
}

/// A socket's protocol, which its inode has as an attribute.
fn socket(path: &Path) -> Result<String> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut name = [0_u8; 64];
    // SAFETY: two strings that end with a zero, and a buffer of the given size.
    let length = unsafe {
        libc::getxattr(path.as_ptr(), c"system.sockprotoname".as_ptr(), name.as_mut_ptr().cast(), name.len())
    };
    let length = usize::try_from(length).map_err(|_| std::io::Error::last_os_error())?;
    let protocol = String::from_utf8_lossy(&name[..length]).trim_end_matches('\0').to_lowercase();
    let kinds = ["tcp", "udp", "unix", "netlink"];
    Ok(kinds.into_iter().find(|kind| protocol.starts_with(kind)).unwrap_or("socket").to_owned())
}
