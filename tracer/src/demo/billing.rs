//! The service that the demo's server connects to. It hangs up on some of those who stay.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

/// How long a connection may be idle before it is hung up on.
const PATIENCE: Duration = Duration::from_secs(5);
/// One connection in so many is hung up on.
const ONE_IN: u64 = 3;
/// Time between looks at the listener.
const PAUSE: Duration = Duration::from_millis(20);

/// Answers, and keeps connections until they end.
pub(super) fn run(listener: &TcpListener) {
    if listener.set_nonblocking(true).is_err() {
        return;
    }
    let mut open: VecDeque<(Instant, u64, TcpStream)> = VecDeque::new();
    let mut number = 0;
    loop {
        while let Ok((mut connection, _)) = listener.accept() {
            if connection.write_all(b"WELCOME\n").is_ok() && connection.set_nonblocking(true).is_ok() {
                number += 1;
                open.push_back((Instant::now(), number, connection));
            }
        }
        open.retain_mut(|(since, number, connection)| {
            let tired = number.is_multiple_of(ONE_IN) && since.elapsed() >= PATIENCE;
            !tired && is_open(connection)
        });
        std::thread::sleep(PAUSE);
    }
}

fn is_open(connection: &mut TcpStream) -> bool {
    match connection.read(&mut [0; 64]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
