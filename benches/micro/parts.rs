//! The crate's inner parts without IO: time, and allocations, of what one request costs in each.

use std::hint::black_box;

use divan::{AllocProfiler, Bencher};
use fcgi::benchmarking::{decode, find_pairs, map_request, write_head, Connection};
use fcgi::http::response::{Parts, Response};
use fcgi_benches::requests;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

#[divan::bench(args = requests::NAMES)]
fn decoder(bencher: Bencher<'_, '_>, name: &str) {
    let session = requests::named(name).records(1);
    bencher.bench(|| decode(black_box(&session)));
}

#[divan::bench(args = requests::NAMES)]
fn name_value_pairs(bencher: Bencher<'_, '_>, name: &str) {
    let params = requests::named(name).params();
    bencher.bench(|| find_pairs(black_box(&params)));
}

#[divan::bench(args = requests::NAMES)]
fn request_mapping(bencher: Bencher<'_, '_>, name: &str) {
    let params = requests::named(name).params();
    bencher.with_inputs(|| params.clone()).bench_values(map_request);
}

/// The life of a request, from BEGIN_REQUEST until it leaves the map, on a connection that has had others.
#[divan::bench(args = requests::NAMES)]
fn demultiplexer(bencher: Bencher<'_, '_>, name: &str) {
    let session = requests::named(name).records(1);
    let mut connection = Connection::default();
    bencher.bench_local(|| connection.serve(black_box(&session)));
}

/// 16 requests side by side.
#[divan::bench]
fn demultiplexer_of_16(bencher: Bencher<'_, '_>) {
    let session: Vec<_> = (1..=16).flat_map(|id| requests::named("small").records(id)).collect();
    let mut connection = Connection::default();
    bencher.bench_local(|| connection.serve(black_box(&session)));
}

#[divan::bench(args = ["small", "large"])]
fn head(bencher: Bencher<'_, '_>, name: &str) {
    let response = response(name);
    // The buffer is the connection's, and has room after the first answers.
    let mut out = Vec::with_capacity(4 << 10);
    bencher.bench_local(|| {
        out.clear();
        write_head(&mut out, black_box(&response), 13);
        out.len()
    });
}

/// Nothing but what is added, or the headers of a careful site.
fn response(name: &str) -> Parts {
    let mut response = Response::builder();
    if name == "large" {
        for (name, value) in CAREFUL {
            response = response.header(*name, *value);
        }
    }
    response.body(()).expect("legal headers").into_parts().0
}

const CAREFUL: &[(&str, &str)] = &[
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "private, max-age=0, must-revalidate"),
    ("etag", "W/\"5f2b-18c7a1f3d40\""),
    ("last-modified", "Mon, 02 Sep 2024 10:11:12 GMT"),
    ("vary", "accept-encoding, cookie"),
    ("content-security-policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"),
    ("strict-transport-security", "max-age=63072000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
    ("set-cookie", "session=9f86d081884c7d659a2feaa0c55ad015; Path=/; HttpOnly; Secure; SameSite=Lax"),
    ("set-cookie", "visits=43; Path=/; Max-Age=31536000"),
];
