//! Page faults: what was faulted in, in all and by the call sites that faulted in most.

use std::fmt;

use super::{heap::labels, writer::Writer};
use crate::{
    aggregate::{PageFaults, SiteSnapshot, Snapshot},
    metrics::{has_its_name, largest},
};

pub(super) fn write(snapshot: &Snapshot, faults: &PageFaults, writer: &mut Writer<'_>) -> fmt::Result {
    let faulted = faults.faulted();
    let help = "Bytes faulted in since page faults are followed, estimated from them.";
    writer.counter("leaktrace_faulted_bytes", help, [([], faulted.bytes())])?;
    let help = "Page faults that were looked at: the error of what is estimated from n of them is its square root.";
    writer.counter("leaktrace_fault_samples", help, [([], faulted.samples)])?;
    let listed: Vec<&SiteSnapshot> = largest(snapshot).filter(|site| has_its_name(&site.stack)).collect();
    let bytes = listed.iter().map(|site| (labels(site), site.counters.alloc_bytes));
    writer.counter("leaktrace_site_faulted_bytes", "The same, of the call sites that faulted in most.", bytes)
}
