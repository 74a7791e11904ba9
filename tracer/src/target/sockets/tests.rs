//! Real sockets of this process and of one in another network namespace, as the kernel lists them.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream},
    },
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::fd::AsFd;

use super::*;
use crate::{
    aggregate::{Endpoint, FdKind, TcpState},
    target::{
        TargetError,
        fixture::{self, Held},
    },
};

fn own() -> SocketReader {
    let dir = ProcDir::open(std::process::id()).expect("this process");
    SocketReader::of(&dir).expect("sock_diag")
}

fn inode(socket: impl AsFd) -> u64 {
    rustix::fs::fstat(socket).expect("fstat").st_ino
}

/// Reads until the socket is as wanted; what the network does takes its time.
fn await_entry(reader: &mut SocketReader, inode: u64, wanted: impl Fn(&SocketEntry) -> bool) -> SocketEntry {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = reader.read().expect("the tables").remove(&inode);
        if let Some(entry) = found.as_ref().filter(|entry| wanted(entry)) {
            return entry.clone();
        }
        assert!(Instant::now() < deadline, "socket:[{inode}] is {found:?}");
    }
}

fn inet(address: SocketAddr) -> Option<Endpoint> {
    Some(Endpoint::Inet(address))
}

fn unix(text: &str) -> Option<Endpoint> {
    Some(Endpoint::Unix(text.into()))
}

#[test]
fn a_tcp_connection_from_its_beginning_to_close_wait() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).expect("bind");
        let server_address = listener.local_addr().expect("bound");
        let mut client = TcpStream::connect(server_address).expect("connect");
        let client_address = client.local_addr().expect("connected");
        let mut reader = own();

        let listening = await_entry(&mut reader, inode(&listener), |entry| {
            entry.backlog.is_some_and(|backlog| backlog.waiting == 1)
        });
        assert_eq!((listening.kind, listening.state), (FdKind::Tcp, Some(TcpState::Listen)));
        assert_eq!((listening.local, listening.peer), (inet(server_address), None));
        assert_eq!((listening.recv_queue, listening.idle), (None, None));

        let (mut server, _) = listener.accept().expect("accept");
        client.write_all(&[7; 1009]).expect("send");
        server.write_all(&[7; 503]).expect("send");
        let accepted = await_entry(&mut reader, inode(&server), |entry| entry.send_queue == Some(0));
        assert_eq!((accepted.local, accepted.peer), (inet(server_address), inet(client_address)));
        assert_eq!((accepted.state, accepted.hung_up), (Some(TcpState::Established), false));
        assert_eq!((accepted.recv_queue, accepted.rx_bytes, accepted.tx_bytes), (Some(1009), Some(1009), Some(503)));
        assert!(accepted.idle.expect("known") < Duration::from_secs(60), "not since the boot");
        assert!(accepted.rtt.is_some() && accepted.last_ack.is_some());
        // The client's SYN is not counted as a byte that it has sent.
        let opened = await_entry(&mut reader, inode(&client), |entry| entry.send_queue == Some(0));
        assert_eq!((opened.recv_queue, opened.rx_bytes, opened.tx_bytes), (Some(503), Some(503), Some(1009)));

        // Read to the end on one side, so that closing sends a FIN and not a reset.
        client.read_exact(&mut [0; 503]).expect("receive");
        drop(client);
        let left = await_entry(&mut reader, inode(&server), |entry| entry.state == Some(TcpState::CloseWait));
        assert!(left.hung_up);
        assert_eq!((left.recv_queue, left.rx_bytes, left.tx_bytes), (Some(1009), Some(1009), Some(503)));
        let mut received = Vec::new();
        server.read_to_end(&mut received).expect("receive");
        assert_eq!(received.len(), 1009);
        let read = await_entry(&mut reader, inode(&server), |entry| entry.recv_queue == Some(0));
        assert_eq!((read.state, read.rx_bytes), (Some(TcpState::CloseWait), Some(1009)));
    }
}

#[test]
fn a_connection_without_traffic_is_idle_since_it_was_made() {
    let before = Instant::now();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    let mut reader = own();
    for socket in [client.as_fd(), server.as_fd()] {
        let entry = await_entry(&mut reader, inode(socket), |entry| entry.state == Some(TcpState::Established));
        assert_eq!((entry.rx_bytes, entry.tx_bytes), (Some(0), Some(0)));
        // The kernel's clock ticks every ten milliseconds at most.
        assert!(entry.idle.expect("known") <= before.elapsed() + Duration::from_millis(10));
    }
}

