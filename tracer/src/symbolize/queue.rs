//! Requests in the order in which they are to be worked on.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use super::{Priority, QueueFull, Request};
use crate::aggregate::SiteId;

/// Higher priority first, then as they came.
type Order = (Reverse<Priority>, u64);

/// A bounded priority queue, one entry per site.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    by_order: BTreeMap<Order, Request>,
    by_site: HashMap<SiteId, Order>,
    next: u64,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, by_order: BTreeMap::new(), by_site: HashMap::new(), next: 0 }
    }

    pub(super) fn push(&mut self, mut request: Request) -> Result<(), QueueFull> {
        let mut order = (Reverse(request.priority), self.next);
        if let Some(known) = self.by_site.get(&request.site) {
            if known.0 <= order.0 {
                // No more urgent than before: it keeps its place.
                order = *known;
                request.priority = known.0.0;
            }
            self.by_order.remove(known);
        } else if self.by_order.len() >= self.capacity {
            return Err(QueueFull);
        }
        self.next += 1;
        self.by_site.insert(request.site, order);
        self.by_order.insert(order, request);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Request> {
        let (_, request) = self.by_order.pop_first()?;
        self.by_site.remove(&request.site);
        Some(request)
    }

    pub(super) fn len(&self) -> usize {
        self.by_order.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracer_common::stack::StackEnd;

    use super::*;
    use crate::{aggregate::Tgid, symbolize::ExactFrames};

    fn request(site: u32, priority: Priority) -> Request {
        let frames = Arc::from([u64::from(site)]);
        let exact = ExactFrames::NONE;
        Request { site: SiteId(site), tgid: Tgid(1), image: 0, frames, exact, end: StackEnd::Complete, priority }
    }

    fn order(queue: &mut Queue) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).map(|request| request.site.0).collect()
    }

    #[test]
    fn visible_first_then_in_turn() {
        let mut queue = Queue::new(5);
        for (site, priority) in [(1, Priority::Background), (2, Priority::Visible), (3, Priority::Background)] {
            queue.push(request(site, priority)).expect("room");
        }
        queue.push(request(4, Priority::Visible)).expect("room");
        assert_eq!(order(&mut queue), [2, 4, 1, 3]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_later_request_can_raise_but_not_lower() {
        let mut queue = Queue::new(3);
        for site in [1, 2, 3] {
            queue.push(request(site, Priority::Background)).expect("room");
        }
        queue.push(request(3, Priority::Visible)).expect("raising needs no room");
        queue.push(request(3, Priority::Background)).expect("nor does repeating");
        assert_eq!(queue.push(request(4, Priority::Visible)), Err(QueueFull));
        assert_eq!(queue.len(), 3);
        assert_eq!(order(&mut queue), [3, 1, 2]);
    }
}
