//! How the rounds of a loop are driven whose number the verifier does not know.

/// What drives them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drive {
    /// `bpf_loop` (Linux 5.17): a round is verified once.
    Helper,
    /// A bounded loop, for older kernels; the verifier follows every round, so there are fewer.
    Bounded,
}
