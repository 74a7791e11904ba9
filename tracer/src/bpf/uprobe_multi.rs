//! Programs and links of the `uprobe_multi` kind, and sessions of it, which aya 0.14 does not have.
//!
//! aya creates the maps from the object; a second copy of the object is relocated against those maps and its programs
//! are loaded with the attach type that such links ask for.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::CStr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use aya::Ebpf;

use super::{BpfError, error::chain, mapped, object, sys};

/// Loaded programs by name.
#[derive(Debug)]
pub(super) struct Programs {
    by_name: HashMap<&'static str, OwnedFd>,
    /// One that is not for sessions.
    first: &'static str,
}

impl Programs {
    /// Loads the programs named against the maps of `ebpf`; and those for sessions, if the kernel has these.
    pub(super) fn load(ebpf: &Ebpf, names: &[&'static str], for_sessions: &[&'static str]) -> Result<Self, BpfError> {
        let failed = |error: &dyn std::error::Error| BpfError::Load { reason: chain(error) };
        let mut parsed = aya_obj::Object::parse(object()).map_err(|error| failed(&error))?;
        let btf = match aya::features().btf() {
            Some(features) => {
                let fixed = parsed.fixup_and_sanitize_btf(features).map_err(|error| failed(&error))?;
                fixed.map(|btf| sys::btf_load(&btf.to_bytes())).transpose().map_err(|error| failed(&error))?
            }
            None => None,
        };
        let maps: Vec<_> = parsed.maps.drain().collect();
        let text = parsed.functions.keys().map(|(section, _)| *section).collect();
        let fds: HashMap<&str, i32> =
            ebpf.maps().filter_map(|(name, map)| Some((name, mapped::data(map)?.fd().as_fd().as_raw_fd()))).collect();
        if let Some((name, _)) = maps.iter().find(|(name, _)| !fds.contains_key(name.as_str())) {
            return Err(BpfError::Load { reason: format!("map {name} has no descriptor") });
        }
        let known = maps.iter().filter_map(|(name, map)| Some((name.as_str(), *fds.get(name.as_str())?, map)));
        parsed.relocate_maps(known, &text).map_err(|error| failed(&error))?;
        parsed.relocate_calls(&text).map_err(|error| failed(&error))?;
        parsed.sanitize_functions(aya::features());
        let mut by_name = HashMap::new();
        for (name, at, loaded) in load_all(&parsed, btf.as_ref(), names, for_sessions) {
            match loaded {
                Ok(program) => _ = by_name.insert(name, program),
                Err(error) if at == At::Both => log::debug!("the kernel has no sessions of uprobes: {error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(Self { by_name, first: names.first().copied().unwrap_or_default() })
    }

    /// Whether a program was loaded.
    pub(super) fn has(&self, name: &'static str) -> bool {
        self.by_name.contains_key(name)
    }

    /// One of the programs.
    pub(super) fn fd(&self, name: &'static str) -> Result<&OwnedFd, BpfError> {
        self.by_name.get(name).ok_or(BpfError::Object { name })
    }

    /// Other descriptors of all of them, by name.
    pub(super) fn try_clone(&self) -> std::io::Result<BTreeMap<&'static str, OwnedFd>> {
        self.by_name.iter().map(|(name, program)| Ok((*name, program.try_clone()?))).collect()
    }

    /// One of the programs that are not for sessions, for trying out what the kernel has.
    pub(super) fn any_fd(&self) -> u32 {
        self.by_name.get(self.first).map_or(u32::MAX, |fd| fd.as_raw_fd() as u32)
    }

    /// Attaches a program to points of a file, in one process.
    pub(super) fn link(&self, name: &'static str, points: &Points<'_>) -> Result<std::io::Result<OwnedFd>, BpfError> {
        let program = self.by_name.get(name).ok_or(BpfError::Object { name })?;
        let Points { path, offsets, cookies, at, pid } = points;
        let mut attr = sys::UprobeMultiLink {
            prog_fd: program.as_raw_fd() as u32,
            attach_type: at.attach_type(),
            path: path.as_ptr() as u64,
            offsets: offsets.as_ptr() as u64,
            cookies: cookies.as_ptr() as u64,
            cnt: offsets.len().min(cookies.len()) as u32,
            multi_flags: if *at == At::Return { sys::UPROBE_MULTI_RETURN } else { 0 },
            pid: *pid,
            ..sys::UprobeMultiLink::default()
        };
        // SAFETY: a C string and two slices of at least `cnt` entries, all alive for the call.
        Ok(unsafe { sys::link_create(&mut attr) })
    }
}

/// When a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// When the instruction is reached.
    Entry,
    /// When the function that begins there returns.
    Return,
    /// At both, if the program does not say at the first that it need not come back: a session (Linux 6.13).
    Both,
}

impl At {
    fn attach_type(self) -> u32 {
        match self {
            Self::Entry | Self::Return => sys::TRACE_UPROBE_MULTI,
            Self::Both => sys::TRACE_UPROBE_SESSION,
        }
    }
}

/// Probe points of one file for one program.
pub(super) struct Points<'a> {
    /// The file.
    pub(super) path: &'a CStr,
    /// Offsets in it.
    pub(super) offsets: &'a [u64],
    /// A cookie for each.
    pub(super) cookies: &'a [u64],
    /// Which moment of a call.
    pub(super) at: At,
    /// The process.
    pub(super) pid: u32,
}

