//! Leave for user space to read and write these types as plain bytes.

use crate::{
    fd::{CallCount, FdKey, FdRecord, KernelFd, KernelOffsets},
    heap::{Block, BlockKey, Bucket, NearBlock, SiteCounters},
    process::Image,
    unwind::{Mapping, MappingRange, PageRows, Row},
    uring::{UringOffsets, UringOp},
};

// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for UringOp {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for CallCount {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for UringOffsets {}

// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for BlockKey {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for Block {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for Bucket {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for NearBlock {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for SiteCounters {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for Image {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for Row {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for Mapping {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for MappingRange {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for PageRows {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for FdKey {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for FdRecord {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for KernelFd {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for KernelOffsets {}
// SAFETY: `repr(C)`, integers only, no padding (asserted beside the type).
unsafe impl aya::Pod for crate::sampling::SampleControl {}
