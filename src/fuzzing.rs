//! What the fuzz targets in `fuzz/` hold this crate to: one function for each, which panics where it does not hold.
//!
//! It is public so that the targets reach it, and exists only when fuzzing and in tests.

mod connection;
mod decoder;
mod demultiplexer;
mod output;
mod pairs;
mod reference;
mod request_mapping;
#[cfg(test)]
mod tests;

pub use connection::connection;
pub use decoder::decoder;
pub use demultiplexer::demultiplexer;
pub use pairs::pairs;
pub use request_mapping::request_mapping;

/// Cuts `input` into pieces of up to 256 bytes, of lengths that its own bytes choose.
fn pieces(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let len = 1 + usize::from(*rest.first()?);
        let (piece, behind) = rest.split_at(len.min(rest.len()));
        rest = behind;
        Some(piece)
    })
}
