//! From a walked stack to a dense site id.

use aya_ebpf::bindings::BPF_NOEXIST;
use tracer_common::{counter::LossCause, event::NewSite};

use crate::{
    emit,
    maps::{FREE_SITES, SITES},
    walker::Walker,
};

/// The id of a stack. A stack seen for the first time takes a free id and is announced; the announcement comes before
/// the id can be used, so user space never meets a counter without a stack.
#[inline(always)]
pub(crate) fn id(walker: &mut Walker) -> Result<u32, LossCause> {
    if walker.site_hash == walker.stack.hash {
        return Ok(walker.site);
    }
    let id = match SITES.get_ptr(walker.stack.hash) {
        // SAFETY: a map value; ids are written once.
        Some(id) => unsafe { *id },
        None => announce(&mut walker.stack)?,
    };
    walker.site_hash = walker.stack.hash;
    walker.site = id;
    Ok(id)
}

#[inline(never)]
fn announce(stack: &mut NewSite) -> Result<u32, LossCause> {
    let Ok(Some(id)) = FREE_SITES.pop() else { return Err(LossCause::SitesFull) };
    stack.site = id;
    if emit::new_site(stack).is_err() {
        let _ = FREE_SITES.push(id, 0);
        return Err(LossCause::EventsFull);
    }
    if SITES.insert(stack.hash, id, u64::from(BPF_NOEXIST)).is_ok() {
        return Ok(id);
    }
    // Another thread was faster with the same stack, or the table is full. Either way nobody uses the id: it goes
    // back, and a later announcement under it replaces this one.
    let _ = FREE_SITES.push(id, 0);
    // SAFETY: a map value; ids are written once.
    SITES.get_ptr(stack.hash).map(|id| unsafe { *id }).ok_or(LossCause::SitesFull)
}
