//! The requests that the micro-benchmarks measure with.

use crate::Request;

/// 22 meta-variables as nginx sends them, as many as a browser's headers add to them, or a body of 64 KiB.
pub const NAMES: &[&str] = &["small", "browser", "upload"];

/// The request of that name.
#[must_use]
pub fn named(name: &str) -> Request<'static> {
    let small = Request { path: "/hello", query: "", body_len: 0, keep_conn: true, more_params: &[] };
    match name {
        "browser" => Request { path: "/search", query: "q=common+gateway&page=2", more_params: BROWSER, ..small },
        "upload" => Request { path: "/upload", body_len: 64 << 10, ..small },
        _ => small,
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
