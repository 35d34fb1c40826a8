//! Large buffers for the bodies of all connections, used again and again.
//!
//! One thread fills them and another is done with them. To allocate and free them each time would have the allocator
//! give their pages back to the kernel, and take them again one by one: half of what an upload takes.
//! (Row `upload`.)

use std::sync::OnceLock;

use crossbeam_channel::{bounded, Receiver, Sender};

/// The length of a large buffer.
pub(crate) const LARGE_BUFFER_LEN: usize = 64 << 10;

/// How many are kept while nobody uses them: a megabyte in all.
const MAX_KEPT: usize = 16;

/// A buffer that is empty.
pub(crate) fn take_large_buffer() -> Vec<u8> {
    let (_, kept) = kept();
    kept.try_recv().unwrap_or_else(|_| Vec::with_capacity(LARGE_BUFFER_LEN))
}

/// Takes a buffer back that nobody uses any more. One of another length is freed.
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() == LARGE_BUFFER_LEN {
        buffer.clear();
        // When there are enough it is freed.
        let (keep, _) = kept();
        drop(keep.try_send(buffer));
    }
}

fn kept() -> &'static (Sender<Vec<u8>>, Receiver<Vec<u8>>) {
    static KEPT: OnceLock<(Sender<Vec<u8>>, Receiver<Vec<u8>>)> = OnceLock::new();
    KEPT.get_or_init(|| bounded(MAX_KEPT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_no_more_of_them_than_are_kept() {
        let mut used: Vec<_> = (0..2 * MAX_KEPT).map(|_| take_large_buffer()).collect();
        used.iter_mut().for_each(|buffer| buffer.extend_from_slice(b"of another request"));
        used.push(vec![0; 10]);
        used.into_iter().for_each(give_back);
        let (_, kept) = kept();
        assert!(kept.len() <= MAX_KEPT);
        let again = take_large_buffer();
        assert_eq!((again.len(), again.capacity()), (0, LARGE_BUFFER_LEN));
    }
}
