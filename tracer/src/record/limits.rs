//! What a recording may hold. Far above what leaktrace writes, far below what would hurt a reader.

/// Bytes of a frame, compressed.
pub const PACKED_BYTES: u32 = 128 << 20;
/// Bytes of a frame, unpacked.
pub const RAW_BYTES: u32 = 128 << 20;
/// Rows of a window: a million descriptors, and room.
pub const ROWS: usize = 2 << 20;
/// Bytes of a row.
pub const ROW_BYTES: usize = 4 << 20;
/// Entries of a list in a row, of which two bytes can become fifty. What there is more is left out.
pub const LIST: usize = 64 << 10;
/// Strings that frames name.
pub const STRINGS: usize = 4 << 20;
/// Bytes of all of them.
pub const STRING_BYTES: usize = 512 << 20;
/// Different frames.
pub const FRAMES: usize = 8 << 20;
/// Frames of one stack, inlined ones included.
pub const STACK_FRAMES: usize = 4 << 10;
/// Frames of all stacks.
pub const ALL_STACK_FRAMES: usize = 16 << 20;
/// Sites with a stack.
pub const SITES: usize = 1 << 20;
