//! The clock of a server: one thread that ends what has waited too long.
//!
//! Deadlines cost the other threads a store to memory, and no system call: this thread looks at them now and then.
//! What is late is noticed within a quarter of the shortest time-out, or a second.

use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, warn};

use crate::connection::Connection;
use crate::protocol::Refusal;
use crate::request::exchange::Exchange;
use crate::request::signal::CancelReason;
use crate::runtime::pool::TRIM_TIME;
use crate::runtime::state::Shared;
use crate::settings::Settings;

/// How long a connection that we have closed may go on sending what it is in the middle of. A web server that
/// passes on an upload as its client sends it needs a while until it sees that nobody wants it.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// How long such a connection may be silent.
const SILENT_DRAIN_TIME: Duration = Duration::from_secs(2);

const SHORTEST_TICK: Duration = Duration::from_millis(5);
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// The life of the clock's thread.
pub(crate) fn run(server: &Arc<Shared>) {
    let tick = tick(&server.settings);
    let mut trimmed = Instant::now();
    while !server.is_stopped() {
        if !server.has_threads() {
            server.connections.wait_for_one(|| server.is_stopped());
        }
        server.connections.wait_for_tick(tick, || server.is_stopped());
        let now = Instant::now();
        server.connections.all().iter().for_each(|connection| check(connection, now));
        if now.saturating_duration_since(trimmed) >= TRIM_TIME {
            trimmed = now;
            server.trim_threads();
        }
    }
}

fn tick(settings: &Settings) -> Duration {
    let times = [settings.read_timeout, settings.write_timeout, settings.idle_timeout];
    let optional = [settings.request_timeout, settings.slow_request].into_iter().flatten();
    let shortest = times.into_iter().chain(optional).min().unwrap_or(LONGEST_TICK);
    (shortest / 4).clamp(SHORTEST_TICK, LONGEST_TICK)
}

fn check(connection: &Arc<Connection>, now: Instant) {
    let settings = &connection.server.settings;
    check_requests(connection, now);
    if connection.outbox.is_stuck(now, settings.write_timeout) {
        warn!("connection {}: the web server reads nothing; closed", connection.number());
        connection.shut();
    }
    let has = |since: u64, passed: Duration| {
        since != 0 && u128::from(connection.server.millis(now).saturating_sub(since)) >= passed.as_millis()
    };
    let times = &connection.times;
    let draining = times.draining.load(Ordering::Relaxed);
    let silent_since = draining.max(times.activity.load(Ordering::Relaxed));
    let is_drained = has(draining, DRAIN_TIME) || has(silent_since, SILENT_DRAIN_TIME);
    if draining != 0 && is_drained && connection.outbox.is_closed() {
        connection.socket.shutdown(Shutdown::Both);
    }
    let is_idle = !connection.has_requests();
    if !is_idle {
        connection.touch(now);
    }
    if is_idle && has(times.cut_record.load(Ordering::Relaxed), settings.read_timeout) {
        debug!("connection {}: the web server stopped inside a record; closed", connection.number());
        connection.shut();
    }
    if is_idle && has(times.activity.load(Ordering::Relaxed), settings.idle_timeout) {
        debug!("connection {}: idle; closed", connection.number());
        connection.close_when_idle();
    }
}

fn check_requests(connection: &Arc<Connection>, now: Instant) {
    let settings = &connection.server.settings;
    let (refused, overdue_inputs) = connection.with_requests(|requests| requests.overdue(now, settings.read_timeout));
    refused.into_iter().for_each(|refused| connection.refuse_now(refused));
    overdue_inputs.iter().for_each(|exchange| exchange.end_overdue_input());
    settings.slow_request.into_iter().for_each(|slow| report_slow(connection, now, slow));
    let Some(request_timeout) = settings.request_timeout else { return };
    let is_overdue = |exchange: &Exchange| exchange.age(now) >= request_timeout;
    cancel(connection, CancelReason::Deadline, is_overdue);
}

fn report_slow(connection: &Connection, now: Instant, slow: Duration) {
    for (_, exchange) in connection.active() {
        if exchange.is_running() && exchange.age(now) >= slow && exchange.report_once() {
            warn!("{}", exchange.describe(connection.number(), now));
        }
    }
}

/// Cancels the active requests for which `is_due`, and answers those that no worker has; how many those are.
pub(crate) fn cancel(connection: &Arc<Connection>, reason: CancelReason, is_due: impl Fn(&Exchange) -> bool) -> u64 {
    let mut n_cancelled = 0;
    for (ticket, exchange) in connection.active().into_iter().filter(|(_, exchange)| is_due(exchange)) {
        n_cancelled += 1;
        if let Some(completed) = connection.cancel(ticket, &exchange, reason) {
            connection.refuse_now(completed.refused(Refusal::Overloaded));
        }
    }
    n_cancelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_ticks_as_often_as_its_shortest_deadline_needs() {
        let rows = [(60_000, 1000), (400, 100), (1, 5)];
        for (time, expected) in rows.map(|(time, expected)| (Duration::from_millis(time), expected)) {
            for settings in [
                Settings { read_timeout: time, ..Settings::default() },
                Settings { slow_request: Some(time), ..Settings::default() },
            ] {
                assert_eq!(tick(&settings), Duration::from_millis(expected));
            }
        }
    }
}