#[test]
fn ipv4_over_an_ipv6_socket_is_shown_as_ipv4() {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("bind");
    let port = listener.local_addr().expect("bound").port();
    let client = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    let mut reader = own();
    let sockets = reader.read().expect("the tables");
    assert_eq!(sockets[&inode(&listener)].local, inet(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)));
    assert_eq!(sockets[&inode(&server)].local, inet(SocketAddr::new([127, 0, 0, 1].into(), port)));
    assert_eq!(sockets[&inode(&server)].peer, inet(client.local_addr().expect("connected")));
}

#[test]
fn a_multipath_listener_is_a_tcp_one() {
    use rustix::net::{AddressFamily, SocketType, ipproto};

    let Ok(listener) = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP)) else {
        return; // A kernel without MPTCP.
    };
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    rustix::net::bind(&listener, &any).expect("bind");
    rustix::net::listen(&listener, 7).expect("listen");
    let address = rustix::net::getsockname(&listener).expect("bound").try_into().expect("IPv4");
    let client = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP)).expect("socket");
    rustix::net::connect(&client, &address).expect("connect");
    let server = rustix::net::accept(&listener).expect("accept");
    assert_eq!(rustix::io::write(&client, &[7; 101]), Ok(101));

    let mut reader = own();
    let entry = await_entry(&mut reader, inode(&server), |entry| entry.idle.is_some());
    assert_eq!((entry.kind, entry.state), (FdKind::Tcp, Some(TcpState::Established)));
    assert_eq!((entry.local, entry.rx_bytes), (inet(address), None));
    let listening = &reader.read().expect("the tables")[&inode(&listener)];
    let expected = SocketEntry {
        local: inet(address),
        state: Some(TcpState::Listen),
        backlog: Some(Backlog { waiting: 0, limit: 7 }),
        ..SocketEntry::of(FdKind::Tcp)
    };
    assert_eq!(*listening, expected);
}

#[test]
fn udp_sockets_have_addresses() {
    let bound = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let connected = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = bound.local_addr().expect("bound");
    connected.connect(address).expect("connect");
    let other = UdpSocket::bind("[::1]:0").expect("bind");
    let sockets = own().read().expect("the tables");
    let udp = SocketEntry { local: inet(address), ..SocketEntry::of(FdKind::Udp) };
    assert_eq!(sockets[&inode(&bound)], udp);
    let local = inet(connected.local_addr().expect("bound"));
    assert_eq!(sockets[&inode(&connected)], SocketEntry { local, peer: inet(address), ..udp.clone() });
    assert_eq!(sockets[&inode(&other)], SocketEntry { local: inet(other.local_addr().expect("bound")), ..udp });
}

#[test]
fn a_unix_client_has_its_servers_name() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("a \x1b[31m.sock");
    let text = path.to_str().expect("utf8");
    let name = format!("leaktrace-{}\0x", std::process::id());
    let shown = format!("@{}", name.replace('\0', "@"));
    let abstract_address = UnixAddr::from_abstract_name(&name).expect("a name");
    let listeners = [
        (UnixListener::bind(&path).expect("bind"), UnixAddr::from_pathname(&path).expect("a path"), text),
        (UnixListener::bind_addr(&abstract_address).expect("bind"), abstract_address, shown.as_str()),
    ];
    let mut reader = own();
    for (listener, address, text) in listeners {
        let mut client = UnixStream::connect_addr(&address).expect("connect");
        // Not accepted yet.
        let sockets = reader.read().expect("the tables");
        let waiting = &sockets[&inode(&client)];
        assert_eq!((waiting.kind, &waiting.local, &waiting.peer), (FdKind::Unix, &None, &unix(text)));
        assert_eq!((waiting.state, waiting.hung_up), (Some(TcpState::Established), false));
        let listening = &sockets[&inode(&listener)];
        assert_eq!((&listening.local, listening.state), (&unix(text), Some(TcpState::Listen)));
        assert_eq!(listening.backlog.expect("of a listener").waiting, 1);

        let (server, _) = listener.accept().expect("accept");
        client.write_all(&[7; 211]).expect("send");
        let sockets = reader.read().expect("the tables");
        let (ours, theirs) = (&sockets[&inode(&client)], &sockets[&inode(&server)]);
        assert_eq!((&ours.local, &ours.peer, &theirs.local, &theirs.peer), (&None, &unix(text), &unix(text), &None));
        assert_eq!((ours.recv_queue, ours.send_queue), (Some(0), Some(211)));
        assert_eq!((theirs.recv_queue, theirs.send_queue), (Some(211), Some(0)));
        assert!(!ours.hung_up && !theirs.hung_up);

        drop(client);
        assert!(reader.read().expect("the tables")[&inode(&server)].hung_up);
    }
}

