//! How memory is followed where what that costs has a limit, in words: for the report, the page and the dashboard alike.

use super::units::{counted, duration};
use crate::aggregate::{Mode, ModeSince, Modes};

/// Ways before the present one that are listed.
const LISTED: usize = 3;

/// The way.
pub(crate) fn mode_words(mode: Mode) -> String {
    match mode {
        Mode::Hits => "hits of the probes alone".to_owned(),
        Mode::All => "all blocks".to_owned(),
        Mode::Sampled(rate) => rate.words(),
        Mode::Windows(share) => format!("blocks {:.1} % of the time", share * 100.0),
        Mode::PageFaults => "page faults".to_owned(),
    }
}

/// The same for programs.
pub(crate) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Hits => "hits",
        Mode::All => "all",
        Mode::Sampled(_) => "sampled",
        Mode::Windows(_) => "windows",
        Mode::PageFaults => "page_faults",
    }
}

/// The present way and those before it; `None` where there is no limit.
pub(crate) fn modes_words(modes: &Modes) -> Option<String> {
    let since = |ModeSince { since, mode }: &ModeSince| format!("{} since {}", mode_words(*mode), duration(*since));
    let (present, before) = modes.latest.split_last()?;
    let listed: Vec<String> = before.iter().rev().take(LISTED).map(since).collect();
    let more = modes.earlier.saturating_add(before.len().saturating_sub(LISTED) as u64);
    let more = if more > 0 { format!(", {} earlier", counted(more, "other", "others")) } else { String::new() };
    let before = if listed.is_empty() { String::new() } else { format!("; before: {}{more}", listed.join(", ")) };
    Some(format!("{}{before}", since(present)))
}

/// For how much of the time system calls are looked at; `None` where that always was all the time.
pub(crate) fn calls_words(modes: &Modes) -> Option<String> {
    let percent = modes.calls? * 100.0;
    if percent >= 100.0 {
        return Some(
            "system calls are looked at all the time again; what was opened in between has no call stack".to_owned(),
        );
    }
    Some(format!(
        "system calls are looked at for {percent:.1} % of the time; what is opened in between has no call stack"
    ))
}

/// The present way, and what was before or why it is this one, in few words each; `None` where nothing was but a look at what
/// tracking would cost, and blocks are tracked.
pub(crate) fn change_words(modes: &Modes) -> Option<[String; 2]> {
    let short = |mode| match mode {
        Mode::Windows(_) => "windows".to_owned(),
        Mode::PageFaults => "faults".to_owned(),
        mode => mode_words(mode),
    };
    let ModeSince { since, mode } = modes.present()?;
    let present = format!("{} since {}", short(mode), duration(since));
    match modes.previous() {
        Some(before) => Some([present, format!("was {}", short(before.mode))]),
        None => (mode == Mode::PageFaults).then(|| [present, "probes too dear".to_owned()]),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aggregate::SampleRate;

    #[test]
    fn the_present_way_comes_first_and_what_is_left_out_is_counted() {
        assert_eq!((modes_words(&Modes::default()), change_words(&Modes::default())), (None, None));
        let since = |seconds, mode| ModeSince { since: Duration::from_secs(seconds), mode };
        let mut modes = Modes { latest: vec![since(0, Mode::Hits), since(1, Mode::All)], earlier: 0, calls: None };
        let words = modes_words(&modes).expect("there is one");
        assert_eq!(words, "all blocks since 1s; before: hits of the probes alone since 0.0s");
        assert_eq!(change_words(&modes), None);
        modes.latest.extend([
            since(3, Mode::Sampled(SampleRate::Blocks(64))),
            since(7, Mode::Windows(0.015_625)),
            since(71, Mode::PageFaults),
        ]);
        assert_eq!(
            modes_words(&modes).expect("there is one"),
            "page faults since 1m 11s; before: blocks 1.6 % of the time since 7s, 1 block in 64 since 3s, all blocks since \
             1s, 1 other earlier"
        );
        assert_eq!(change_words(&modes).expect("there was one"), ["faults since 1m 11s", "was windows"]);
        let modes = Modes { latest: vec![since(0, Mode::Hits), since(1, Mode::PageFaults)], earlier: 0, calls: None };
        assert_eq!(change_words(&modes).expect("it is worth a word"), ["faults since 1s", "probes too dear"]);
        assert_eq!(calls_words(&modes), None);
        let modes = Modes { calls: Some(0.031_25), ..modes };
        let words = "system calls are looked at for 3.1 % of the time; what is opened in between has no call stack";
        assert_eq!(calls_words(&modes).as_deref(), Some(words));
        let words = calls_words(&Modes { calls: Some(1.0), ..modes }).expect("it was not");
        assert!(words.starts_with("system calls are looked at all the time again"), "{words}");
    }
}
