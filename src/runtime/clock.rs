//! The clock of a server: one thread that ends what has waited too long.
//!
//! Deadlines cost the other threads a store to memory, and no system call: this thread looks at them now and then.
//! What is late is noticed within a quarter of the shortest time-out, or a second.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pool::TRIM_TIME;
use super::state::State;
use crate::connection::Connection;
use crate::journal::note;
use crate::protocol::Refusal;
use crate::request::{Cancel, RequestState};
use crate::settings::Settings;

/// How long a connection that we have closed may go on sending what it is in the middle of. A web server that
/// passes on an upload as its client sends it needs a while until it sees that nobody wants it.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// How long such a connection may be silent.
const SILENT_DRAIN_TIME: Duration = Duration::from_secs(2);

const SHORTEST_TICK: Duration = Duration::from_millis(5);
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// The life of the clock's thread.
pub(crate) fn run(state: &State) {
    let connections = &state.connections;
    let tick = tick(&state.context.settings);
    let mut trimmed = Instant::now();
    while !state.is_stopped() {
        if !state.has_threads() {
            connections.wait_for_one(|| state.is_stopped());
        }
        connections.wait_for_tick(tick, || state.is_stopped());
        let now = Instant::now();
        connections.all().iter().for_each(|connection| check(state, connection, now));
        state.workers.sweep();
        if now.saturating_duration_since(trimmed) >= TRIM_TIME {
            trimmed = now;
            state.trim_threads();
        }
    }
}

fn tick(settings: &Settings) -> Duration {
    let times = [settings.read_timeout, settings.idle_timeout];
    let optional = [settings.request_timeout, settings.slow_request].into_iter().flatten();
    let shortest = times.into_iter().chain(optional).min().unwrap_or(LONGEST_TICK);
    (shortest / 4).clamp(SHORTEST_TICK, LONGEST_TICK)
}

fn check(state: &State, connection: &Arc<Connection>, now: Instant) {
    let settings = &connection.context.settings;
    check_requests(state, connection, now);
    let has = |since: u64, passed: Duration| {
        since != 0 && u128::from(connection.context.millis(now).saturating_sub(since)) >= passed.as_millis()
    };
    let times = &connection.times;
    let draining = times.draining.load(Ordering::Relaxed);
    let silent_since = draining.max(times.activity.load(Ordering::Relaxed));
    let is_drained = has(draining, DRAIN_TIME) || has(silent_since, SILENT_DRAIN_TIME);
    if draining != 0 && !connection.is_closed() {
        // Its time begins when its last response has been sent.
        times.draining.store(connection.context.millis(now), Ordering::Relaxed);
    } else if draining != 0 && is_drained {
        connection.stop_reading();
    }
    if connection.is_half_closed() && connection.socket().is_hung_up() {
        cancel(state, connection, Cancel::Lost, |_| true);
    }
    if connection.has_requests() {
        connection.touch(now);
    } else if has(times.cut_record.load(Ordering::Relaxed), settings.read_timeout) {
        note!(
            connection.context.journal,
            Debug,
            "connection {}: the web server stopped inside a record; closed",
            connection.number()
        );
        state.carry_on(connection.close_when_idle());
    } else if has(times.activity.load(Ordering::Relaxed), settings.idle_timeout) {
        note!(connection.context.journal, Debug, "connection {}: idle; closed", connection.number());
        state.carry_on(connection.close_when_idle());
    }
}

fn check_requests(state: &State, connection: &Arc<Connection>, now: Instant) {
    let settings = &connection.context.settings;
    let for_params = settings.request_timeout.map_or(settings.read_timeout, |time| time.min(settings.read_timeout));
    let (refused, overdue_inputs) =
        connection.with_requests(|requests| requests.overdue(now, for_params, settings.read_timeout));
    refused.into_iter().for_each(|refused| state.carry_on(connection.refuse(refused)));
    overdue_inputs.iter().for_each(|request| request.end_overdue_input());
    settings.slow_request.into_iter().for_each(|slow| report_slow(connection, now, slow));
    let Some(request_timeout) = settings.request_timeout else { return };
    cancel(state, connection, Cancel::Deadline, |request| request.age(now) >= request_timeout);
}

fn report_slow(connection: &Connection, now: Instant, slow: Duration) {
    for (_, request) in connection.active() {
        if request.is_running() && request.age(now) >= slow && request.report_once() {
            note!(connection.context.journal, Warn, "{}", request.describe(connection.number(), now));
        }
    }
}

/// Cancels the active requests for which `is_due`, and answers those that no worker has; how many those are.
pub(crate) fn cancel(
    state: &State,
    connection: &Arc<Connection>,
    cancel: Cancel,
    is_due: impl Fn(&RequestState) -> bool,
) -> u64 {
    let mut n_cancelled = 0;
    for (key, request) in connection.active().into_iter().filter(|(_, request)| is_due(request)) {
        n_cancelled += 1;
        if let Some(completed) = state.cancel(connection, key, &request, cancel) {
            let refusal = if cancel == Cancel::Deadline { Refusal::Overdue } else { Refusal::Overloaded };
            state.carry_on(connection.refuse(completed.refused(refusal)));
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