/// Enters a network namespace of its own, listens there, and says the inodes.
const ELSEWHERE: &str = r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
static unsigned long inode(int fd) {
    struct stat stat;
    fstat(fd, &stat);
    return stat.st_ino;
}
int main(void) {
    char line[64];
    if (unshare(CLONE_NEWNET)) {
        perror("unshare");
        return 1;
    }
    int tcp = socket(AF_INET, SOCK_STREAM, 0), un = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(5432)};
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0elsewhere"};
    if (bind(tcp, (void *)&in, sizeof in) || listen(tcp, 7) ||
        bind(un, (void *)&name, sizeof(sa_family_t) + 10) || listen(un, 7))
        return 1;
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        printf("%lu %lu\n", inode(tcp), inode(un));
        fflush(stdout);
    }
}
"#;

fn elsewhere(dir: &Path) -> (Held, u64, u64) {
    fixture::need_root();
    let program = dir.join("elsewhere");
    fixture::compile("elsewhere.c", ELSEWHERE, &program, &[]);
    let mut held = Held::start_with(&mut Command::new(&program));
    let answer = held.say("inodes");
    let (tcp, unix) = answer.split_once(' ').expect("two numbers");
    (held, tcp.parse().expect("a number"), unix.parse().expect("a number"))
}

#[test]
fn the_targets_namespace_is_read_and_ours_stays() {
    let temp = tempfile::tempdir().expect("temp dir");
    let (mut held, tcp, un) = elsewhere(temp.path());
    let ours = TcpListener::bind("127.0.0.1:0").expect("bind");
    let dir = ProcDir::open(held.pid()).expect("a child");
    let mut reader = SocketReader::of(&dir).expect("root may enter");
    let sockets = reader.read().expect("the tables");
    let listening = SocketEntry {
        local: inet("0.0.0.0:5432".parse().expect("an address")),
        state: Some(TcpState::Listen),
        backlog: Some(Backlog { waiting: 0, limit: 7 }),
        ..SocketEntry::of(FdKind::Tcp)
    };
    assert_eq!(sockets[&tcp], listening);
    assert_eq!(sockets[&un].local, unix("@elsewhere"));
    assert_eq!(sockets.len(), 2, "nothing else lives there");
    assert!(own().read().expect("the tables").contains_key(&inode(&ours)), "this thread is where it was");

    held.end();
    assert_eq!(reader.read().expect("the namespace is held").len(), 0);
    let gone = SocketReader::of(&dir).expect_err("it is gone");
    assert!(matches!(gone, SocketsError::Target(TargetError::NoSuchProcess { .. })), "{gone}");
}

#[test]
fn a_namespace_that_may_not_be_entered_is_told() {
    use rustix::thread::CapabilitySet;

    let temp = tempfile::tempdir().expect("temp dir");
    let (held, ..) = elsewhere(temp.path());
    let dir = ProcDir::open(held.pid()).expect("a child");
    // Capabilities are a thread's own.
    let refused = std::thread::spawn(move || {
        let mut sets = rustix::thread::capabilities(None).expect("capabilities");
        sets.effective.remove(CapabilitySet::SYS_ADMIN);
        rustix::thread::set_capabilities(None, sets).expect("may be dropped");
        SocketReader::of(&dir).expect_err("not permitted")
    });
    let refused = refused.join().expect("no panic");
    assert!(matches!(refused, SocketsError::Enter { pid, .. } if pid == held.pid()), "{refused}");
    assert!(refused.to_string().contains("CAP_SYS_ADMIN"), "{refused}");
}

/// `cargo test --release -p leaktrace --lib -- --ignored --nocapture many_connections` says how long a reading takes.
#[test]
#[ignore = "measures, with as many descriptors as it may have"]
fn many_connections() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = limit.saturating_sub(200).min(40_000) / 2;
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("bound");
    let pairs: Vec<_> = (0..connections)
        .map(|_| (TcpStream::connect(address).expect("connect"), listener.accept().expect("accept").0))
        .collect();
    let mut reader = own();
    for _ in 0..5 {
        let start = Instant::now();
        let sockets = reader.read().expect("the tables");
        let took = start.elapsed();
        let bytes = sockets.capacity() * size_of::<(u64, SocketEntry)>();
        println!("{} sockets in {took:?}, {} KiB of entries", sockets.len(), bytes >> 10);
        for (client, server) in &pairs {
            assert!(sockets.contains_key(&inode(client)) && sockets.contains_key(&inode(server)));
        }
    }
}
