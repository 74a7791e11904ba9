//! Maps by site, for what is looked up for each site of each Snapshot.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::SiteId;

/// By site. Ids are small numbers that come in order: the default hash, made for text that attackers choose, takes most of
/// the time of ten thousand look-ups. This one still has a random seed, so whoever wrote a recording cannot choose an id's place.
pub type SiteMap<V> = HashMap<SiteId, V, RandomState>;
