//! A line of a source file, for showing beside a frame.

use std::{
    fs::OpenOptions,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Larger files are no sources.
const LARGEST: u64 = 8 << 20;

/// The line, if the file is here. The name comes from the target, which is not trusted: only what everybody may read is
/// read, and nothing but plain files, which do not block.
pub(super) fn source_line(path: &str, line: u32) -> Option<String> {
    let path = Path::new(path);
    if !path.is_absolute() {
        return None;
    }
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.mode() & 0o004 == 0 || metadata.len() > LARGEST {
        return None;
    }
    let mut lines = BufReader::new(file.take(LARGEST)).split(b'\n');
    let text = lines.nth(usize::try_from(line).ok()?.checked_sub(1)?)?.ok()?;
    Some(String::from_utf8_lossy(&text).trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::source_line;

    #[test]
    fn only_what_everybody_may_read_is_shown() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.c");
        let name = path.to_str().expect("text");
        fs::write(&path, "int x;\n\n    free(p);\n")?;
        assert_eq!(source_line(name, 3).as_deref(), Some("free(p);"));
        assert_eq!([0, 2, 4].map(|line| source_line(name, line)), [None, None, None]);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        assert_eq!(source_line(name, 3), None);
        assert_eq!(
            [source_line("a.c", 1), source_line("/dev/stdin", 1), source_line("/nowhere/a.c", 1)],
            [None, None, None]
        );
        Ok(())
    }
}
