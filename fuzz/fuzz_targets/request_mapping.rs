//! Any PARAMS are a request or an error, and no response header can forge another line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|params: &[u8]| fcgi::fuzzing::request_mapping(params));
