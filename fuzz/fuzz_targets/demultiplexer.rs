//! Whatever comes from both sides: each request ends once, by its own ticket, within the limits, as in a model.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| fcgi::fuzzing::demultiplexer(script));
