//! Processes: who they are, and what they hold.

use std::time::Duration;

use prost::Message;

use super::{Counters, codes};
use crate::{
    aggregate::{ProcessSnapshot, TargetInfo, Tgid},
    record::{format::nanos, limits::LIST},
};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Target {
    #[prost(uint32, tag = "1")]
    pid: u32,
    #[prost(string, tag = "2")]
    comm: String,
    #[prost(string, tag = "3")]
    exe: String,
    #[prost(string, repeated, tag = "4")]
    cmdline: Vec<String>,
}

impl From<&TargetInfo> for Target {
    fn from(target: &TargetInfo) -> Self {
        let TargetInfo { pid, comm, exe, cmdline } = target;
        Self { pid: pid.0, comm: comm.clone(), exe: exe.clone(), cmdline: cmdline.clone() }
    }
}

impl From<Target> for TargetInfo {
    fn from(target: Target) -> Self {
        let Target { pid, comm, exe, mut cmdline } = target;
        cmdline.truncate(LIST);
        Self { pid: Tgid(pid), comm, exe, cmdline }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ProcessRow {
    #[prost(message, optional, tag = "1")]
    info: Option<Target>,
    #[prost(uint32, optional, tag = "2")]
    parent: Option<u32>,
    #[prost(uint32, tag = "3")]
    state: u32,
    #[prost(uint64, tag = "4")]
    began_ns: u64,
    #[prost(uint64, optional, tag = "5")]
    ended_ns: Option<u64>,
    #[prost(uint64, tag = "6")]
    unseen_ns: u64,
    #[prost(message, optional, tag = "7")]
    totals: Option<Counters>,
    #[prost(uint64, optional, tag = "8")]
    fds: Option<u64>,
}

/// A process as its row.
pub(super) fn to_row(process: &ProcessSnapshot) -> ProcessRow {
    let ProcessSnapshot { info, parent, state, began, ended, unseen, totals, fds } = process;
    ProcessRow {
        info: Some(info.into()),
        parent: parent.map(|parent| parent.0),
        state: codes::of_state(state),
        began_ns: nanos(*began),
        ended_ns: ended.map(nanos),
        unseen_ns: nanos(*unseen),
        totals: Some((*totals).into()),
        fds: *fds,
    }
}

/// The same back; `None` where a later leaktrace knows more.
pub(super) fn from_row(row: ProcessRow) -> Option<ProcessSnapshot> {
    let ProcessRow { info, parent, state, began_ns, ended_ns, unseen_ns, totals, fds } = row;
    Some(ProcessSnapshot {
        info: info?.into(),
        parent: parent.map(Tgid),
        state: codes::state(state)?,
        began: Duration::from_nanos(began_ns),
        ended: ended_ns.map(Duration::from_nanos),
        unseen: Duration::from_nanos(unseen_ns),
        totals: totals.unwrap_or_default().into(),
        fds,
    })
}
