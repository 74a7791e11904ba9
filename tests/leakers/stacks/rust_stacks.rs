//! Stacks of Rust: generic code, closures, trait objects, the standard library's callbacks, panics and what they drop,
//! threads. Its protocol is the leakers'.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasherDefault, DefaultHasher},
    hint::black_box,
    io::{BufRead, Write},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, OnceLock, mpsc},
};

#[inline(never)]
fn take(n: usize) -> Box<[u8]> {
    black_box(vec![1; n].into_boxed_slice())
}

#[inline(never)]
fn recursion(depth: usize) -> usize {
    let local = black_box([depth; 40]);
    let block = take(depth + 1);
    let below = if depth > 0 { recursion(depth - 1) } else { 0 };
    below + local[depth % 40] + block.len()
}

trait Shape {
    fn grow(&self, n: usize) -> Vec<u64>;
}

struct Plain;

#[repr(align(128))]
struct Aligned([u8; 384]);

impl Shape for Plain {
    fn grow(&self, n: usize) -> Vec<u64> {
        let mut values = Vec::new();
        for value in 0..n {
            values.push(black_box(value as u64));
        }
        values
    }
}

impl Shape for Aligned {
    #[inline(never)]
    fn grow(&self, n: usize) -> Vec<u64> {
        let boxed = black_box(Box::new(Aligned([1; 384])));
        let here = black_box(Aligned([2; 384]));
        vec![u64::from(boxed.0[n] + here.0[n] + self.0[n]); n]
    }
}

/// Allocates while a panic passes.
struct Dropped(usize);

impl Drop for Dropped {
    #[inline(never)]
    fn drop(&mut self) {
        black_box(take(self.0 + 1));
    }
}

#[inline(never)]
fn panics(depth: usize) {
    let _dropped = Dropped(depth);
    match depth {
        0 => resume_unwind(Box::new(format!("depth {depth}"))),
        1 => catch_unwind(|| panics(0)).unwrap_err().downcast::<String>().map_or((), |text| panic!("{text}")),
        _ => panics(depth - 1),
    }
}

struct Tree(Vec<Tree>);

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "({})", inner.join(","))
    }
}

fn tree(depth: usize) -> Tree {
    Tree((0..depth).map(|child| tree(child / 2)).collect())
}

#[inline(never)]
fn library() {
    let mut words: Vec<String> = (0..23).map(|n| format!("{}", n * 7919 % 101)).collect();
    words.sort_by_key(|word| word.repeat(2));
    words.sort_unstable_by_key(|word| std::cmp::Reverse(word.to_uppercase()));
    let mut map: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, word) in words.iter().enumerate() {
        map.entry(word.chars().rev().collect()).or_default().push(index);
    }
    // A hasher without a random seed: every run makes the same calls.
    let hashed: HashMap<&str, String, BuildHasherDefault<DefaultHasher>> =
        words.iter().map(|word| (word.as_str(), word.replace('1', "one"))).collect();
    black_box(hashed.len());
    black_box(tree(5).to_string());
    let boxed: Box<dyn Fn(usize) -> Vec<String>> = Box::new(|n| vec!["x".to_owned(); n]);
    black_box(boxed(3));
    static CELL: OnceLock<String> = OnceLock::new();
    black_box(CELL.get_or_init(|| "once".repeat(20)));
    black_box("1,2,x".split(',').map(str::parse::<u8>).collect::<Result<Vec<u8>, _>>().is_err());
    black_box(std::fs::read_to_string("/proc/self/comm").is_ok());
    black_box(std::env::vars_os().count());
}

#[inline(never)]
fn threads() {
    let shared: Arc<str> = Arc::from("shared");
    let copy = Arc::clone(&shared);
    let thread = std::thread::Builder::new().name("named".to_owned());
    let joined = thread.spawn(move || recursion(3) + copy.len()).expect("a thread").join();
    black_box(joined.expect("no panic"));
    let caught = std::thread::spawn(|| panics(2)).join();
    assert!(caught.is_err());
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| black_box(take(71)));
    });
    for n in 0..35 {
        sender.send(n).expect("the receiver lives");
    }
    drop(sender);
    black_box(receiver.iter().collect::<Vec<_>>());
}

fn hear() {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).expect("a line");
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).expect("a listener");
}

fn main() {
    // No message, and no backtrace of one.
    std::panic::set_hook(Box::new(|_| drop(black_box(take(13)))));
    say("ready");
    hear();
    black_box(recursion(20));
    let shapes: [Box<dyn Shape>; 2] = [Box::new(Plain), Box::new(Aligned([3; 384]))];
    for shape in &shapes {
        black_box(shape.grow(101));
    }
    for depth in 0..5 {
        black_box(catch_unwind(AssertUnwindSafe(|| panics(depth))).is_err());
    }
    library();
    threads();
    say("done");
    hear();
}
