//! However its bytes are cut, a session means the same, and every byte up to the first violation is taken.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|session: &[u8]| fcgi::fuzzing::decoder(session));
