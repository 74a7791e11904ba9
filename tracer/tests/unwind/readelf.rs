//! Every row against `readelf --debug-dump=frames-interp`, which interprets the same call-frame information.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::File,
    path::Path,
};

use leaktrace::unwind::UnwindTable;
use tracer_common::unwind::{Rule, RuleKind, Unsupported};

use crate::tools::{compile, hex, run};

/// One line of readelf's: what each column says from an address on.
type Columns = BTreeMap<String, String>;

/// A function as readelf prints it.
#[derive(Default)]
struct Function {
    signal_frame: bool,
    end: u64,
    rows: BTreeMap<u64, Columns>,
}

fn interpret(path: &Path) -> Vec<Function> {
    let text = run("readelf", |readelf| {
        readelf.args(["--wide", "--debug-dump=frames-interp"]).arg(path);
    });
    let mut cies: HashMap<&str, Function> = HashMap::new();
    let mut functions: Vec<Function> = Vec::new();
    let mut header: Vec<&str> = Vec::new();
    let mut open_cie = None;
    for line in text.lines() {
        // "r9 (r9)" says the same twice.
        let words: Vec<&str> = line.split_whitespace().filter(|word| !word.starts_with('(')).collect();
        match words.as_slice() {
            [offset, _, _, "CIE", augmentation, ..] => {
                let cie = Function { signal_frame: augmentation.contains('S'), ..Function::default() };
                cies.insert(offset, cie);
                open_cie = Some(*offset);
            }
            [_, _, _, "FDE", cie, pc] => {
                open_cie = None;
                let (start, end) = pc.trim_start_matches("pc=").split_once("..").expect("start..end");
                let cie = &cies[cie.trim_start_matches("cie=")];
                // What the CIE says holds from the start on; readelf prints it again only if something follows.
                let rows = cie.rows.get(&0).map(|columns| (hex(start), columns.clone())).into_iter().collect();
                functions.push(Function { signal_frame: cie.signal_frame, end: hex(end), rows });
            }
            ["LOC", columns @ ..] => header = columns.to_vec(),
            // Values are "c-8", "r10+0", "u", "s", "exp" or "vexp": as many words as columns.
            [address, values @ ..] if address.len() == 16 && values.len() == header.len() => {
                let columns = header.iter().zip(values).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
                let rows = match open_cie {
                    Some(offset) => &mut cies.get_mut(offset).expect("just inserted").rows,
                    None => &mut functions.last_mut().expect("after an FDE").rows,
                };
                rows.insert(hex(address), columns.collect());
            }
            _ => {}
        }
    }
    // Linkers leave entries of functions without a byte of code.
    functions.retain(|function| function.rows.first_key_value().is_some_and(|(start, _)| *start < function.end));
    functions
}

/// Whether a rule says what readelf's columns say. Expressions are named by readelf but not printed.
fn agrees(rule: Rule, columns: &Columns, signal_frame: bool) -> bool {
    let column = |name: &str| columns.get(name).map_or("u", String::as_str);
    let offset = |text: &str| text.parse::<i64>().ok();
    let kind = RuleKind::try_from(rule.kind()).expect("a kind");
    let unsupported = kind == RuleKind::Unsupported;
    if rule == Rule::unsupported(Unsupported::Malformed) {
        return true; // readelf goes on where DWARF says not to (libgcrypt: an offset after an expression)
    }
    if signal_frame {
        return kind == RuleKind::Signal || unsupported;
    }
    // readelf says "u" of what is undefined and of what was never mentioned; all mention the return address.
    match column("ra") {
        "u" => return kind == RuleKind::End,
        "c-8" => {}
        _ => return unsupported,
    }
    if column("rsp") != "u" {
        return unsupported;
    }
    let cfa = column("CFA");
    let counted = [("rsp", RuleKind::Rsp), ("rbp", RuleKind::Rbp)]
        .into_iter()
        .find_map(|(register, kind)| Some((kind, offset(cfa.strip_prefix(register)?)?)));
    match (counted, column("rbp")) {
        (Some((kind, cfa)), "u" | "s") => {
            Rule::offset(kind, cfa, None).map_or(unsupported, |expected| rule == expected)
        }
        (Some((kind, cfa)), rbp) => match rbp.strip_prefix('c').and_then(offset) {
            Some(rbp) => Rule::offset(kind, cfa, Some(rbp)).map_or(unsupported, |expected| rule == expected),
            None => unsupported,
        },
        (None, rbp) if cfa == "exp" => match kind {
            RuleKind::Plt => rbp == "u",
            RuleKind::DerefRbp => rbp == "exp",
            RuleKind::DerefRsp => rbp.strip_prefix('c').map_or(0, |rbp| offset(rbp).unwrap_or(0)) == rule.rbp_offset(),
            _ => unsupported,
        },
        (None, _) => unsupported,
    }
}

