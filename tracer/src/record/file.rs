//! The file of a recording. It names paths and addresses of the target, so it is its owner's alone.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Why a recording's file cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Something is there.
    #[error("{0} exists already; choose another file, or replace it with --overwrite")]
    Exists(PathBuf),
    /// What is there is no file that one would replace.
    #[error("{0} is not a file; choose another one for the recording")]
    NotAFile(PathBuf),
    /// The operating system says no.
    #[error("cannot write {path}: {source}; choose another file for the recording")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes the file, for its owner alone. What is there already is replaced if `overwrite`, never written into: it may be open
/// elsewhere, belong to someone else, or be a link.
///
/// # Errors
/// [`CreateError`].
pub fn create(path: &Path, overwrite: bool) -> Result<File, CreateError> {
    let failed = |source| CreateError::Io { path: path.to_owned(), source };
    if overwrite {
        match fs::symlink_metadata(path) {
            Ok(there) if there.is_file() || there.is_symlink() => fs::remove_file(path).map_err(failed)?,
            Ok(_) => return Err(CreateError::NotAFile(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    // With O_EXCL no link is followed either.
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(path).map_err(|error| {
        match error.kind() {
            io::ErrorKind::AlreadyExists => CreateError::Exists(path.to_owned()),
            _ => failed(error),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_its_owners_and_never_replaced_unasked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.ltrec");
        create(&path, false).expect("a new file");
        let mode = fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "something").expect("writes");
        let refused = create(&path, false).expect_err("is there").to_string();
        assert!(refused.contains("a.ltrec exists already") && refused.contains("--overwrite"), "{refused}");
        assert_eq!(fs::read(&path).expect("reads"), b"something");
        create(&path, true).expect("replaces");
        assert_eq!(fs::read(&path).expect("reads"), b"");
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("link"), folder.path().join("other"));
        fs::write(&other, "of someone else").expect("writes");
        symlink(&other, &path).expect("links");
        assert!(matches!(create(&path, false), Err(CreateError::Exists(_))));
        create(&path, true).expect("replaces the link");
        assert_eq!(fs::read(&other).expect("reads"), b"of someone else");
        assert!(!fs::symlink_metadata(&path).expect("is there").is_symlink());
        assert!(matches!(create(folder.path(), true), Err(CreateError::NotAFile(_))));
    }
}
