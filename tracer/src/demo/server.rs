//! A line protocol: `LOGIN user`, `UPLOAD bytes`, `GET key`, `ORDER number`, `REPORT number`, `QUIT`.
//!
//! What leaks: every login adds a session that nothing ever removes; every upload that fails its check forgets its
//! buffer; an order that is refused keeps its connection to billing; a report is never closed. What does not: the cache
//! of documents, which is bounded, and which closes the files that it reads; the requests themselves.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

/// Documents kept by the cache.
const CACHED: usize = 256;
/// Descriptors under the limit that stay free for clients: the leaks end before the server does.
const SPARE: u64 = 16;
/// One order in so many is refused.
const REFUSED: u64 = 4;

struct State {
    billing: SocketAddr,
    /// The limit of open descriptors.
    nofile: u64,
    /// Connections and files that nobody will come back for.
    forgotten: Mutex<Vec<OwnedFd>>,
    sessions: Mutex<HashMap<String, Session>>,
    cache: Mutex<DocumentCache>,
}

struct Session {
    _token: Vec<u8>,
    _history: Vec<String>,
}

#[derive(Default)]
struct DocumentCache {
    documents: VecDeque<(u64, Box<[u8]>)>,
}

/// Serves connections, one thread each.
pub(super) fn run(listener: &TcpListener, billing: SocketAddr, nofile: u64) {
    let state = Arc::new(State {
        billing,
        nofile,
        forgotten: Mutex::default(),
        sessions: Mutex::default(),
        cache: Mutex::default(),
    });
    for connection in listener.incoming().flatten() {
        let state = Arc::clone(&state);
        std::thread::spawn(move || handle_connection(&state, connection));
    }
}

#[inline(never)]
fn handle_connection(state: &State, connection: TcpStream) {
    let Ok(mut replies) = connection.try_clone() else { return };
    for line in BufReader::new(connection).lines() {
        let Ok(line) = line else { return };
        let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let reply = match command {
            "LOGIN" => handle_login(state, argument),
            "UPLOAD" => handle_upload(argument),
            "GET" => handle_get(state, argument),
            "ORDER" => handle_order(state, argument),
            "REPORT" => handle_report(state, argument),
            _ => return,
        };
        if replies.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

/// Leaks: nobody logs out.
#[inline(never)]
fn handle_login(state: &State, user: &str) -> String {
    let session = open_session(user);
    let mut sessions = state.sessions.lock().unwrap_or_else(PoisonError::into_inner);
    let name = format!("{user}#{}", sessions.len());
    sessions.insert(name, session);
    format!("OK {}\n", sessions.len())
}

#[inline(never)]
fn open_session(user: &str) -> Session {
    Session { _token: vec![0x5a; 2_048], _history: vec![format!("{user} logged in")] }
}

/// Leaks the buffer of an upload that fails its check.
#[inline(never)]
fn handle_upload(argument: &str) -> String {
    let size: usize = argument.parse().unwrap_or(0);
    let buffer = receive_upload(size);
    if size.is_multiple_of(7) {
        std::mem::forget(buffer);
        return "ERR checksum\n".to_owned();
    }
    format!("OK {}\n", buffer.len())
}

#[inline(never)]
fn receive_upload(size: usize) -> Vec<u8> {
    vec![0; size]
}

/// Does not leak: the cache drops its oldest document.
#[inline(never)]
fn handle_get(state: &State, argument: &str) -> String {
    let key: u64 = argument.parse().unwrap_or(0);
    let mut cache = state.cache.lock().unwrap_or_else(PoisonError::into_inner);
    if !cache.documents.iter().any(|(cached, _)| *cached == key) {
        if cache.documents.len() == CACHED {
            cache.documents.pop_front();
        }
        cache.documents.push_back((key, load_document(key)));
    }
    format!("OK {key}\n")
}

#[inline(never)]
fn load_document(key: u64) -> Box<[u8]> {
    let mut document = vec![key as u8; 4_096].into_boxed_slice();
    if let Ok(mut file) = open_document() {
        let _ = file.read(&mut document);
    }
    document
}

/// Does not leak: it is closed when it has been read.
#[inline(never)]
fn open_document() -> io::Result<File> {
    File::open("/dev/zero")
}

/// Leaks the connection of an order that is refused.
#[inline(never)]
fn handle_order(state: &State, argument: &str) -> String {
    let number: u64 = argument.parse().unwrap_or(0);
    match connect_to_billing(state.billing) {
        Ok(connection) if number.is_multiple_of(REFUSED) => {
            forget(state, connection.into());
            "ERR refused\n".to_owned()
        }
        Ok(_) => format!("OK {number}\n"),
        Err(error) => format!("ERR {error}\n"),
    }
}

#[inline(never)]
fn connect_to_billing(billing: SocketAddr) -> io::Result<TcpStream> {
    let mut connection = TcpStream::connect(billing)?;
    let mut welcome = [0; 8];
    connection.read_exact(&mut welcome)?;
    Ok(connection)
}

/// Leaks: the report is written and never closed.
#[inline(never)]
fn handle_report(state: &State, argument: &str) -> String {
    let number: u64 = argument.parse().unwrap_or(0);
    match open_report(number) {
        Ok(report) => {
            forget(state, report.into());
            format!("OK {number}\n")
        }
        Err(error) => format!("ERR {error}\n"),
    }
}

/// A file that has no name any more leaves nothing behind.
#[inline(never)]
fn open_report(number: u64) -> io::Result<File> {
    let name = format!("leaktrace-demo-{}-report-{number}.txt", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut report = File::create_new(&path)?;
    std::fs::remove_file(&path)?;
    report.write_all(b"nothing to report\n")?;
    Ok(report)
}

/// Keeps a descriptor for good, unless too few are left.
fn forget(state: &State, descriptor: OwnedFd) {
    // Numbers are given out from the lowest: a high one says how many are open.
    if u64::from(descriptor.as_raw_fd().unsigned_abs()) + SPARE < state.nofile {
        state.forgotten.lock().unwrap_or_else(PoisonError::into_inner).push(descriptor);
    }
}
