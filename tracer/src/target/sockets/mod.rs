//! The sockets of a process's network namespace, by inode number.
//!
//! In: netlink's sock_diag, asked inside of the namespace; a few milliseconds for a thousand sockets, and no file
//! system is touched. Out: a [`SocketEntry`] for every socket that a descriptor may refer to, and the usual names of
//! services ([`service_name`], [`unix_service`]). Which process a socket belongs to is not said: the inode number in
//! `/proc/PID/fd` does that.

mod entry;
mod error;
mod inet;
mod namespace;
mod netlink;
mod service;
mod table;
mod tcp_info;
#[cfg(test)]
mod tests;
mod unix;

use std::collections::{HashMap, hash_map::Entry};

use rustix::io::Errno;

pub use self::{
    entry::{Backlog, SocketEntry},
    error::SocketsError,
    service::{service_name, service_of, unix_service},
    table::Table,
};
use self::{
    inet::{Malformed, Protocol},
    netlink::{Consistent, Failed, Netlink},
    unix::UnixSockets,
};
use super::proc_dir::ProcDir;

/// How often a table is read when it changes meanwhile; the last reading is taken as it is.
const READINGS: usize = 3;

/// Reads the sockets of one network namespace, again and again.
#[derive(Debug)]
pub struct SocketReader {
    netlink: Netlink,
    /// What this kernel does not have. It looks for a module each time that it is asked, so it is asked once.
    absent: Vec<Table>,
    unix: UnixSockets,
    /// How many there were the last time.
    expected: usize,
}

impl SocketReader {
    /// A reader for the namespace that the process is in now. It serves beyond the process's end.
    pub(crate) fn of(dir: &ProcDir) -> Result<Self, SocketsError> {
        let netlink = namespace::open_in(dir)?;
        Ok(Self { netlink, absent: Vec::new(), unix: UnixSockets::default(), expected: 0 })
    }

    /// All sockets that descriptors may refer to, by inode number: TCP, UDP and Unix. Not listed by the kernel, so
    /// missing here, are sockets that were never bound nor connected.
    ///
    /// # Errors
    /// When a table cannot be read. It takes seconds at most, and the next reading may succeed.
    pub fn read(&mut self) -> Result<HashMap<u64, SocketEntry>, SocketsError> {
        let mut sockets = HashMap::with_capacity(self.expected + self.expected / 8);
        for &table in Table::ALL {
            if self.absent.contains(&table) {
                continue;
            }
            match self.read_table(table, &mut sockets) {
                Err(SocketsError::Read { source, .. }) if is_absence(&source) => self.absent.push(table),
                result => result?,
            }
        }
        if self.absent.len() == Table::ALL.len() {
            return Err(SocketsError::Unsupported);
        }
        self.expected = sockets.len();
        Ok(sockets)
    }

    /// What could not be read because this kernel does not have it (its module may not be loaded). Known after the
    /// first reading. Without MPTCP, which kernels may lack: they have no such sockets either.
    pub fn absent(&self) -> impl Iterator<Item = Table> + '_ {
        self.absent.iter().copied().filter(|table| !matches!(table, Table::Mptcp4 | Table::Mptcp6))
    }

    fn read_table(&mut self, table: Table, sockets: &mut HashMap<u64, SocketEntry>) -> Result<(), SocketsError> {
        let request = table.request();
        for _ in 0..READINGS {
            self.unix.clear();
            let mut malformed = false;
            let dumped = self.netlink.dump(&request, &mut |payload| {
                let added = match table {
                    Table::Tcp4 | Table::Tcp6 => add_inet(sockets, payload, Protocol::Tcp),
                    Table::Mptcp4 | Table::Mptcp6 => add_inet(sockets, payload, Protocol::Mptcp),
                    Table::Udp4 | Table::Udp6 => add_inet(sockets, payload, Protocol::Udp),
                    Table::Unix => self.unix.add(payload),
                };
                malformed |= added.is_err();
            });
            let consistent = dumped.map_err(|failed| match failed {
                Failed::Refused(error) => SocketsError::Read { table, source: error.into() },
                Failed::TimedOut => SocketsError::TimedOut { table },
                Failed::Malformed => SocketsError::Format { table },
            })?;
            if malformed {
                return Err(SocketsError::Format { table });
            }
            if consistent == Consistent(true) {
                break;
            }
        }
        if table == Table::Unix {
            sockets.extend(self.unix.entries());
        }
        Ok(())
    }
}

fn add_inet(sockets: &mut HashMap<u64, SocketEntry>, payload: &[u8], protocol: Protocol) -> Result<(), Malformed> {
    let Some((inode, found)) = inet::parse(payload, protocol)? else {
        return Ok(());
    };
    match sockets.entry(inode) {
        // A multipath connection's paths are listed as TCP, under its inode.
        Entry::Occupied(mut known) if protocol == Protocol::Mptcp => {
            let known = known.get_mut();
            *known = SocketEntry { idle: known.idle, last_ack: known.last_ack, rtt: known.rtt, ..found };
        }
        Entry::Occupied(mut known) => {
            let idle = known.get().idle.into_iter().chain(found.idle).min();
            known.insert(SocketEntry { idle, ..found });
        }
        Entry::Vacant(place) => {
            place.insert(found);
        }
    }
    Ok(())
}

/// What a kernel says that does not know a table.
fn is_absence(error: &std::io::Error) -> bool {
    let error = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(error, Some(Errno::NOENT | Errno::INVAL | Errno::OPNOTSUPP | Errno::AFNOSUPPORT))
}
