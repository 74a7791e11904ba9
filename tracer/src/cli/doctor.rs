//! `leaktrace doctor`: what works on this kernel, and what would be probed in a process, without probing it.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use super::{
    CANNOT_TRACE,
    allocators::{Allocators, Planned, Probes, no_allocator},
    args::{DoctorArguments, DoctorFormat},
    cannot_trace, raise_file_limit,
};
use crate::{
    bpf::{self, Checkup},
    report::doctor::{Examined, Process, write_json, write_text},
    target::Target,
};

/// Examines, prints, and says by the exit code whether tracing would work.
pub(super) fn run(arguments: &DoctorArguments) -> ExitCode {
    let DoctorArguments { pid, allocator, format } = arguments;
    raise_file_limit();
    let kernel = bpf::checkup();
    let process = match pid.map(|pid| examine(pid, allocator)).transpose() {
        Ok(process) => process,
        // What is known of the kernel may be the reason.
        Err(error) => {
            let _ = print(&Examined { kernel, process: None }, *format);
            return cannot_trace(&error);
        }
    };
    let examined = Examined { kernel, process };
    match print(&examined, *format) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => cannot_trace(&error.into()),
        _ if examined.works() => ExitCode::SUCCESS,
        _ => ExitCode::from(CANNOT_TRACE),
    }
}

fn examine(pid: u32, allocators: &[crate::probe::NamedAllocator]) -> anyhow::Result<Process> {
    let target = Target::open(pid)?;
    let (modules, mut planned) = (target.modules()?, Planned::default());
    let mut allocators = Allocators::new(allocators);
    let Probes { plan, modules: _, wrong } = allocators.plan(&modules, &mut planned);
    wrong.map_or(Ok(()), Err)?;
    allocators.are_met(&[pid])?;
    let findings = planned.findings(&modules);
    let problem = plan.points.is_empty().then(|| no_allocator(target.info(), &findings).to_string());
    let throws = plan.points.iter().any(|point| &*point.symbol == "__cxa_throw");
    Ok(Process { target: target.info().clone(), findings, probes: plan.points.len(), throws, problem })
}

fn print(examined: &Examined, format: DoctorFormat) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match format {
        DoctorFormat::Text => write_text(examined, &mut out)?,
        DoctorFormat::Json => write_json(examined, &mut out)?,
    }
    out.flush()
}

impl Examined {
    fn works(&self) -> bool {
        let Self { kernel, process } = self;
        Checkup::works(kernel) && process.as_ref().is_none_or(|process| process.problem.is_none())
    }
}
