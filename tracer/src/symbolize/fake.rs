//! A symbolizer without files: the name of an address is the address.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Frame, QueueFull, Request, Stack, Symbolize};
use crate::aggregate::SiteId;

/// Answers at once: the function at 0x1234 is `fn_1234` in module `/fake/module`, file `/fake/fn_1234.c`, line 0x1234
/// modulo 1000 plus 1. Address 0 is in no mapping.
#[derive(Debug)]
pub struct FakeSymbolizer {
    capacity: usize,
    answers: Mutex<VecDeque<(SiteId, Arc<Stack>)>>,
}

impl FakeSymbolizer {
    /// Refuses requests while `capacity` answers wait.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, answers: Mutex::default() }
    }

    /// The frame of an address.
    pub fn frame(address: u64) -> Frame {
        if address == 0 {
            return Frame { function: Err(super::NoSymbol::Unmapped), ..Frame::pending(0) };
        }
        Frame {
            address,
            function: Ok(Arc::from(format!("fn_{address:x}"))),
            module: Some(Arc::from("/fake/module")),
            module_offset: Some(address),
            build_id: None,
            file: Some(Arc::from(format!("/fake/fn_{address:x}.c"))),
            line: u32::try_from(address % 1000 + 1).ok(),
            inlined: false,
        }
    }
}

impl Default for FakeSymbolizer {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Symbolize for FakeSymbolizer {
    fn request(&self, request: Request) -> Result<(), QueueFull> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= self.capacity {
            return Err(QueueFull);
        }
        let frames = request.frames.iter().map(|&address| Self::frame(address)).collect();
        answers.push_back((request.site, Arc::new(Stack { frames, end: request.end })));
        Ok(())
    }

    fn drain(&self) -> Vec<(SiteId, Arc<Stack>)> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::stack::StackEnd;

    use super::*;
    use crate::{
        aggregate::Tgid,
        symbolize::{ExactFrames, Priority},
    };

    #[test]
    fn names_are_the_addresses_and_the_queue_is_bounded() {
        let fake = FakeSymbolizer::new(1);
        let request = Request {
            site: SiteId(3),
            tgid: Tgid(7),
            image: 0,
            frames: Arc::from([0x1234, 0]),
            exact: ExactFrames::NONE,
            end: StackEnd::Depth,
            priority: Priority::Visible,
        };
        assert_eq!(fake.request(request.clone()), Ok(()));
        assert_eq!(fake.request(request), Err(QueueFull));
        let [(site, stack)] = fake.drain().try_into().expect("one answer");
        assert_eq!((site, stack.end), (SiteId(3), StackEnd::Depth));
        assert_eq!(stack.frames[0].function.as_deref(), Ok("fn_1234"));
        assert!(stack.frames[1].function.is_err());
        assert!(fake.drain().is_empty());
    }
}
