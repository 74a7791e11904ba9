//! A line protocol: `LOGIN user`, `UPLOAD bytes`, `GET key`, `QUIT`.
//!
//! What leaks: every login adds a session that nothing ever removes; every upload that fails its check forgets its
//! buffer. What does not: the cache of documents, which is bounded, and the requests themselves.

use std::{
    collections::{HashMap, VecDeque},
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
};

/// Documents kept by the cache.
const CACHED: usize = 256;

#[derive(Default)]
struct State {
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
pub(super) fn run(listener: &TcpListener) {
    let state = Arc::new(State::default());
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
    vec![key as u8; 4_096].into_boxed_slice()
}
