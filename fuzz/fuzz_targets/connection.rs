//! Whatever a web server sends: whole records, one end for each request, and an end of the connection in time.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fcgi::fuzzing::connection(input));
