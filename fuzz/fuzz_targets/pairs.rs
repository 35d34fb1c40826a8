//! Every pair lies within its buffer, all of them make up the consumed prefix, and announced lengths cost nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|buffer: &[u8]| fcgi::fuzzing::pairs(buffer));
