use super::*;
use crate::{aggregate::Tgid, bpf::State, probe::Family};

fn examined() -> Examined {
    let check = |name, state, meaning: &str| Check { name, state, meaning: meaning.to_owned() };
    let checks = vec![
        check("privileges and uprobes", State::Works, "this process may trace others"),
        check("probes", State::Missing, "no uprobe_multi links"),
    ];
    let function = |symbol: &str, outcome| FunctionFinding { symbol: symbol.to_owned(), outcome };
    let probed = |offset, instruction: &str, cost, result| Outcome::Probed {
        offset,
        instruction: instruction.to_owned(),
        cost,
        result,
    };
    let functions = vec![
        function("malloc", probed(10, "jne", Cost::Emulated, ResultBy::Return)),
        function("free", probed(0, "test", Cost::SingleStepped, ResultBy::Nothing)),
        function("_Znwm", probed(10, "jne", Cost::Emulated, ResultBy::Exits { count: 4, complete: true })),
        function("mi_new", probed(0, "push", Cost::Emulated, ResultBy::Exits { count: 2, complete: false })),
        function("_Znam", Outcome::Alias("_Znwm".to_owned())),
        function("_ZdlPv", Outcome::Forwards("free".to_owned())),
        function("mi_strdup", Outcome::Not("the size is not known")),
    ];
    let library = Findings {
        runtime: None,
        allocators: vec![(Family::Jemalloc, "je_".to_owned()), (Family::Glibc, String::new())],
        functions,
        symbols: vec![".dynsym", "debug file"],
        is_static: true,
    };
    let target =
        TargetInfo { pid: Tgid(41), comm: "web\u{1b}[2J".to_owned(), exe: "/srv/web".to_owned(), cmdline: Vec::new() };
    let findings = vec![("/srv/web".into(), library), ("/lib/libm.so".into(), Findings::default())];
    let process = Process { target, findings, probes: 9, throws: true, problem: None };
    Examined { kernel: Checkup { release: "6.1.0".to_owned(), checks }, process: Some(process) }
}

#[test]
fn text_says_where_each_function_is_probed_and_why_not() {
    let mut text = Vec::new();
    write_text(&examined(), &mut text).expect("memory");
    let expected = r"kernel 6.1.0
  works   privileges and uprobes: this process may trace others
  missing probes: no uprobe_multi links
process 41 (web\u{1b}[2J)
  /srv/web: jemalloc (je_…) and glibc, static; symbols from .dynsym, debug file
    malloc     probed at +0xa (jne, emulated by the kernel: cheap); return probe
    free       probed at +0x0 (test, single-stepped: no cheap instruction before its arguments are gone)
    _Znwm      probed at +0xa (jne, emulated by the kernel: cheap); may throw: probes on its 4 exits
    mi_new     probed at +0x0 (push, emulated by the kernel: cheap); may throw: probes on 2 exits, and a call that ends elsewhere is counted as loss
    _Znam      is _Znwm
    _ZdlPv     jumps to free
    mi_strdup  not probed: the size is not known
  __cxa_throw is probed: an exception ends a call of operator new
  9 probes; 1 other files are mapped, without an allocator that is known
";
    assert_eq!(String::from_utf8(text).expect("text"), expected);
}

#[test]
fn json_says_the_same() {
    let mut json = Vec::new();
    write_json(&examined(), &mut json).expect("memory");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["schema"], "leaktrace-doctor/1");
    assert_eq!(json["kernel"]["checks"][1]["state"], "missing");
    let web = &json["process"]["modules"][0];
    assert_eq!(web["allocators"][0], serde_json::json!({"family": "jemalloc", "prefix": "je_"}));
    assert_eq!(web["functions"][2]["exits"], 4);
    assert_eq!(web["functions"][4]["by"], "_Znwm");
    assert_eq!(web["functions"][6]["reason"], "the size is not known");
}
