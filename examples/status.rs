//! A status page and a ping, as PHP-FPM has them: `/ping`, and `/status` as text, as JSON (`?json`, or by Accept) or
//! for Prometheus (`?prometheus`, or by Accept).

use fcgi::http::header::ACCEPT;
use fcgi::http::{Request, Response, Result, StatusCode};
use fcgi::{Body, SendBody, Server, Snapshot};
use serde_json::json;

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
    let mut page = json!({});
    for (name, reason, n) in rows {
        match reason {
            None => page[name] = json!(n),
            Some(reason) => page[name][reason] = json!(n),
        }
    }
    page.to_string()
}

fn prometheus(rows: &[Row]) -> String {
    let (mut page, mut last) = (String::new(), "");
    for (name, reason, n) in rows {
        if std::mem::replace(&mut last, name) != *name {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            page += &format!("# TYPE fcgi_{name} {kind}\n");
        }
        let label = reason.map(|reason| format!("{{reason=\"{reason}\"}}")).unwrap_or_default();
        page += &format!("fcgi_{name}{label} {n}\n");
    }
    page
}

/// What is asked for in the query counts before what the client says it takes.
fn status(now: &Snapshot, request: &Request<Body>) -> (&'static str, String) {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let asked = request.uri().query().or(accept).unwrap_or_default();
    let rows = rows(now);
    if asked.contains("json") {
        ("application/json", json(&rows))
    } else if asked.contains("prometheus") || asked.contains("version=0.0.4") {
        ("text/plain; version=0.0.4", prometheus(&rows))
    } else {
        ("text/plain; charset=utf-8", text(&rows))
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
