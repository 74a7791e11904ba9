//! Metrics of a live run: the address is taken before anything else is done, the numbers are those of each window.

use std::{io::ErrorKind, net::SocketAddr};

use anyhow::Context as _;

use super::tracing::Tracing;
use crate::{
    aggregate::Snapshot,
    metrics::{Publisher, Server, listed},
};

/// Takes the address. Privileges may be needed for that.
pub(super) fn listen(address: SocketAddr) -> anyhow::Result<Server> {
    let server = Server::bind(address).map_err(|error| {
        let port = address.port();
        let next = match error.kind() {
            ErrorKind::AddrInUse => {
                format!("another program has it; give --metrics another port, or see which: ss -tlnp 'sport = :{port}'")
            }
            ErrorKind::AddrNotAvailable => format!("no interface here has it; {port} alone is for this machine"),
            ErrorKind::PermissionDenied => "ports below 1024 are root's; give --metrics a higher one".to_owned(),
            _ => format!("{error}; give --metrics another address"),
        };
        anyhow::anyhow!("cannot serve metrics at {address}: {next}")
    })?;
    let address = server.address();
    eprintln!("leaktrace: metrics at http://{address}/metrics");
    if !address.ip().to_canonical().is_loopback() {
        eprintln!(
            "leaktrace: warning: whoever reaches {address} can read names of functions, processes and peers there: it \
             asks for no password. Without an address, --metrics {} is for this machine alone",
            address.port()
        );
    }
    Ok(server)
}

/// Serves on a thread of its own, which the run does not wait for.
pub(super) fn serve(server: Server) -> anyhow::Result<Publisher> {
    server.start().context("cannot start the thread for metrics")
}

/// Shows what a window has shown, and asks for the names that are missing there.
pub(super) fn publish(publisher: &Publisher, tracing: &mut Tracing, window: Snapshot) {
    tracing.want(&listed(&window));
    publisher.publish(window);
}
