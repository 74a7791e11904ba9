//! Open descriptors, who opened them, and to whom connections lead.

use std::{net::SocketAddr, sync::Arc};

use proptest::{collection::vec, prelude::*, sample::select};

use super::{FD_SITES, analysis::verdict, maybe, number, real, span, stack, text};
use crate::{
    aggregate::{
        Corrections, Descriptors, Direction, Endpoint, Fd, FdKind, FdLimits, FdSignal, FdSite, OpenFd, Origin, Peer,
        SiteId, Socket, TcpState, Tgid,
    },
    target::sockets::service_of,
};

fn id() -> impl Strategy<Value = SiteId> {
    (0..2 * FD_SITES).prop_map(SiteId)
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    prop_oneof![any::<SocketAddr>().prop_map(Endpoint::Inet), text().prop_map(|path| Endpoint::Unix(path.into()))]
}

fn direction() -> impl Strategy<Value = Direction> {
    select(vec![Direction::Outbound, Direction::Inbound])
}

fn tcp_state() -> impl Strategy<Value = TcpState> {
    select(vec![
        TcpState::Established,
        TcpState::SynSent,
        TcpState::SynReceived,
        TcpState::FinWait1,
        TcpState::FinWait2,
        TcpState::TimeWait,
        TcpState::Closed,
        TcpState::CloseWait,
        TcpState::LastAck,
        TcpState::Listen,
        TcpState::Closing,
    ])
}

fn socket() -> BoxedStrategy<Socket> {
    let ends = (maybe(direction()), maybe(endpoint()), maybe(endpoint()), maybe(tcp_state()));
    let traffic = (maybe(number()), maybe(number()), maybe(any::<u32>()), maybe(any::<u32>()));
    let times = (maybe(span()), maybe(span()), maybe(span()));
    (ends, traffic, times, maybe(id()))
        .prop_map(
            |(
                (direction, local, peer, state),
                (rx_bytes, tx_bytes, recv_queue, send_queue),
                (idle, connect_latency, close_wait),
                connected_by,
            )| Socket {
                direction,
                local,
                peer,
                state,
                idle,
                rx_bytes,
                tx_bytes,
                recv_queue,
                send_queue,
                connect_latency,
                close_wait,
                connected_by,
            },
        )
        .boxed()
}

fn open_fd() -> BoxedStrategy<OpenFd> {
    let origin = prop_oneof![Just(Origin::BeforeAttach), Just(Origin::Unseen), id().prop_map(Origin::Site)];
    let key = (prop_oneof![0..2_u32, any::<u32>()], prop_oneof![0..9_u32, any::<u32>()]);
    (key, select(FdKind::ALL), text(), origin, maybe(span()), maybe(socket()))
        .prop_map(|((tgid, fd), kind, detail, origin, age, socket)| OpenFd {
            tgid: Tgid(tgid),
            fd: Fd(fd),
            kind,
            detail: detail.into(),
            origin,
            age,
            socket: socket.map(Box::new),
        })
        .boxed()
}

fn fd_site() -> BoxedStrategy<FdSite> {
    let kinds = vec((select(FdKind::ALL), number()), 0..3);
    (FD_SITES..2 * FD_SITES, any::<u32>(), number(), number(), maybe(span()), kinds, stack(), maybe(verdict()))
        .prop_map(|(id, tgid, opened, closed, oldest, kinds, stack, verdict)| FdSite {
            id: SiteId(id),
            tgid: Tgid(tgid),
            opened,
            closed,
            oldest,
            kinds,
            stack,
            verdict,
        })
        .boxed()
}

fn peer() -> BoxedStrategy<Peer> {
    let numbers = [(); 5].map(|()| number());
    let shares = || vec((id(), number()), 0..3);
    (
        direction(),
        endpoint(),
        numbers,
        maybe(span()),
        (real(), real(), any::<bool>()),
        maybe(span()),
        shares(),
        shares(),
    )
        .prop_map(
            |(
                direction,
                endpoint,
                [open, idle, close_wait, opened, closed],
                oldest,
                (opened_per_min, closed_per_min, growing),
                connect_latency,
                sites,
                connected_by,
            )| Peer {
                direction,
                service: service_of(&endpoint),
                endpoint,
                open,
                idle,
                close_wait,
                oldest,
                opened,
                closed,
                opened_per_min,
                closed_per_min,
                growing,
                connect_latency,
                sites,
                connected_by,
            },
        )
        .boxed()
}

fn limits() -> impl Strategy<Value = FdLimits> {
    (number(), number(), number()).prop_map(|(nofile_soft, nofile_hard, open)| FdLimits {
        nofile_soft,
        nofile_hard,
        open,
    })
}

fn signal() -> BoxedStrategy<FdSignal> {
    prop_oneof![
        (number(), span(), maybe(id()), maybe(endpoint()))
            .prop_map(|(count, oldest, site, endpoint)| { FdSignal::CloseWait { count, oldest, site, endpoint } }),
        (real(), span(), maybe(id())).prop_map(|(per_min, over, site)| FdSignal::Growth { per_min, over, site }),
        (direction(), endpoint(), real(), real()).prop_map(|(direction, endpoint, opened_per_min, closed_per_min)| {
            FdSignal::Unreleased { direction, endpoint, opened_per_min, closed_per_min }
        }),
        (number(), span(), maybe(endpoint())).prop_map(|(count, oldest, endpoint)| FdSignal::HalfOpen {
            count,
            oldest,
            endpoint
        }),
        (any::<u8>(), limits()).prop_map(|(mark, limits)| FdSignal::NearLimit { mark, limits }),
    ]
    .boxed()
}

pub(super) fn descriptors() -> BoxedStrategy<Descriptors> {
    let lists = (vec(fd_site(), 0..6), vec(open_fd(), 0..8), vec(peer(), 0..4), vec(signal(), 0..4), vec(text(), 0..3));
    (lists, maybe(span()), maybe(limits()), (number(), number(), number()), span())
        .prop_map(|((mut sites, mut open, peers, signals, limitations), looked, limits, corrected, stale)| {
            let (unseen_closes, unseen_opens, replaced) = corrected;
            sites.sort_by_key(|site| site.id);
            sites.dedup_by_key(|site| site.id);
            sites.sort_by_key(FdSite::order);
            open.sort_by_key(|fd| (fd.tgid, fd.fd));
            open.dedup_by_key(|fd| (fd.tgid, fd.fd));
            Descriptors {
                sites,
                open: Arc::new(open),
                looked,
                peers,
                limits,
                signals,
                corrections: Corrections { unseen_closes, unseen_opens, replaced },
                limitations,
                stale,
            }
        })
        .boxed()
}
