//! A status page and a ping, as PHP-FPM has them: `/ping`, and `/status` as text, as JSON (`?json`, or by Accept) or
//! for Prometheus (`?prometheus`, or by Accept).

use fcgi::http::header::ACCEPT;
use fcgi::http::{Request, Response, Result, StatusCode};
use fcgi::{Body, SendBody, Server, Snapshot};

type Row = (&'static str, Option<&'static str>, u64);

/// The numbers of the page, each with the reason that it is for, if it is for one.
fn rows(now: &Snapshot) -> Vec<Row> {
    let longest = now.longest_request.as_ref().map_or(0, |request| request.age.as_secs());
    let mut rows = vec![
        ("uptime_seconds", None, now.uptime.as_secs()),
        ("accepted_connections_total", None, now.accepted_connections),
        ("open_connections", None, now.open_connections),
        ("queued_requests", None, now.queued_requests),
        ("active_requests", None, now.active_requests),
        ("busy_workers", None, now.busy_workers),
        ("idle_workers", None, now.idle_workers),
        ("completed_requests_total", None, now.completed_requests),
        ("failed_requests_total", None, now.failed_requests),
        ("bytes_in_total", None, now.bytes_in),
        ("bytes_out_total", None, now.bytes_out),
        ("longest_request_seconds", None, longest),
    ];
    rows.extend(now.cancelled.iter().map(|(reason, n)| ("cancelled_requests_total", Some(reason), n)));
    rows.extend(now.rejected.iter().map(|(reason, n)| ("rejected_requests_total", Some(reason), n)));
    rows
}

fn text(rows: &[Row]) -> String {
    let line = |(name, reason, n): &Row| match reason {
        None => format!("{name}: {n}\n"),
        Some(reason) => format!("{name} {reason}: {n}\n"),
    };
    rows.iter().map(line).collect()
}

fn json(rows: &[Row]) -> String {
    let member = |(name, reason, n): &Row| (reason.map_or(name.to_string(), |reason| format!("{name}_{reason}")), *n);
    serde_json::to_string(&rows.iter().map(member).collect::<std::collections::BTreeMap<_, _>>()).unwrap_or_default()
}

fn prometheus(rows: &[Row]) -> String {
    let label = |reason: &Option<&str>| reason.map_or(String::new(), |reason| format!("{{reason=\"{reason}\"}}"));
    rows.iter().map(|(name, reason, n)| format!("fcgi_{name}{} {n}\n", label(reason))).collect()
}

fn status(now: &Snapshot, request: &Request<Body>) -> (&'static str, String) {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    match request.uri().query() {
        Some("json") => ("application/json", json(&rows(now))),
        Some("prometheus") => ("text/plain; version=0.0.4", prometheus(&rows(now))),
        _ if accept.contains("application/json") => ("application/json", json(&rows(now))),
        _ if accept.contains("version=0.0.4") => ("text/plain; version=0.0.4", prometheus(&rows(now))),
        _ => ("text/plain; charset=utf-8", text(&rows(now))),
    }
}

fn main() -> fcgi::Result<()> {
    let server = Server::new();
    let metrics = server.metrics();
    let respond = move |request: Request<Body>| -> Result<Response<SendBody>> {
        let (content_type, page) = match request.uri().path() {
            "/ping" => ("text/plain", "pong\n".to_owned()),
            "/status" => status(&metrics.snapshot(), &request),
            _ => return Response::builder().status(StatusCode::NOT_FOUND).body("no such page\n".into()),
        };
        Response::builder().header("content-type", content_type).header("cache-control", "no-store").body(page.into())
    };
    server.responder(respond).serve_inherited()?;
    Ok(())
}
