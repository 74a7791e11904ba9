//! What a call brought: one form for all of them, kept in memory, so that the verifier follows what is done with it once
//! and not once for each call.

use aya_ebpf::helpers::bpf_probe_read_user;
use tracer_common::fd::Effect;

use super::Call;

/// In place of a descriptor.
pub(super) const NO_FD: u32 = u32::MAX;

/// Commands of `bpf(2)` that return a descriptor: of BTF, links, maps and programs, by creation or by id.
const BPF_COMMANDS: u64 = 1 << 0
    | 1 << 5
    | 1 << 7
    | 1 << 13
    | 1 << 14
    | 1 << 17
    | 1 << 18
    | 1 << 19
    | 1 << 28
    | 1 << 30
    | 1 << 32
    | 1 << 33
    | 1 << 36;
const F_DUPFD: u32 = 0;
const F_DUPFD_CLOEXEC: u32 = 1030;

/// Control messages of one message that are looked at.
const CONTROL_MESSAGES: usize = 4;
/// Where `struct msghdr` has the address of its control messages; their length follows.
const CONTROL: u64 = 32;
const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;
const SCM_PIDFD: u32 = 4;
/// Bytes of a control message before its data.
const HEADER: u64 = 16;

/// What a call means besides.
pub(super) struct Turn;

impl Turn {
    pub(super) const NONE: u32 = 0;
    pub(super) const CONNECTED: u32 = 1;
    pub(super) const ACCEPTED: u32 = 2;
}

/// What a call brought.
#[repr(C)]
pub(super) struct Request {
    /// Where in the target's memory new descriptors are listed.
    pub(super) address: u64,
    /// How many are there.
    pub(super) count: u32,
    /// A new descriptor, or the one that was connected; [`NO_FD`] when there is none.
    pub(super) direct: u32,
    /// A [`Turn`].
    pub(super) turn: u32,
    /// The effect of the call. After the walk it is read from here: the verifier would otherwise follow the walk once for
    /// each effect.
    pub(super) effect: u32,
}

/// `struct cmsghdr`
#[repr(C)]
#[derive(Clone, Copy)]
struct ControlHeader {
    len: u64,
    level: u32,
    kind: u32,
}

impl Request {
    #[inline(always)]
    pub(super) fn list(&mut self, address: u64, count: u32) {
        self.address = address;
        self.count = count;
    }
}

/// Says what a call brought. Returns whether it was anything.
#[inline(always)]
pub(super) fn fill(request: &mut Request, call: &Call, effect: u32) -> bool {
    const BPF: u32 = Effect::Bpf.code();
    const FCNTL: u32 = Effect::Fcntl.code();
    const SIGNALFD: u32 = Effect::Signalfd.code();
    const REPLACES: u32 = Effect::Replaces.code();
    const PAIR_AT_FIRST: u32 = Effect::PairAtFirst.code();
    const PAIR_AT_FOURTH: u32 = Effect::PairAtFourth.code();
    const ACCEPTS: u32 = Effect::Accepts.code();
    const CONNECTS: u32 = Effect::Connects.code();
    const RECEIVES: u32 = Effect::Receives.code();

    request.list(0, 0);
    request.direct = call.result as u32;
    request.turn = Turn::NONE;
    // Of an int, only the lower half of the register is defined.
    let (first_fd, command) = (call.first as u32, call.second as u32);
    match effect {
        BPF => return first_fd < 64 && BPF_COMMANDS >> (first_fd & 63) & 1 != 0,
        FCNTL => return command == F_DUPFD || command == F_DUPFD_CLOEXEC,
        SIGNALFD => return first_fd == NO_FD,
        REPLACES => return first_fd != call.result as u32,
        ACCEPTS => request.turn = Turn::ACCEPTED,
        CONNECTS => {
            request.direct = first_fd;
            request.turn = Turn::CONNECTED;
        }
        PAIR_AT_FIRST | PAIR_AT_FOURTH => {
            request.direct = NO_FD;
            request.list(if effect == PAIR_AT_FIRST { call.first } else { call.fourth }, 2);
        }
        RECEIVES => {
            request.direct = NO_FD;
            return received(request, call.second);
        }
        _ => {}
    }
    true
}

/// The descriptors in the control messages of a message that was received.
#[inline(always)]
fn received(request: &mut Request, message: u64) -> bool {
    // SAFETY: the helper checks the address and fails where it cannot be read.
    let control = unsafe { bpf_probe_read_user(message.wrapping_add(CONTROL) as *const [u64; 2]) };
    // What cannot be read has not been written either.
    let Ok([mut address, len]) = control else { return false };
    let end = address.wrapping_add(len);
    let mut any = false;
    for _ in 0..CONTROL_MESSAGES {
        if len < HEADER + 4 || address.wrapping_add(HEADER + 4) > end {
            break;
        }
        // SAFETY: the helper checks the address and fails where it cannot be read.
        let Ok(header) = (unsafe { bpf_probe_read_user(address as *const ControlHeader) }) else { break };
        if header.len < HEADER + 4 || header.len > len {
            break;
        }
        let data = address.wrapping_add(HEADER);
        if header.level == SOL_SOCKET && header.kind == SCM_RIGHTS {
            // The kernel puts all descriptors of a message into one of these.
            request.list(data, ((header.len - HEADER) >> 2) as u32);
            any = true;
        }
        if header.level == SOL_SOCKET && header.kind == SCM_PIDFD {
            // SAFETY: the helper checks the address and fails where it cannot be read.
            request.direct = unsafe { bpf_probe_read_user(data as *const u32) }.unwrap_or(NO_FD);
            any = true;
        }
        address = address.wrapping_add((header.len + 7) & !7);
    }
    any
}
