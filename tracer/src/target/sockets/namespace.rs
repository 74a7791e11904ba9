//! Opening a socket in the network namespace of another process. Every look afterwards needs only that socket, which
//! stays where it was made.

use std::{fs::File, io, thread};

use rustix::{
    fd::AsFd as _,
    io::Errno,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::{SocketsError, netlink::Netlink};
use crate::target::{TargetError, proc_dir::ProcDir};

/// Opens a netlink socket in the process's namespace.
pub(super) fn open_in(dir: &ProcDir) -> Result<Netlink, SocketsError> {
    let theirs = dir.file("ns/net")?;
    if is_ours(&theirs).map_err(|error| TargetError::proc(dir.pid(), "ns/net", error))? {
        return Netlink::open().map_err(|error| SocketsError::Open { source: error.into() });
    }
    // setns(2) moves a thread, for good: one that does nothing else.
    let pid = dir.pid();
    let entered = thread::Builder::new().name("netns".to_owned()).spawn(move || enter(&theirs, pid));
    let entered = entered.map_err(|source| SocketsError::Enter { pid, source })?;
    entered.join().unwrap_or_else(|_| {
        Err(SocketsError::Enter { pid, source: io::Error::other("the thread that enters it has panicked") })
    })
}

fn enter(namespace: &File, pid: u32) -> Result<Netlink, SocketsError> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| SocketsError::Enter { pid, source: error.into() })?;
    Netlink::open().map_err(|error| SocketsError::Open { source: error.into() })
}

/// Whether it is the namespace of the calling thread.
fn is_ours(namespace: &File) -> Result<bool, Errno> {
    let theirs = rustix::fs::fstat(namespace)?;
    let ours = rustix::fs::stat("/proc/thread-self/ns/net")?;
    Ok((theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino))
}
