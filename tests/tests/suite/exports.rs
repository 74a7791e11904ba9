//! Formats for other tools and for people without leaktrace: read back by those tools, they have the numbers of the JSON
//! of the same run.

use std::{collections::BTreeMap, fs, os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use leaktrace_tests::{
    browser,
    leaker::{Build, Leaker, leakers_dir},
    ledger::{Match, Scope},
    profile::{Profile, pprof},
    report::{Counters, Report},
    tracer::{Ended, Tracer, run},
    work_dir,
};

/// A table of blocks as large as these programs need, for many tracers at once.
const SMALL: [&str; 4] = ["--duration", "600s", "--max-live", "65536"];

/// Several tracers see the same run of a program, one for each format with its options. The first writes JSON.
fn traced(mut leaker: Leaker, formats: &[(&str, &[&str])]) -> Result<(Report, Vec<Ended>)> {
    let pid = leaker.pid();
    let json = Tracer::attach_with(pid, &SMALL)?;
    let attach = |(format, options): &(&str, &[&str])| {
        Tracer::attach_with(pid, &[&SMALL[..], &["--format", format], options].concat())
    };
    let tracers: Vec<Tracer> = formats.iter().map(attach).collect::<Result<_>>()?;
    let ledger = leaker.release()?;
    let report = json.stop()?;
    ledger.check(&report, Match::AnyFrame, Scope::ListedSites)?;
    let ended = tracers.into_iter().map(Tracer::interrupt).collect::<Result<_>>()?;
    leaker.finish()?;
    Ok((report, ended))
}

/// What the exports are about: the heap, and memory that the program maps for itself.
fn own_memory(report: &Report) -> BTreeMap<String, Counters> {
    let mut kinds: BTreeMap<String, Counters> = BTreeMap::new();
    for site in report.sites.iter().chain(&report.ranges) {
        if !["mmap_file", "mmap_reserved"].contains(&site.kind.as_str()) {
            let sum = kinds.entry(site.kind.clone()).or_default();
            *sum = [*sum, site.counters].into_iter().sum();
        }
    }
    kinds
}

fn text(ended: &Ended) -> Result<String> {
    Ok(String::from_utf8(ended.written()?)?)
}

/// Stacks and numbers of folded lines.
fn folded(text: &str) -> Result<Vec<(Vec<&str>, u64)>> {
    text.lines()
        .map(|line| {
            let (stack, number) = line.rsplit_once(' ').context("a line without a number")?;
            Ok((stack.split(';').collect(), number.parse()?))
        })
        .collect()
}

#[test]
fn folded_stacks_and_the_flame_graph_have_the_numbers_of_the_json() -> Result<()> {
    let formats: [(&str, &[&str]); 5] = [
        ("folded", &[]),
        ("folded", &["--by", "objects"]),
        ("folded", &["--by", "alloc"]),
        ("folded", &["--by", "growth"]),
        ("svg", &[]),
    ];
    let (report, ended) = traced(Leaker::start("cpp_heap.cpp")?, &formats)?;
    let sum: Counters = own_memory(&report).into_values().sum();
    for (ended, expected) in ended.iter().zip([sum.inuse_bytes, sum.inuse_objects, sum.alloc_bytes]) {
        let text = text(ended)?;
        let stacks = folded(&text)?;
        let number: u64 = stacks.iter().map(|(_, number)| number).sum();
        ensure!(number == expected, "{number} instead of {expected}:\n{text}");
        ensure!(stacks.iter().any(|(stack, _)| stack.contains(&"main")), "main is nowhere:\n{text}");
    }
    // The program has done all of it before the run was half over, or after: either way no more than there is.
    let growth: u64 = folded(&text(&ended[3])?)?.iter().map(|(_, number)| number).sum();
    ensure!(growth <= sum.inuse_bytes, "{growth} grew of {}", sum.inuse_bytes);

    let graph = text(&ended[4])?;
    ensure!(graph.contains(&format!("total_samples=\"{}\"", sum.inuse_bytes)), "not {} bytes", sum.inuse_bytes);
    let shown = browser::show("graph.svg", graph.as_bytes())?;
    ensure!(shown.console.is_empty(), "errors: {:?}", shown.console);
    ensure!(shown.requests.is_empty(), "it asks for {:?}", shown.requests);
    // Its script has made it as wide as the window.
    let (_, image) = shown.dom.split_once("<svg").context("no image")?;
    let (attributes, _) = image.split_once('>').context("no end")?;
    ensure!(!attributes.contains("viewBox"), "its script has not run: {attributes}");
    Ok(())
}

#[test]
fn go_reads_the_profile_and_finds_the_numbers_of_the_json() -> Result<()> {
    let (report, ended) = traced(Leaker::start("rust_heap.rs")?, &[("pprof", &[]), ("pprof", &["--by", "objects"])])?;
    let written = ended[0].written()?;
    let profile = Profile::read(&written)?;
    for (kind, counters) in own_memory(&report) {
        ensure!(profile.total(&kind) == counters, "{kind}: {:?} instead of {counters:?}", profile.total(&kind));
    }
    ensure!(profile.default_type == "inuse_space/bytes", "{} comes first", profile.default_type);
    ensure!(Profile::read(&ended[1].written()?)?.default_type == "inuse_objects/count", "--by has no effect");

    // Stacks, with what is inlined.
    for site in &report.sites {
        let names: Vec<&str> = site.frames.iter().filter_map(|frame| frame.function.as_deref()).collect();
        if names.len() < site.frames.len() {
            continue;
        }
        let same =
            profile.samples.iter().any(|sample| sample.counters == site.counters && profile.functions(sample) == names);
        ensure!(same, "site {} is not in the profile: {names:?}", site.id);
    }
    ensure!(report.sites.iter().any(|site| site.frames.iter().any(|frame| frame.inlined)), "nothing is inlined");
    let pid = report.target.pid.to_string();
    ensure!(profile.samples.iter().all(|sample| sample.labels.get("tgid") == Some(&pid)), "it is of {pid}");

    // The program is first, by its build id.
    let exe = &report.target.exe;
    ensure!(profile.mappings[0] == (exe.clone(), build_id(exe)?), "{:?}", profile.mappings);
    let top = pprof(&written, &["-top"])?;
    ensure!(top.contains("Type: inuse_space"), "{top}");
    Ok(())
}

fn build_id(path: &str) -> Result<String> {
    let output = Command::new("readelf").args(["-n", path]).output().context("cannot run readelf")?;
    let notes = String::from_utf8(output.stdout)?;
    let id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).unwrap_or_default();
    Ok(id.to_owned())
}

