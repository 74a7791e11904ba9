//! Every type that crosses the boundary between the BPF programs and user space, once.
//!
//! In: nothing. Out: `repr(C)` layouts for map keys, map values, events and globals, and the integer codes inside
//! them. Both sides compile this crate, so sizes, alignments and offsets are asserted here in const code: a layout
//! that differs between the two targets does not compile.
//!
//! Codes are integers on the wire and decoded with [`TryFrom`]; bytes are never transmuted into an enum.
#![no_std]

pub mod config;
pub mod counter;
pub mod event;
pub mod fd;
pub mod heap;
#[cfg(feature = "user")]
mod pod;
pub mod process;
pub mod sampling;
pub mod stack;
pub mod unwind;
pub mod uring;

/// A code on the wire that no variant of the enum has: the two sides disagree on the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCode {
    /// Name of the enum that was being decoded.
    pub what: &'static str,
    /// The integer found.
    pub code: u32,
}

/// Declares an enum whose variants travel as `u32`, with the reverse conversion and a stable name for each.
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $code:literal => $text:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum $name { $( $(#[$variant_meta])* $variant = $code, )+ }

        impl $name {
            /// Every variant, in the order of its code.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// The integer that travels.
            #[inline(always)]
            pub const fn code(self) -> u32 {
                self as u32
            }

            /// The name used in JSON, metrics and text.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }
        }

        impl TryFrom<u32> for $name {
            type Error = $crate::UnknownCode;

            #[inline(always)]
            fn try_from(code: u32) -> Result<Self, Self::Error> {
                match code {
                    $( $code => Ok(Self::$variant), )+
                    _ => Err($crate::UnknownCode { what: stringify!($name), code }),
                }
            }
        }
    };
}
pub(crate) use wire_enum;

/// Asserts the size of a boundary type, and that it has no padding at its end for the alignment of 8.
macro_rules! assert_layout {
    ($type:ty, size $size:expr $(, $field:ident at $offset:expr)* $(,)?) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            assert!(align_of::<$type>() <= 8);
            $( assert!(core::mem::offset_of!($type, $field) == $offset); )*
        };
    };
}
pub(crate) use assert_layout;
