//! One line of `/proc/PID/maps`, as bytes.
//!
//! procfs's parser takes lines as UTF-8, trims paths, and slices some without looking; a path is whatever bytes the
//! target chose, so this one does not.

/// A mapping as the kernel prints it (`show_map_vma` in `fs/proc/task_mmu.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapsLine<'a> {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Read, write, execute, and private or shared: `r-xp`.
    pub(super) permissions: [u8; 4],
    pub(super) file_offset: u64,
    /// Major and minor number.
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
    /// Path, `[name]` or nothing. The kernel writes a line feed in it as `\012` and changes nothing else.
    pub(super) name: &'a [u8],
}

impl<'a> MapsLine<'a> {
    /// Takes a line without its line feed apart.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let (start, rest) = split_once(line, b'-')?;
        let (end, rest) = split_once(rest, b' ')?;
        let (permissions, rest) = split_once(rest, b' ')?;
        let (file_offset, rest) = split_once(rest, b' ')?;
        let (device, rest) = split_once(rest, b' ')?;
        let (major, minor) = split_once(device, b':')?;
        let (inode, name) = split_once(rest, b' ').unwrap_or((rest, b""));
        // Spaces pad the line up to the name's column; a name itself starts with a slash, a bracket or a letter.
        let name = &name[name.iter().take_while(|&&byte| byte == b' ').count()..];
        let (start, end) = (hex(start)?, hex(end)?);
        (start < end).then_some(())?;
        Some(Self {
            start,
            end,
            permissions: permissions.try_into().ok()?,
            file_offset: hex(file_offset)?,
            device: (hex(major)?.try_into().ok()?, hex(minor)?.try_into().ok()?),
            inode: std::str::from_utf8(inode).ok()?.parse().ok()?,
            name,
        })
    }

    pub(super) fn is_executable(&self) -> bool {
        self.permissions[2] == b'x'
    }
}

fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn hex(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Undoes the kernel's one escape.
pub(super) fn unescape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b"\\012") {
            out.push(b'\n');
            rest = tail;
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_mapping() {
        let line = b"7f5c1e228000-7f5c1e37d000 r-xp 00026000 fe:01 1234567                    /usr/lib/libc.so.6";
        let expected = MapsLine {
            start: 0x7f5c_1e22_8000,
            end: 0x7f5c_1e37_d000,
            permissions: *b"r-xp",
            file_offset: 0x26000,
            device: (0xfe, 1),
            inode: 1_234_567,
            name: b"/usr/lib/libc.so.6",
        };
        assert_eq!(MapsLine::parse(line), Some(expected));
    }

    #[test]
    fn names_keep_every_byte() {
        let with = |name: &[u8]| [b"1000-2000 rw-p 00000000 00:00 0    ", name].concat();
        for name in [&b"/a b  (deleted)"[..], b"/trailing ", b"/\xff\xfe", b"[anon: x]", b"/SYSV", b""] {
            assert_eq!(MapsLine::parse(&with(name)).expect("parses").name, name);
        }
        let bare = MapsLine::parse(b"1000-2000 rw-p 00000000 00:00 0").expect("a line may end after the inode");
        assert_eq!((bare.name, bare.is_executable()), (&b""[..], false));
    }

    #[test]
    fn lines_that_are_none() {
        for line in [&b""[..], b"x", b"2000-1000 r-xp 0 00:00 0", b"1000-2000 r 0 00:00 0", b"1000-2000 r-xp 0 0 0"] {
            assert_eq!(MapsLine::parse(line), None, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn only_line_feeds_are_escaped() {
        assert_eq!(unescape(b"/a\\012b\\040c\\01"), b"/a\nb\\040c\\01");
    }

    proptest! {
        #[test]
        fn never_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
            MapsLine::parse(&line);
            unescape(&line);
        }
    }
}
