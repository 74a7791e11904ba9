//! Leave for user space to read and write these types as plain bytes.

use crate::heap::{Block, BlockKey, SiteCounters};

// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for BlockKey {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for Block {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for SiteCounters {}
