//! The programs behind growth: they run at page faults, and look at one in many. They need nothing else of a session but its
//! targets and the site table; no probe is in a process for them.
//!
//! Tracepoints, not perf events of page faults: those cost each fault several times as much, and a process's own ones are
//! switched with its threads besides, and count apart in each.

use aya::{
    Btf, Ebpf,
    programs::{BtfTracePoint, tp_btf::BtfTracePointLink},
};
use tracer_common::config::FAULT_PERIOD;

use super::{BpfError, error::chain, hazards};
use crate::aggregate::Feature;

/// The programs, by the names of their tracepoints.
const PROGRAMS: [&str; 2] = ["page_fault_kernel", "page_fault_user"];

/// The programs in place. Dropping it takes them out, which takes less than a millisecond.
#[derive(Debug)]
pub(super) struct Growth {
    _links: Vec<BtfTracePointLink>,
}

impl Growth {
    /// Puts them in place.
    pub(super) fn attach(ebpf: &mut Ebpf) -> Result<Self, BpfError> {
        let btf = Btf::from_sys_fs().map_err(|error| refused(&error))?;
        for name in PROGRAMS {
            let program = program(ebpf, name)?;
            // They stay loaded when they are taken out.
            if program.fd().is_err() {
                program.load(name, &btf).map_err(|error| refused(&error))?;
            }
        }
        let mut links = Vec::new();
        for name in PROGRAMS {
            let program = program(ebpf, name)?;
            let link = program.attach().and_then(|id| program.take_link(id)).map_err(|error| refused(&error))?;
            links.push(link);
        }
        Ok(Self { _links: links })
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut BtfTracePoint, BpfError> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(BpfError::Object { name })
}

/// What of the kernel is in use for it.
pub(super) fn feature() -> Feature {
    let used = format!("1 in {FAULT_PERIOD}, by typed tracepoints (tp_btf); no probe for it is in the process");
    Feature { name: "page faults".into(), used: used.into(), best: true }
}

fn refused(error: &dyn std::error::Error) -> BpfError {
    BpfError::NoGrowth { release: hazards::release(), reason: chain(error) }
}