/// The verifier takes a tenth of a second for one of them, so they are loaded side by side.
fn load_all(
    object: &aya_obj::Object,
    btf: Option<&OwnedFd>,
    names: &[&'static str],
    for_sessions: &[&'static str],
) -> Vec<(&'static str, At, Result<OwnedFd, BpfError>)> {
    let all = names.iter().map(|name| (*name, At::Entry)).chain(for_sessions.iter().map(|name| (*name, At::Both)));
    std::thread::scope(|scope| {
        let load = |(name, at): (&'static str, At)| {
            let loading = scope.spawn(move || load_one(object, btf, name, at.attach_type()));
            (name, at, loading)
        };
        let failed = || Err(BpfError::Load { reason: "the thread that loads it panicked".to_owned() });
        let all: Vec<_> = all.map(load).collect();
        all.into_iter().map(|(name, at, loading)| (name, at, loading.join().unwrap_or_else(|_| failed()))).collect()
    })
}

fn load_one(
    object: &aya_obj::Object,
    btf: Option<&OwnedFd>,
    name: &'static str,
    attach_type: u32,
) -> Result<OwnedFd, BpfError> {
    let program = object.programs.get(name).ok_or(BpfError::Object { name })?;
    let function = object.functions.get(&program.function_key()).ok_or(BpfError::Object { name })?;
    let (func_info, line_info) = (function.func_info.func_info_bytes(), function.line_info.line_info_bytes());
    let mut attr = sys::ProgLoad {
        prog_type: sys::PROG_TYPE_KPROBE,
        insn_cnt: function.instructions.len() as u32,
        insns: function.instructions.as_ptr() as u64,
        license: program.license.as_ptr() as u64,
        expected_attach_type: attach_type,
        ..sys::ProgLoad::default()
    };
    let shown = name.len().min(attr.prog_name.len() - 1);
    attr.prog_name[..shown].copy_from_slice(&name.as_bytes()[..shown]);
    if let Some(btf) = btf {
        attr.prog_btf_fd = btf.as_raw_fd() as u32;
        attr.func_info = func_info.as_ptr() as u64;
        attr.func_info_cnt = function.func_info.len() as u32;
        attr.func_info_rec_size = function.func_info_rec_size as u32;
        attr.line_info = line_info.as_ptr() as u64;
        attr.line_info_cnt = function.line_info.len() as u32;
        attr.line_info_rec_size = function.line_info_rec_size as u32;
    }
    // SAFETY: instructions, licence and type information are alive and as long as the counts say.
    match unsafe { sys::prog_load(&mut attr) } {
        Ok(fd) => Ok(fd),
        Err(error) => {
            // Once more with a log, to say what the verifier objects to.
            let mut log = vec![0u8; 1 << 20];
            attr.log_level = 1;
            attr.log_buf = log.as_mut_ptr() as u64;
            attr.log_size = log.len() as u32;
            // SAFETY: as above, with a log buffer of the size given.
            if let Ok(fd) = unsafe { sys::prog_load(&mut attr) } {
                return Ok(fd);
            }
            let text = CStr::from_bytes_until_nul(&log).map(CStr::to_string_lossy).unwrap_or_default();
            let mut tail: Vec<&str> = text.trim_end().lines().rev().take(4).collect();
            tail.reverse();
            log::debug!("verifier log of {name}: {text}");
            Err(BpfError::Load { reason: format!("program {name}: {error}: {}", tail.join(" | ")) })
        }
    }
}
