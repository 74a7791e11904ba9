//! Unwind tables against readelf, gdb, hand-made call-frame information and hostile files.
//!
//! Needs gcc, readelf and gdb.

mod elf_image;
mod hostile;
mod index;
mod live;
mod readelf;
mod rules;
mod tools;
