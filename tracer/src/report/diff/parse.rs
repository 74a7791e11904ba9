//! A JSON report as one of the two runs.

use std::{io::Read, sync::Arc, time::Duration};

use serde::Deserialize;
use tracer_common::{event::SiteKind, stack::StackEnd};

use super::{Held, Side, SideSite};
use crate::{
    aggregate::Tgid,
    report::SCHEMA,
    symbolize::{Frame, NoSymbol, Stack},
};

/// Why a report cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is no JSON, or lacks something.
    #[error("it is neither a recording nor a JSON report of leaktrace: {0}")]
    Json(#[from] serde_json::Error),
    /// It is of another schema.
    #[error("it is of the schema {0:?}, and this leaktrace reads {SCHEMA:?}")]
    Schema(String),
}

#[derive(Deserialize)]
struct Report {
    schema: String,
    target: Target,
    #[serde(default)]
    processes: Vec<Target>,
    #[serde(default)]
    started: String,
    elapsed_s: f64,
    /// Reports without it have memory alone.
    traced: Option<Vec<String>>,
    sites: Vec<Site>,
}

#[derive(Deserialize)]
struct Target {
    pid: u32,
    #[serde(default)]
    comm: String,
    #[serde(default)]
    exe: String,
}

#[derive(Deserialize)]
struct Site {
    kind: String,
    #[serde(default)]
    tgid: u32,
    #[serde(default)]
    inuse_bytes: u64,
    #[serde(default)]
    inuse_objects: u64,
    /// Of descriptors.
    #[serde(default)]
    open: u64,
    #[serde(default)]
    stack: String,
    frames: Vec<JsonFrame>,
}

#[derive(Deserialize)]
struct JsonFrame {
    function: Option<String>,
    module: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    #[serde(default)]
    inlined: bool,
    address: Option<String>,
    module_offset: Option<String>,
    reason: Option<String>,
}

/// Reads the report that is in the file called `source`.
///
/// # Errors
/// [`ParseError`].
pub fn parse_report(source: String, reader: impl Read) -> Result<Side, ParseError> {
    let Report { schema, target, processes, started, elapsed_s, traced, sites } = serde_json::from_reader(reader)?;
    if schema != SCHEMA {
        return Err(ParseError::Schema(schema));
    }
    let is_traced =
        |what: &str| traced.as_ref().map_or(what == "heap", |traced| traced.iter().any(|word| word == what));
    let exes: Vec<(u32, Arc<str>)> =
        processes.iter().chain([&target]).map(|process| (process.pid, process.exe.as_str().into())).collect();
    let site = |Site { kind, tgid, inuse_bytes, inuse_objects, open, stack, frames }: Site| {
        // Kinds of a later leaktrace are left out.
        let kind = *SiteKind::ALL.iter().find(|known| known.name() == kind)?;
        let is_fd = kind == SiteKind::Fd;
        let held =
            if is_fd { Held { bytes: 0, objects: open } } else { Held { bytes: inuse_bytes, objects: inuse_objects } };
        let exe = exes.iter().find(|(pid, _)| *pid == tgid).or(exes.last()).map(|(_, exe)| Arc::clone(exe));
        let end = StackEnd::ALL.iter().find(|end| end.name() == stack).copied().unwrap_or(StackEnd::Complete);
        let stack = Arc::new(Stack { frames: frames.into_iter().map(Frame::from).collect(), end });
        Some(SideSite { kind, held, exe: exe.unwrap_or_default(), stack })
    };
    Ok(Side {
        source,
        comm: target.comm,
        pid: Tgid(target.pid),
        started,
        elapsed: Duration::try_from_secs_f64(elapsed_s).unwrap_or_default(),
        heap: is_traced("heap"),
        growth: is_traced("growth"),
        fds: is_traced("fds"),
        sites: sites.into_iter().filter_map(site).collect(),
    })
}

impl From<JsonFrame> for Frame {
    fn from(frame: JsonFrame) -> Self {
        let JsonFrame { function, module, file, line, inlined, address, module_offset, reason } = frame;
        let reason = || {
            let known = NoSymbol::ALL.iter().find(|known| Some(known.name()) == reason.as_deref());
            known.copied().unwrap_or(NoSymbol::NotCovered)
        };
        Self {
            address: address.as_deref().and_then(hex).unwrap_or_default(),
            function: function.map(Arc::from).ok_or_else(reason),
            module: module.map(Arc::from),
            module_offset: module_offset.as_deref().and_then(hex),
            build_id: None,
            file: file.map(Arc::from),
            line,
            inlined,
        }
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
