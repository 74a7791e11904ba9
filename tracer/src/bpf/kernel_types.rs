//! Offsets in the kernel's structures, from its BTF (`/sys/kernel/btf/vmlinux`).
//!
//! The programs are not relocated by types (Rust has no CO-RE), so the loader looks the few fields up that they need. The
//! format is that of the kernel's Documentation/bpf/btf.rst.

use std::collections::HashMap;

use tracer_common::fd::KernelOffsets;

use super::uring::UringLayout;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;
const KINDS: u32 = 20;
/// Unnamed structures within structures that are followed.
const DEEPEST: usize = 4;

/// What the programs need to know of the running kernel's structures.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// All zero when it has no BTF or lacks one of the fields.
    pub(super) offsets: KernelOffsets,
    pub(super) uring: Option<UringLayout>,
}

/// The layout of the running kernel.
pub(super) fn layout() -> Layout {
    let bytes = std::fs::read(VMLINUX).unwrap_or_default();
    let types = Types::parse(&bytes);
    let offsets = types.as_ref().and_then(Types::offsets);
    if offsets.is_none() {
        log::warn!(
            "{VMLINUX} does not tell the layout of the kernel's files: descriptors are told apart by number alone"
        );
    }
    let uring = types.as_ref().and_then(UringLayout::of);
    if uring.is_none() {
        log::debug!("{VMLINUX} does not tell the layout of io_uring's requests");
    }
    Layout { offsets: offsets.unwrap_or_default(), uring }
}

/// A parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter<'a> {
    /// A pointer to this structure; without a name, to anything else.
    Pointer(&'a str),
    /// Anything else.
    Other,
}

/// The structures of interest.
pub(super) struct Types<'a> {
    strings: &'a [u8],
    /// Members of each structure by its name.
    named: HashMap<&'a str, &'a [u8]>,
    /// The types that the names of tracepoints' functions stand for.
    tracepoints: HashMap<&'a str, u32>,
    /// Where the type with each id begins.
    starts: Vec<usize>,
    types: &'a [u8],
}

const WANTED: &[&str] = &[
    "task_struct",
    "signal_struct",
    "files_struct",
    "fdtable",
    "file",
    "inode",
    "socket",
    "io_kiocb",
    "io_cqe",
    "io_accept",
    "io_connect",
    "io_open",
    "io_close",
    "io_socket",
    "io_fixed_install",
    "io_pipe",
];
const TRACEPOINTS: &str = "btf_trace_io_uring_";