/// A program with names that are markup: its file, its argument, and a function.
fn hostile() -> Result<PathBuf> {
    const FUNCTION: &str =
        r#"</summary><script>document.title="owned"</script><img/src="http://evil.example/x.png"onerror=a()>;x"#;
    let include = format!("-I{}", leakers_dir().display());
    let plain = Build::with("gcc", leakers_dir().join("hostile_names.c"), &["-O1", &include]).compile()?;
    let path = work_dir()?.join("<b>&\"'x");
    let renamed = Command::new("objcopy")
        .args(["--redefine-sym", &format!("renamed={FUNCTION}")])
        .args([&plain, &path])
        .status()
        .context("cannot run objcopy: is Debian's binutils installed?")?;
    ensure!(renamed.success(), "objcopy: {renamed}");
    Ok(path)
}

#[test]
fn the_page_shows_hostile_names_as_text() -> Result<()> {
    let mut command = Command::new(hostile()?);
    command.arg0("</code><iframe src='http://evil.example/'></iframe>").arg("<svg onload=a()>");
    let (report, ended) = traced(Leaker::start_program(&mut command)?, &[("html", &[]), ("svg", &[])])?;
    let hostile = |name: &str| name.contains("<script>document.title");
    let names = report.sites.iter().flat_map(|site| &site.frames).filter_map(|frame| frame.function.as_deref());
    ensure!(names.into_iter().any(hostile), "the function has another name:\n{report}");

    let page = ended[0].written()?;
    let shown = browser::show("report.html", &page)?;
    ensure!(shown.console.is_empty(), "errors: {:?}", shown.console);
    ensure!(shown.requests.is_empty(), "it asks for {:?}", shown.requests);
    let name = report.target.comm.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    ensure!(shown.dom.contains(&format!("<title>leaktrace: {name}[{}]</title>", report.target.pid)), "{}", shown.dom);
    for element in ["<script", "<img", "<iframe", "<svg onload", "<b>&amp;"] {
        ensure!(!shown.dom.contains(element), "there is a {element}:\n{}", shown.dom);
    }
    let script = "&lt;/summary&gt;&lt;script&gt;document.title=\"owned\"&lt;/script&gt;";
    ensure!(shown.dom.contains(script), "the name is not shown:\n{}", shown.dom);
    ensure!(shown.picture.starts_with(b"\x89PNG"), "no picture");

    let graph = browser::show("graph.svg", &ended[1].written()?)?;
    ensure!(graph.console.is_empty(), "errors: {:?}", graph.console);
    ensure!(graph.requests.is_empty(), "it asks for {:?}", graph.requests);
    // Its own script, and the one in the name.
    ensure!(graph.dom.matches("<script").count() == 1, "{}", graph.dom);
    Ok(())
}

#[test]
fn the_page_is_whole_without_scripts() -> Result<()> {
    let (report, ended) = traced(Leaker::start("simple.c")?, &[("html", &["--by", "objects"])])?;
    let page = text(&ended[0])?;
    ensure!(!page.contains("<script"), "it has a script");
    for part in ["simple_leak simple.c:", "99.5 KiB", "101 objects", "<h2>Flame graph</h2>", "<h2>Descriptors</h2>"] {
        ensure!(page.contains(part), "no {part:?}:\n{page}");
    }
    ensure!(
        page.contains(&format!("total_samples=\"{}\"", report.totals.inuse_objects)),
        "the graph is of another run"
    );
    Ok(())
}

#[test]
fn options_that_do_not_go_together_are_refused() -> Result<()> {
    let own = std::process::id().to_string();
    for (options, words) in [
        (&["--format", "json", "--by", "alloc"][..], &["--by", "--sort"][..]),
        (&["--format", "pprof", "--fds"], &["--heap"]),
        (&["--format", "pprof", "--by", "growth"], &["-base"]),
        (&["--format", "flame"], &["folded", "svg", "pprof", "html"]),
    ] {
        run(&[&["-p", &own], options].concat())?.expect_refusal(2, words)?;
    }
    Ok(())
}

#[test]
fn a_program_that_was_started_leaves_one_page() -> Result<()> {
    let path = work_dir()?.join(format!("launched-{}.html", std::process::id()));
    let name = path.to_str().context("the path is no text")?;
    let ended = run(&["--format", "html", "--interval", "50ms", "-o", name, "--", "sleep", "0.3"])?;
    ensure!(ended.status.success(), "{}", ended.stderr);
    let page = fs::read_to_string(&path)?;
    fs::remove_file(&path)?;
    ensure!(page.matches("<!DOCTYPE html>").count() == 1 && page.contains("EXITED"), "{page}");
    Ok(())
}
