//! Pictures of the dashboard for the README, of a real run: the demo's leaks, in a real terminal.

use std::{fs, thread::sleep, time::Duration};

use anstyle_svg::Term;
use anyhow::{Context as _, Result};
use leaktrace_tests::terminal::Terminal;

use crate::workspace::Workspace;

/// Large enough for a stack below the sites.
const SIZE: (u16, u16) = (110, 32);
/// Sites that leak are said to after a minute.
const WATCH: Duration = Duration::from_secs(75);
/// A picture's name, the key that shows it, and what is on it.
const PICTURES: [(&str, &str, &str); 4] = [
    ("leaks", "1", "leaking"),
    ("descriptors", "2", "connect_to_billing"),
    ("timeline", "4", "OUTSTANDING"),
    ("flame-graph", "5", "measure"),
];

/// Takes them, into docs/pictures.
pub(crate) fn take() -> Result<()> {
    let workspace = Workspace::load()?;
    let program = workspace.build_released()?;
    let root = &workspace.root;
    let folder = root.join("docs/pictures");
    fs::create_dir_all(&folder)?;
    let mut terminal = Terminal::start(SIZE.0, SIZE.1)?;
    terminal.begin(&format!("{} demo", program.display()))?;
    terminal.until_shown(&["open_session", "? help"])?;
    sleep(WATCH);
    for (name, key, words) in PICTURES {
        terminal.press(key)?;
        terminal.until_shown(&[words])?;
        // Where it was built is nobody's business.
        let screen = terminal.coloured_screen()?.replace(&format!("{}/", root.display()), "");
        let picture = Term::new().render_svg(&screen);
        let path = folder.join(format!("{name}.svg"));
        fs::write(&path, picture).with_context(|| format!("cannot write {}", path.display()))?;
        println!("    {}", path.display());
    }
    terminal.press("q")
}
