//! Programs compiled while testing, and children that hold still until they are told.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Says `ready`, then answers each line it gets.
pub(crate) const HOLD: &str = r#"
#include <stdio.h>
int main(void) {
    char line[64];
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        puts(line);
        fflush(stdout);
    }
}
"#;

/// Compiles a source text with gcc, or g++ when its name says so.
pub(crate) fn compile(name: &str, source: &str, program: &Path, options: &[&str]) {
    let file = program.parent().expect("a directory").join(name);
    std::fs::write(&file, source).expect("write the source");
    let compiler = if Path::new(name).extension().is_some_and(|extension| extension == "cc") { "g++" } else { "gcc" };
    run(Command::new(compiler).arg("-o").arg(program).arg(&file).args(options));
}

/// Runs a tool that the tests need and gives its output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; install gcc, g++ and binutils"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Says what is missing when a test that needs root runs without.
pub(crate) fn need_root() {
    let user = rustix::process::geteuid().as_raw();
    assert_eq!(user, 0, "this test needs root: run the tests as `sudo -E cargo test -p leaktrace`");
}

/// A child that has started its program and waits for a line on its standard input. Killed when dropped.
pub(crate) struct Held {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Held {
    pub(crate) fn start(program: &Path) -> Self {
        Self::start_with(&mut Command::new(program))
    }

    pub(crate) fn start_with(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut held = Self { child, input, output };
        assert_eq!(held.hear(), "ready");
        held
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line and gives the answer.
    pub(crate) fn say(&mut self, line: &str) -> String {
        writeln!(self.input.as_ref().expect("not ended"), "{line}").expect("the child reads");
        self.hear()
    }

    /// Lets the child run to its end.
    pub(crate) fn end(&mut self) {
        drop(self.input.take());
        self.child.wait().expect("wait");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the child speaks");
        line.trim_end().to_owned()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