/// Compares; the numbers of functions and rows, and of rows that are unsupported.
fn compare(path: &Path) -> (usize, usize, usize) {
    let table = UnwindTable::from_file(&File::open(path).expect("the file is there"))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let functions = interpret(path);
    assert_eq!(table.functions(), functions.len(), "{}", path.display());
    let (mut rows, mut unsupported) = (0, 0);
    let mut starts = HashSet::new();
    for Function { signal_frame, end, rows: lines } in &functions {
        // A PLT of no entries has its rule for them all the same, after its end.
        let lines = lines.range(..end);
        let next = lines.clone().skip(1).map(|(start, _)| *start).chain([*end]);
        for ((&start, columns), next) in lines.zip(next) {
            starts.insert(start);
            for address in [start, next - 1] {
                let row = table.lookup((address - table.base()) as u32).expect("a function has rows");
                assert!(
                    agrees(row.rule, columns, *signal_frame),
                    "{} at {address:#x}: {:?}, readelf says {columns:?}",
                    path.display(),
                    row.rule,
                );
                unsupported += usize::from(row.rule.kind() == RuleKind::Unsupported.code());
            }
            rows += 1;
        }
        starts.insert(*end);
    }
    // And there is no row but these, the first, and those of an entry point and of signal trampolines that nothing
    // describes.
    for row in &table.rows()[1..] {
        let address = u64::from(row.pc) + table.base();
        let kind = row.rule.kind();
        let landmarks = [RuleKind::End, RuleKind::Signal, RuleKind::None].map(RuleKind::code);
        let known = starts.contains(&address) || landmarks.contains(&kind);
        assert!(known, "{}: a row at {address:#x} of which readelf knows nothing", path.display());
    }
    (functions.len(), rows, unsupported / 2)
}

/// Path of a library that this process has loaded.
fn loaded(name: &str) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    maps.split_whitespace()
        .find(|word| word.starts_with('/') && word.contains(name))
        .unwrap_or_else(|| panic!("{name} is not loaded"))
        .to_owned()
}

#[test]
fn libc_and_the_dynamic_linker() {
    let (functions, rows, unsupported) = compare(Path::new(&loaded("/libc.so")));
    assert!(functions > 1000 && rows > 5 * functions && unsupported * 500 < rows, "{functions} {rows} {unsupported}");
    let (functions, rows, _) = compare(Path::new(&loaded("/ld-linux")));
    assert!(functions > 100 && rows > functions, "{functions} {rows}");
}

#[test]
fn this_program() {
    compare(&std::env::current_exe().expect("known"));
}

#[test]
fn fixtures() {
    for (index, flags) in [
        ["-O0", "-fno-omit-frame-pointer"],
        ["-O2", "-fomit-frame-pointer"],
        ["-O3", "-mavx2"],
        ["-Os", "-fcf-protection=full"],
        ["-O2", "-static"],
    ]
    .iter()
    .enumerate()
    {
        compare(&compile("stacks.c", &format!("stacks-readelf-{index}"), flags));
    }
    compare(&compile("small.c", "small-readelf.so", &["-O2", "-shared", "-fPIC", "-nostdlib"]));
}

#[test]
fn realigned_frames_are_expressed() {
    let path = compile("small.c", "small-drap.so", &["-O2", "-shared", "-fPIC", "-nostdlib"]);
    let table = UnwindTable::from_file(&File::open(path).expect("compiled")).expect("has frames");
    assert!(table.rows().iter().any(|row| row.rule.kind() == RuleKind::DerefRbp.code()));
}

#[test]
fn debug_frame_alone() {
    // GCC leaves .eh_frame out on request, and writes .debug_frame with -g; readelf interprets both.
    let flags = ["-O2", "-g", "-nostdlib", "-shared", "-fPIC", "-fno-asynchronous-unwind-tables"];
    let plain = compile("small.c", "small-debug-frame.so", &flags);
    compare(&plain);
    let compressed = compile("small.c", "small-debug-frame-z.so", &[&flags[..], &["-gz=zlib"]].concat());
    let open = |path: &Path| UnwindTable::from_file(&File::open(path).expect("compiled")).expect("has .debug_frame");
    assert_eq!(open(&plain).rows(), open(&compressed).rows());
}

#[test]
#[ignore = "takes minutes: every library beside libc"]
fn system_libraries() {
    let libc = loaded("/libc.so");
    let directory = Path::new(&libc).parent().expect("an absolute path");
    let (mut files, mut functions, mut rows, mut unsupported) = (0, 0, 0, 0);
    let paths: BTreeSet<_> = std::fs::read_dir(directory)
        .expect("readable")
        .filter_map(|entry| std::fs::canonicalize(entry.ok()?.path()).ok())
        .collect();
    for path in paths {
        if path.is_file() && File::open(&path).is_ok_and(|file| UnwindTable::from_file(&file).is_ok()) {
            let compared = compare(&path);
            (files, functions) = (files + 1, functions + compared.0);
            (rows, unsupported) = (rows + compared.1, unsupported + compared.2);
        }
    }
    println!("{files} files, {functions} functions, {rows} rows, {unsupported} of them unsupported");
    assert!(files > 0);
}
