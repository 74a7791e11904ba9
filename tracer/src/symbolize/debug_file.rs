//! The separate file with a stripped module's symbols and debug information.
//!
//! Where distributions put them: by build id under `/usr/lib/debug/.build-id`, or under the name in `.gnu_debuglink`
//! beside the module or below `/usr/lib/debug` (GDB manual, "Debugging Information in Separate Files"). Looked for
//! in the target's root first, because a container brings its own. Taken only if it is proven to belong to the module.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    sync::Arc,
};

use super::elf::{DebugLink, Elf};
use crate::target::{
    Root,
    maps::{Module, fd_path},
};

const DEBUG_DIRECTORY: &str = "/usr/lib/debug";
/// Bytes of a debug file whose checksum is computed; without a build id only.
const CHECKED_BYTES: u64 = 4 << 30;

/// Finds the debug file of a module at `path` (in its own root).
pub(super) fn find(path: &str, module: &Elf, roots: &[Arc<Root>]) -> Option<(Arc<File>, Elf)> {
    let by_id = module.build_id.iter().map(|id| build_id_path(id)).collect::<Vec<_>>();
    let by_link = module.debug_link.iter().flat_map(|link| link_paths(path, link)).collect::<Vec<_>>();
    let candidates = |paths: Vec<Vec<u8>>| {
        roots.iter().flat_map(move |root| paths.clone().into_iter().map(move |path| (root, path)))
    };
    candidates(by_id).chain(candidates(by_link)).find_map(|(root, path)| {
        let file = root.open_regular(&path).ok()?;
        let shown = String::from_utf8_lossy(&path);
        let elf = Elf::read(&file).inspect_err(|error| log::debug!("debug file {shown:?} {error}")).ok()?;
        let fits = belongs(module, &elf, &file);
        log::debug!("debug file {shown:?} {}", if fits { "found" } else { "does not belong to the module" });
        // blazesym follows a link by paths of its own; none of the known tools writes one into a debug file.
        (fits && elf.debug_link.is_none()).then(|| (Arc::new(file), elf))
    })
}

/// The debug file of a module of a process whose root is `target`, to read symbols from that the module has not.
pub(crate) fn of_module(module: &Module, target: Option<&Arc<Root>>) -> Option<Arc<File>> {
    let look = || {
        let elf = Elf::read(module.file()?).ok().filter(|elf| !elf.has_symbols)?;
        let host = Root::host().ok().map(Arc::new);
        let roots: Vec<_> = target.cloned().into_iter().chain(host).collect();
        find(module.path(), &elf, &roots).map(|(file, _)| file)
    };
    super::guard::contain(look).ok().flatten()
}

fn belongs(module: &Elf, debug: &Elf, file: &File) -> bool {
    match (&module.build_id, &module.debug_link) {
        (Some(id), _) => debug.build_id.as_ref() == Some(id),
        (None, Some(link)) => checksum(file).is_ok_and(|crc| crc == link.crc),
        (None, None) => false,
    }
}

/// Whether the file that a debug file shares with others is there and the right one, where blazesym will look for it.
/// blazesym gives up on all debug information otherwise, or waits on a FIFO.
pub(super) fn alt_link_holds(debug: &File, elf: &Elf, host: Option<&Arc<Root>>) -> bool {
    let Some(link) = &elf.alt_link else { return true };
    let check = || {
        let real = std::fs::canonicalize(fd_path(debug)).ok()?;
        let path = real.parent()?.join(std::ffi::OsStr::from_bytes(&link.path));
        let shared = host?.open_regular(path.as_os_str().as_bytes()).ok()?;
        let id = Elf::read(&shared).ok()?.build_id?;
        (id == link.build_id).then_some(())
    };
    check().is_some()
}

fn build_id_path(id: &[u8]) -> Vec<u8> {
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let (directory, name) = hex.split_at(2);
    format!("{DEBUG_DIRECTORY}/.build-id/{directory}/{name}.debug").into_bytes()
}

fn link_paths(module: &str, link: &DebugLink) -> Vec<Vec<u8>> {
    let name = &link.name;
    if name.is_empty() || name.contains(&b'/') || **name == *b".." || **name == *b"." {
        return Vec::new();
    }
    let directory = module.rsplit_once('/').map_or("", |(directory, _)| directory);
    [directory.to_owned(), format!("{directory}/.debug"), format!("{DEBUG_DIRECTORY}{directory}")]
        .into_iter()
        .map(|directory| [directory.as_bytes(), b"/", name].concat())
        .collect()
}

/// CRC-32 as `.gnu_debuglink` has it, which is zlib's.
fn checksum(file: &File) -> io::Result<u32> {
    let mut reader = file.take(CHECKED_BYTES);
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_distributions() {
        assert_eq!(build_id_path(&[0xab, 0x01, 0xff]), b"/usr/lib/debug/.build-id/ab/01ff.debug");
        let link = |name: &[u8]| DebugLink { name: Box::from(name), crc: 0 };
        let paths = link_paths("/opt/app/bin/server", &link(b"server.debug"));
        let expected = ["/opt/app/bin/server.debug", "/opt/app/bin/.debug/server.debug"];
        assert_eq!(paths[..2], expected.map(|path| path.as_bytes().to_vec()));
        assert_eq!(paths[2], b"/usr/lib/debug/opt/app/bin/server.debug");
        for name in [&b"../../etc/shadow"[..], b"/dev/stdin", b"..", b""] {
            assert!(link_paths("/opt/server", &link(name)).is_empty());
        }
    }

    #[test]
    fn nothing_proven_nothing_taken() {
        let file = tempfile::tempfile().expect("temp file");
        let link = |crc| Some(DebugLink { name: Box::from(*b"x"), crc });
        let id = |id: &[u8]| Some(Box::from(id));
        let elf = Elf::default;
        assert!(!belongs(&elf(), &elf(), &file));
        assert!(!belongs(&Elf { build_id: id(b"ab"), ..elf() }, &elf(), &file));
        assert!(!belongs(&Elf { build_id: id(b"ab"), debug_link: link(0), ..elf() }, &elf(), &file));
        assert!(belongs(&Elf { build_id: id(b"ab"), ..elf() }, &Elf { build_id: id(b"ab"), ..elf() }, &file));
        // The checksum of nothing is zero.
        assert!(belongs(&Elf { debug_link: link(0), ..elf() }, &elf(), &file));
        assert!(!belongs(&Elf { debug_link: link(1), ..elf() }, &elf(), &file));
    }
}
