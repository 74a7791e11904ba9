//! BPF programs, links and maps that the kernel has and no process holds: what a tracer would leave behind.

use std::{collections::HashSet, fs};

use anyhow::Result;
use aya::{
    maps::loaded_maps,
    programs::{loaded_links, loaded_programs},
};

/// Names of programs and maps of leaktrace's, as far as the kernel keeps them.
const PROGRAMS: &[&str] = &[
    "alloc_enter",
    "alloc_return",
    "free_enter",
    "process_exit",
    "process_exec",
    "sys_exit",
    "page_fault_user",
    "page_fault_kern",
];
const MAPS: &[&str] = &["LIVE", "NEAR", "THREADS", "SITES", "EVENTS", "FDS", "TARGETS", "FAULTS"];

/// What fdinfo says of descriptors.
#[derive(Debug, Default)]
struct Held {
    programs: HashSet<u32>,
    links: HashSet<u32>,
    maps: HashSet<u32>,
}

/// Leaktrace's programs and maps, and all links, that no process has a descriptor of, in words.
pub fn orphans() -> Result<Vec<String>> {
    // What is there must be listed first: what is gone by the second look is no orphan, and neither is what came since.
    let mut programs = Vec::new();
    for program in loaded_programs() {
        // One that ends while they are listed is not there.
        let Ok(program) = program else { continue };
        let name = program.name_as_str().unwrap_or_default().to_owned();
        if PROGRAMS.contains(&name.as_str()) {
            let maps = program.map_ids().ok().flatten().unwrap_or_default();
            programs.push((program.id(), name, maps));
        }
    }
    let links: Vec<u32> = loaded_links().filter_map(|link| link.ok().map(|link| link.id())).collect();
    let maps: Vec<(u32, String)> = loaded_maps()
        .filter_map(Result::ok)
        .filter_map(|map| Some((map.id(), map.name_as_str()?.to_owned())))
        .filter(|(_, name)| MAPS.contains(&name.as_str()))
        .collect();
    let held = held();
    let used: HashSet<u32> = programs
        .iter()
        .filter(|(id, ..)| held.programs.contains(id))
        .flat_map(|(_, _, maps)| maps.iter().copied())
        .collect();
    let mut orphans = Vec::new();
    orphans.extend(
        programs
            .iter()
            .filter(|(id, ..)| !held.programs.contains(id))
            .map(|(id, name, _)| format!("program {id} {name}")),
    );
    orphans.extend(links.iter().filter(|id| !held.links.contains(id)).map(|id| format!("link {id}")));
    let free = |id: &u32| !held.maps.contains(id) && !used.contains(id);
    orphans.extend(maps.iter().filter(|(id, _)| free(id)).map(|(id, name)| format!("map {id} {name}")));
    Ok(orphans)
}

fn held() -> Held {
    let mut held = Held::default();
    let folders = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    for info in folders.flat_map(|process| fs::read_dir(process.path().join("fdinfo")).into_iter().flatten()) {
        // Descriptors and processes come and go.
        let Some(text) = info.ok().and_then(|info| fs::read_to_string(info.path()).ok()) else { continue };
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let Ok(id) = value.trim().parse() else { continue };
            match name {
                "prog_id" => held.programs.insert(id),
                "link_id" => held.links.insert(id),
                "map_id" => held.maps.insert(id),
                _ => continue,
            };
        }
    }
    held
}
