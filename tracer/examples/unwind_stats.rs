//! What the unwind tables of some files cost, and which rules they cannot express.
//!
//! `cargo run --release --example unwind_stats -- FILE…`

use std::{collections::BTreeMap, fs::File, time::Instant};

use leaktrace::unwind::UnwindTable;

fn main() {
    let mut sum = BTreeMap::new();
    println!("{:>9} {:>9} {:>8} {:>9}  file", "functions", "rows", "KiB", "ms");
    for path in std::env::args_os().skip(1).map(std::path::PathBuf::from) {
        let started = Instant::now();
        let table = match File::open(&path).map_err(Into::into).and_then(|file| UnwindTable::from_file(&file)) {
            Ok(table) => table,
            Err(error) => {
                println!("{:>9} {}: {error}", "-", path.display());
                continue;
            }
        };
        let took = started.elapsed();
        let bytes = size_of_val(table.rows()) + size_of_val(table.pages());
        println!(
            "{:>9} {:>9} {:>8} {:>9.2}  {}{}",
            table.functions(),
            table.rows().len(),
            bytes >> 10,
            took.as_secs_f64() * 1e3,
            path.display(),
            if table.skipped() > 0 { format!(" ({} entries skipped)", table.skipped()) } else { String::new() },
        );
        for count in table.census() {
            let entry = sum.entry((count.kind, count.why)).or_insert((0, 0));
            entry.0 += count.rows;
            entry.1 += count.bytes;
        }
    }
    println!("\n{:>9} {:>11}  rule", "rows", "text bytes");
    for ((kind, why), (rows, bytes)) in sum {
        println!(
            "{rows:>9} {bytes:>11}  {}{}",
            kind.name(),
            why.map_or(String::new(), |why| format!(": {}", why.name()))
        );
    }
}
