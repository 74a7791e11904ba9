//! What looks wrong with the descriptors.

use std::time::Duration;

use prost::Message;

use super::{codes, descriptors::LimitsRow, endpoint::EndpointRow};
use crate::{
    aggregate::{FdSignal, SiteId},
    record::format::nanos,
};

/// Values of [`SignalRow::sort`].
const CLOSE_WAIT: u32 = 1;
const GROWTH: u32 = 2;
const UNRELEASED: u32 = 3;
const HALF_OPEN: u32 = 4;
const NEAR_LIMIT: u32 = 5;

/// All sorts in one: fields that a sort does not have are not written.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SignalRow {
    #[prost(uint32, tag = "1")]
    sort: u32,
    #[prost(uint64, tag = "2")]
    count: u64,
    /// The age of the oldest, or over how long.
    #[prost(uint64, tag = "3")]
    span_ns: u64,
    #[prost(uint32, optional, tag = "4")]
    site: Option<u32>,
    #[prost(message, optional, tag = "5")]
    endpoint: Option<EndpointRow>,
    #[prost(double, tag = "6")]
    per_min: f64,
    #[prost(double, tag = "7")]
    closed_per_min: f64,
    #[prost(uint32, tag = "8")]
    direction: u32,
    #[prost(uint32, tag = "9")]
    mark: u32,
    #[prost(message, optional, tag = "10")]
    limits: Option<LimitsRow>,
}

impl From<&FdSignal> for SignalRow {
    fn from(signal: &FdSignal) -> Self {
        let nothing = Self::default();
        match signal {
            FdSignal::CloseWait { count, oldest, site, endpoint } => Self {
                sort: CLOSE_WAIT,
                count: *count,
                span_ns: nanos(*oldest),
                site: site.map(|id| id.0),
                endpoint: endpoint.as_ref().map(EndpointRow::from),
                ..nothing
            },
            FdSignal::Growth { per_min, over, site } => {
                Self { sort: GROWTH, per_min: *per_min, span_ns: nanos(*over), site: site.map(|id| id.0), ..nothing }
            }
            FdSignal::Unreleased { direction, endpoint, opened_per_min, closed_per_min } => Self {
                sort: UNRELEASED,
                direction: codes::of_direction(direction),
                endpoint: Some(endpoint.into()),
                per_min: *opened_per_min,
                closed_per_min: *closed_per_min,
                ..nothing
            },
            FdSignal::HalfOpen { count, oldest, endpoint } => Self {
                sort: HALF_OPEN,
                count: *count,
                span_ns: nanos(*oldest),
                endpoint: endpoint.as_ref().map(EndpointRow::from),
                ..nothing
            },
            FdSignal::NearLimit { mark, limits } => {
                Self { sort: NEAR_LIMIT, mark: u32::from(*mark), limits: Some((*limits).into()), ..nothing }
            }
        }
    }
}

/// `None` for sorts of a later leaktrace.
pub(super) fn signal(row: SignalRow) -> Option<FdSignal> {
    let SignalRow { sort, count, span_ns, site, endpoint, per_min, closed_per_min, direction, mark, limits } = row;
    let (span, site) = (Duration::from_nanos(span_ns), site.map(SiteId));
    let endpoint = endpoint.and_then(EndpointRow::endpoint);
    Some(match sort {
        CLOSE_WAIT => FdSignal::CloseWait { count, oldest: span, site, endpoint },
        GROWTH => FdSignal::Growth { per_min, over: span, site },
        UNRELEASED => FdSignal::Unreleased {
            direction: codes::direction(direction)?,
            endpoint: endpoint?,
            opened_per_min: per_min,
            closed_per_min,
        },
        HALF_OPEN => FdSignal::HalfOpen { count, oldest: span, endpoint },
        NEAR_LIMIT => FdSignal::NearLimit { mark: u8::try_from(mark).ok()?, limits: limits.unwrap_or_default().into() },
        _ => return None,
    })
}
