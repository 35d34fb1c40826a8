//! The crate's inner parts without IO: time, and allocations, of what one request costs in each.

use std::hint::black_box;

use divan::{AllocProfiler, Bencher};
use fcgi::benchmarking::{decode, find_pairs, map_request, write_head, Connection};
use fcgi::http::response::{Parts, Response};
use fcgi_benches::Request;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// What the requests are like.
const REQUESTS: &[&str] = &["small", "browser", "upload"];

/// 22 meta-variables as nginx sends them; as many headers as a browser adds to them; or a body of 64 KiB.
fn request(name: &str) -> Request<'static> {
    let small = Request { path: "/hello", query: "", body_len: 0, keep_conn: true, more_params: &[] };
    match name {
        "small" => small,
        "browser" => {
            Request { path: "/search/results", query: "q=fast+common+gateway&page=2", more_params: BROWSER, ..small }
        }
        _ => Request { path: "/upload", body_len: 64 << 10, ..small },
    }
}

/// What a browser sends, with the cookies of a site that has many.
const BROWSER: &[(&str, &str)] = &[
    ("HTTPS", "on"),
    ("HTTP_CONNECTION", "keep-alive"),
    ("HTTP_CACHE_CONTROL", "max-age=0"),
    ("HTTP_SEC_CH_UA", "\"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\""),
    ("HTTP_SEC_CH_UA_MOBILE", "?0"),
    ("HTTP_SEC_CH_UA_PLATFORM", "\"Linux\""),
    ("HTTP_UPGRADE_INSECURE_REQUESTS", "1"),
    (
        "HTTP_USER_AGENT",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    ),
    ("HTTP_SEC_FETCH_SITE", "same-origin"),
    ("HTTP_SEC_FETCH_MODE", "navigate"),
    ("HTTP_SEC_FETCH_USER", "?1"),
    ("HTTP_SEC_FETCH_DEST", "document"),
    ("HTTP_REFERER", "https://app.example/search?q=common+gateway+interface"),
    ("HTTP_ACCEPT_ENCODING", "gzip, deflate, br, zstd"),
    ("HTTP_ACCEPT_LANGUAGE", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("HTTP_IF_NONE_MATCH", "W/\"5f2b-18c7a1f3d40\""),
    ("HTTP_IF_MODIFIED_SINCE", "Mon, 02 Sep 2024 10:11:12 GMT"),
    ("HTTP_X_REQUEST_ID", "0f8c2d1e-77b4-4c0c-9f5e-3a1d2b4c6e80"),
    (
        "HTTP_COOKIE",
        "session=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08; theme=dark; consent=all; \
         csrf=2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae; visits=42; region=eu-central-1; \
         experiments=a:1,b:0,c:2,d:1; last_seen=2024-09-02T10%3A11%3A12Z; cart=%5B%7B%22id%22%3A17%7D%5D",
    ),
];

#[divan::bench(args = REQUESTS)]
fn decoder(bencher: Bencher<'_, '_>, name: &str) {
    let session = request(name).records(1);
    bencher.bench(|| decode(black_box(&session)));
}

#[divan::bench(args = REQUESTS)]
fn name_value_pairs(bencher: Bencher<'_, '_>, name: &str) {
    let params = request(name).params();
    bencher.bench(|| find_pairs(black_box(&params)));
}

#[divan::bench(args = REQUESTS)]
fn request_mapping(bencher: Bencher<'_, '_>, name: &str) {
    let params = request(name).params();
    bencher.with_inputs(|| params.clone()).bench_values(map_request);
}

/// The life of a request, from BEGIN_REQUEST until it leaves the map, on a connection that has had others.
#[divan::bench(args = REQUESTS)]
fn demultiplexer(bencher: Bencher<'_, '_>, name: &str) {
    let session = request(name).records(1);
    let mut connection = Connection::default();
    bencher.bench_local(|| connection.serve(black_box(&session)));
}

/// 16 requests side by side.
#[divan::bench]
fn demultiplexer_of_16(bencher: Bencher<'_, '_>) {
    let session: Vec<_> = (1..=16).flat_map(|id| request("small").records(id)).collect();
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
