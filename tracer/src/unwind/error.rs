//! Why a file gives no table.

/// Why no table could be made of a file. A process can be traced without it: frames in that file are then walked by
/// their frame pointers.
#[derive(Debug, thiserror::Error)]
pub enum UnwindError {
    /// Not an ELF file, or one that is cut off or lies about itself.
    #[error("not a readable ELF file: {0}")]
    Elf(&'static str),
    /// Another machine's.
    #[error("not a 64-bit x86-64 ELF file")]
    Machine,
    /// No loadable segment is executable.
    #[error("the file has no executable segment")]
    NoText,
    /// The executable segments lie further apart than the file's size explains, or than 32 bits can address.
    #[error("executable segments span {span} bytes, in a file of {file}")]
    TextSpan {
        /// From the lowest executable address to the highest.
        span: u64,
        /// Size of the file, bytes.
        file: u64,
    },
    /// Neither `.eh_frame` nor `.debug_frame` describes a function.
    #[error("the file has no call-frame information")]
    NoFrames,
    /// More than [`tracer_common::unwind::MAX_TABLE_ROWS`].
    #[error("the call-frame information has more than {} rows", tracer_common::unwind::MAX_TABLE_ROWS)]
    TooManyRows,
    /// Functions share call-frame instructions so much that interpreting them would not end in reasonable time.
    #[error("the call-frame information takes too long to interpret")]
    TooMuchWork,
    /// The file could not be read.
    #[error("cannot read the file")]
    Io(#[from] std::io::Error),
}
