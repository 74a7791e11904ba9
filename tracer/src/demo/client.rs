//! The demo's load: logins, uploads and reads at a steady, modest rate, and now and then an order or a report.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Requests on one connection.
const REQUESTS: u64 = 64;
/// One in so many requests is an order, and one in so many a report; they are prime, so that they do not meet.
const ORDER: u64 = 101;
const REPORT: u64 = 601;
/// Time between requests.
const PAUSE: Duration = Duration::from_millis(1);

/// Sends requests until the server is gone.
pub(super) fn run(server: SocketAddr) {
    let mut number = 0;
    while let Ok(connection) = TcpStream::connect(server) {
        if talk(connection, &mut number).is_none() {
            return;
        }
    }
}

fn talk(mut connection: TcpStream, number: &mut u64) -> Option<()> {
    let mut replies = BufReader::new(connection.try_clone().ok()?);
    let mut reply = String::new();
    for _ in 0..REQUESTS {
        *number += 1;
        let request = match *number % 4 {
            _ if number.is_multiple_of(ORDER) => format!("ORDER {}\n", *number / ORDER),
            _ if number.is_multiple_of(REPORT) => format!("REPORT {}\n", *number / REPORT),
            0 => format!("LOGIN user{}\n", *number % 101),
            1 => format!("UPLOAD {}\n", 1_000 + *number % 211),
            _ => format!("GET {}\n", *number % 1_009),
        };
        connection.write_all(request.as_bytes()).ok()?;
        reply.clear();
        if replies.read_line(&mut reply).ok()? == 0 {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
    Some(())
}