impl<'a> Types<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]) != MAGIC {
            return None;
        }
        let header = word(bytes, 4)? as usize;
        let section = |at: usize| -> Option<&[u8]> {
            let start = header.checked_add(word(bytes, at)? as usize)?;
            bytes.get(start..start.checked_add(word(bytes, at + 4)? as usize)?)
        };
        let (types, strings) = (section(8)?, section(16)?);
        // Type 0 is void, and has no record.
        let mut this =
            Self { strings, named: HashMap::new(), tracepoints: HashMap::new(), starts: vec![usize::MAX], types };
        let mut at = 0;
        while at < types.len() {
            let (name, info) = (word(types, at)?, word(types, at + 4)?);
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let len = match kind {
                KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                KIND_ARRAY => 12,
                KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * count,
                KIND_ENUM | KIND_FUNC_PROTO => 8 * count,
                0 | KINDS.. => return None,
                _ => 0,
            };
            this.starts.push(at);
            if kind == KIND_STRUCT
                && count > 0
                && let Some(wanted) = this.text(name).filter(|name| WANTED.contains(name))
            {
                this.named.entry(wanted).or_insert(types.get(at..at + 12 + len)?);
            }
            if kind == KIND_TYPEDEF
                && let Some(name) = this.text(name).filter(|name| name.starts_with(TRACEPOINTS))
            {
                this.tracepoints.insert(name, word(types, at + 8)?);
            }
            at += 12 + len;
        }
        Some(this)
    }

    fn text(&self, offset: u32) -> Option<&'a str> {
        let rest = self.strings.get(offset as usize..)?;
        // The names of interest are short; most names are not looked at further.
        let end = rest.iter().take(32).position(|byte| *byte == 0)?;
        str::from_utf8(&rest[..end]).ok()
    }

    fn offsets(&self) -> Option<KernelOffsets> {
        let of = |structure, member| self.offset(structure, member);
        Some(KernelOffsets {
            task_tgid: of("task_struct", "tgid")?,
            task_files: of("task_struct", "files")?,
            files_fdt: of("files_struct", "fdt")?,
            fdtable_max_fds: of("fdtable", "max_fds")?,
            fdtable_fd: of("fdtable", "fd")?,
            file_inode: of("file", "f_inode")?,
            file_private: of("file", "private_data")?,
            inode_ino: of("inode", "i_ino")?,
            inode_mode: of("inode", "i_mode")?,
            socket_sk: of("socket", "sk")?,
            task_signal: of("task_struct", "signal")?,
            signal_live: of("signal_struct", "live")?,
            task_mm: of("task_struct", "mm")?,
            known: 1,
        })
    }

    /// Offset of a member of one of the structures of interest, in bytes.
    pub(super) fn offset(&self, structure: &str, member: &str) -> Option<u32> {
        let bits = self.member(self.named.get(structure)?, member, 0)?;
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// Kind, number of members and the rest of the record of a type.
    fn record(&self, id: u32) -> Option<(u32, usize, &'a [u8])> {
        let record = self.types.get(*self.starts.get(id as usize)?..)?;
        let info = word(record, 4)?;
        Some((info >> 24 & 0x1f, (info & 0xffff) as usize, record))
    }

    /// The parameters of the function that a tracepoint's name stands for.
    pub(super) fn parameters(&self, tracepoint: &str) -> Option<Vec<Parameter<'a>>> {
        let (KIND_PTR, _, pointer) = self.record(*self.tracepoints.get(tracepoint)?)? else { return None };
        let (KIND_FUNC_PROTO, count, function) = self.record(word(pointer, 8)?)? else { return None };
        let parameters = function.get(12..12 + 8 * count)?;
        parameters.chunks_exact(8).map(|parameter| Some(self.parameter(word(parameter, 4)?))).collect()
    }

    fn parameter(&self, id: u32) -> Parameter<'a> {
        let Some((KIND_PTR, _, pointer)) = self.record(id) else { return Parameter::Other };
        let target = word(pointer, 8).and_then(|id| self.record(id)).filter(|(kind, ..)| *kind == KIND_STRUCT);
        Parameter::Pointer(target.and_then(|(_, _, record)| self.text(word(record, 0)?)).unwrap_or(""))
    }

    /// Offset of a member in bits, within unnamed structures too.
    fn member(&self, record: &[u8], name: &str, depth: usize) -> Option<u32> {
        let bitfields = word(record, 4)? >> 31 != 0;
        record.get(12..)?.chunks_exact(12).find_map(|member| {
            let offset = word(member, 8)?;
            let offset = if bitfields { offset & 0xff_ffff } else { offset };
            let found = self.text(word(member, 0)?)?;
            if found == name {
                return Some(offset);
            }
            if !found.is_empty() || depth == DEEPEST {
                return None;
            }
            let start = *self.starts.get(word(member, 4)? as usize)?;
            let info = word(self.types, start.checked_add(4)?)?;
            if !matches!(info >> 24 & 0x1f, KIND_STRUCT | KIND_UNION) {
                return None;
            }
            let inner = self.types.get(start..start + 12 + 12 * (info & 0xffff) as usize)?;
            self.member(inner, name, depth + 1).map(|within| offset + within)
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two structures: `file { int a; struct { int b; int f_inode; }; }`.
    fn made_up() -> Vec<u8> {
        let strings = b"\0file\0a\0b\0f_inode\0";
        let (file, a, b, inode) = (1u32, 6u32, 8u32, 10u32);
        let inner = [[0, KIND_STRUCT << 24 | 2, 8].as_slice(), &[b, 0, 0], &[inode, 0, 32]].concat();
        let outer = [[file, KIND_STRUCT << 24 | 2, 16].as_slice(), &[a, 0, 0], &[0, 1, 64]].concat();
        let types: Vec<u8> = [inner, outer].concat().into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_of_unnamed_structures_are_found() {
        let bytes = made_up();
        let types = Types::parse(&bytes).expect("is BTF");
        let file = types.named["file"];
        assert_eq!(types.member(file, "a", 0), Some(0));
        assert_eq!(types.member(file, "f_inode", 0), Some(96));
        assert_eq!(types.member(file, "c", 0), None);
        assert!(types.offsets().is_none(), "the other structures are missing");
    }

    #[test]
    fn the_running_kernel_has_all_of_them() {
        let Ok(bytes) = std::fs::read(VMLINUX) else { return };
        let offsets = Types::parse(&bytes).and_then(|types| types.offsets()).expect("every field");
        assert_eq!(offsets.known, 1);
        assert!(offsets.task_files > offsets.task_tgid, "{offsets:?}");
    }

    #[test]
    fn io_uring_s_requests_are_found_where_there_are_any() {
        let Ok(bytes) = std::fs::read(VMLINUX) else { return };
        let types = Types::parse(&bytes).expect("is BTF");
        let Some(parameters) = types.parameters("btf_trace_io_uring_submit_req") else { return };
        assert_eq!(parameters, [Parameter::Pointer(""), Parameter::Pointer("io_kiocb")]);
        let UringLayout { offsets, ops, .. } = UringLayout::of(&types).expect("io_uring");
        assert!(offsets.opcode > 0 && offsets.flags > offsets.opcode && offsets.ring > 0, "{offsets:?}");
        assert!(ops.len() >= 6, "{ops:?}");
        assert_eq!(types.parameters("btf_trace_io_uring_none"), None);
    }

    proptest! {
        #[test]
        fn damaged_bytes_do_no_harm(at in 0usize..200, value in any::<u8>(), cut in 0usize..200) {
            let mut bytes = made_up();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Some(types) = Types::parse(&bytes) {
                let _ = (types.offsets(), UringLayout::of(&types));
                for id in 0..4 {
                    let _ = types.parameter(id);
                }
                for record in types.named.values() {
                    let _ = types.member(record, "f_inode", 0);
                }
            }
        }
    }
}
