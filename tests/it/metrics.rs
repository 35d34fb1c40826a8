//! Verifies that each counter of a server moves when what it counts happens, and that slow requests are reported.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fcgi::http::{Request, Response};
use fcgi::{Body, Listener, Metrics, RequestExt, Server, Snapshot};

use crate::demo::{wait_until, Demo, PATIENCE};
use crate::peer::record::{self, AUTHORIZER, FILTER, PARAMS, RESPONDER, STDIN};
use crate::peer::{Connection, Request as Sent};

const SOON: Duration = Duration::from_millis(50);

/// A server in this process, so that its counters can be read without asking it over the wire.
struct Site {
    metrics: Metrics,
    address: String,
}

impl Site {
    fn connect(&self) -> Connection {
        Connection::open(&self.address)
    }

    /// Waits until the counters are as they should be: some change a moment after the answer was sent.
    fn wait_for(&self, what: &str, is_so: impl Fn(&Snapshot) -> bool) -> Snapshot {
        wait_until(what, || is_so(&self.metrics.snapshot()));
        self.metrics.snapshot()
    }
}

/// Runs a scenario with a server, and gives the counters after its end.
fn with(server: Server, scenario: impl FnOnce(&Site)) -> Snapshot {
    let running = server.spawn(Listener::bind("127.0.0.1:0").unwrap()).unwrap();
    let site = Site { metrics: running.metrics(), address: running.address().to_string() };
    scenario(&site);
    running.shutdown().signal();
    running.join().unwrap();
    site.metrics.snapshot()
}

/// `/hello` answers; anything else waits until it is cancelled.
fn hello_or_wait(request: Request<Body>) -> Response<&'static str> {
    if request.uri().path() != "/hello" {
        request.cancellation().wait(PATIENCE);
    }
    Response::new("hello, world\n")
}

fn server() -> Server {
    Server::new().responder(hello_or_wait)
}

/// The reasons of which something was counted.
fn counted(reasons: impl Iterator<Item = (&'static str, u64)>) -> Vec<(&'static str, u64)> {
    reasons.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn connections_and_their_bytes_are_counted() {
    let mut expected = (0, 0);
    let after = with(server(), |site| {
        let (_idle, mut busy) = (site.connect(), site.connect());
        // One answer is sent by a worker, the other by the reader.
        let question = record::get_values(&["FCGI_MAX_REQS"]);
        let request = [question, Sent::detached(1).get("/hello").closing().bytes()].concat();
        busy.send(&request);
        site.wait_for("two connections", |now| (now.open_connections, now.accepted_connections) == (2, 2));
        let lens = std::iter::repeat_with(|| busy.receive_once().len()).take_while(|len| *len > 0);
        expected = (request.len() as u64, lens.sum::<usize>() as u64);
        drop(busy);
        let now = site.wait_for("one connection", |now| now.open_connections == 1);
        assert_eq!((now.accepted_connections, now.completed_requests, now.active_requests), (2, 1, 0));
        assert!(now.uptime > Duration::ZERO);
    });
    assert_eq!((after.bytes_in, after.bytes_out), expected);
    assert_eq!((after.open_connections, after.accepted_connections, after.refused_connections), (0, 2, 0));
    assert_eq!((after.uptime, after.busy_workers, after.idle_workers), (Duration::ZERO, 0, 0), "it is over");
}

#[test]
fn a_peer_that_may_not_connect_is_counted() {
    let server = server().allow_address("192.0.2.0/24").unwrap();
    let after = with(server, |site| {
        site.connect().assert_closed();
        site.wait_for("the refusal", |now| now.refused_connections == 1);
    });
    assert_eq!((after.accepted_connections, after.open_connections), (0, 0));
}

#[test]
fn a_request_is_queued_then_running_then_completed() {
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let handler = move |_: Request<Body>| {
        released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Response::new("released\n")
    };
    let after = with(Server::new().responder(handler).workers(2).queue(1), |site| {
        let mut connection = site.connect();
        let oldest = Sent::detached(1).get("/oldest");
        connection.send(&oldest.begin());
        connection.request(2).get("/first?of=two").send();
        site.wait_for("a worker for the first", |now| now.busy_workers == 1);
        connection.request(3).get("/second").send();
        site.wait_for("a worker for the second", |now| now.busy_workers == 2);
        connection.send(&[record::stream(PARAMS, 1, &oldest.params()), record::end_of_stream(PARAMS, 1)].concat());
        let now = site.wait_for("the oldest in the queue", |now| now.queued_requests == 1);
        assert_eq!((now.active_requests, now.busy_workers, now.idle_workers), (3, 2, 0));
        let longest = now.longest_request.unwrap();
        assert_eq!(
            (longest.method.as_str(), longest.uri.as_str(), longest.role),
            ("GET", "/first?of=two", "responder")
        );
        assert!(longest.age > Duration::ZERO && longest.age < PATIENCE);
        (0..3).for_each(|_| release.send(()).unwrap());
        (1..=3).for_each(|id| assert_eq!(connection.answer(id).text(), "released\n"));
        let now = site.wait_for("idle workers", |now| now.idle_workers == 2);
        assert_eq!((now.active_requests, now.queued_requests, now.busy_workers), (0, 0, 0));
        assert_eq!((now.completed_requests, now.longest_request), (3, None));
    });
    assert_eq!((after.cancelled_requests, after.rejected_requests, after.failed_requests), (0, 0, 0));
}

#[test]
fn what_panics_behind_an_answer_costs_neither_the_answer_nor_the_connection() {
    /// Panics when the response that has it is dropped.
    #[derive(Clone)]
    struct Mine;
    impl Drop for Mine {
        fn drop(&mut self) {
            panic!("the test's extension panics");
        }
    }
    let handler = |_: Request<Body>| Response::builder().extension(Mine).body("");
    let after = with(Server::new().responder(handler), |site| {
        let mut connection = site.connect();
        for _ in 0..2 {
            connection.request(1).get("/").send();
            assert_eq!(connection.answer(1).status, 200);
        }
        site.wait_for("its end", |now| now.busy_workers == 0);
    });
    assert_eq!((after.active_requests, after.completed_requests), (0, 2));
}

#[test]
fn a_request_that_is_given_up_in_the_queue_is_not_left_in_it() {
    with(server().workers(1).queue(1), |site| {
        let mut connection = site.connect();
        connection.request(1).get("/wait").send();
        connection.request(2).get("/hello").send();
        site.wait_for("the second in the queue", |now| now.queued_requests == 1);
        connection.abort(2);
        connection.ending(2);
        let now = site.wait_for("the first alone", |now| now.active_requests == 1);
        assert_eq!((now.queued_requests, now.busy_workers, now.cancelled.aborted), (0, 1, 1));
        connection.abort(1);
        connection.ending(1);
        let now = site.wait_for("the end of both", |now| now.active_requests == 0);
        assert_eq!((now.queued_requests, now.busy_workers, now.completed_requests), (0, 0, 1));
        assert_eq!(counted(now.cancelled.iter()), [("aborted", 2)]);
    });
}

#[test]
fn every_refusal_is_counted_by_its_reason() {
    let many_headers = |connection: &mut Connection| {
        let request = connection.request(1).get("/hello");
        (0..40_000).fold(request, |request, n| request.also(&format!("HTTP_X_{n}"), "")).send();
    };
    let rows: [(&str, Server, u64, &dyn Fn(&mut Connection)); 11] = [
        ("overloaded", server().workers(1).queue(0), 2, &|connection| {
            connection.request(1).get("/wait").send();
            connection.request(2).get("/hello").send();
            connection.request(3).get("/hello").send();
        }),
        ("overloaded", server().max_requests(2), 1, &|connection| {
            (1..=3).for_each(|id| connection.request(id).get("/wait").send());
        }),
        ("cannot_multiplex", server().max_requests(1), 1, &|connection| {
            (1..=2).for_each(|id| connection.request(id).get("/wait").send());
        }),
        ("malformed", server(), 1, &|connection| {
            let cut = record::stream(PARAMS, 1, b"\x05\x05cut");
            let params = [record::begin(1, RESPONDER, true), cut, record::end_of_stream(PARAMS, 1)];
            connection.send(&params.concat());
        }),
        ("malformed", server(), 1, &|connection| {
            connection.send(&[record::begin(1, RESPONDER, true), record::stream(STDIN, 1, b"early")].concat());
        }),
        ("malformed", server(), 1, &|connection| connection.request(1).without("REQUEST_METHOD").send()),
        ("params_too_large", server().max_params(1000), 1, &|connection| {
            connection.request(1).get("/hello").param("HTTP_X", &"x".repeat(1000)).send();
        }),
        ("params_too_large", server(), 1, &many_headers),
        ("params_timed_out", server().read_timeout(SOON), 1, &|connection| {
            connection.send(&record::begin(1, RESPONDER, true));
        }),
        ("body_too_large", server().max_body(4), 1, &|connection| {
            connection.request(1).post("/hello").body(b"large").send();
        }),
        ("unknown_role", server(), 3, &|connection| {
            connection.request(1).role(AUTHORIZER).get("/").send();
            connection.request(2).role(FILTER).get("/").send();
            connection.send(&record::begin(3, 9, true));
        }),
    ];
    for (reason, server, count, misbehave) in rows {
        let after = with(server.shutdown_grace(Duration::ZERO), |site| {
            let mut connection = site.connect();
            misbehave(&mut connection);
            site.wait_for(reason, |now| counted(now.rejected.iter()) == [(reason, count)]);
            // The shutdown refuses what waits for a worker.
            site.wait_for("workers for the others", |now| now.queued_requests == 0);
        });
        assert_eq!((after.rejected_requests, after.failed_requests), (count, 0), "{reason}");
        assert_eq!((after.active_requests, after.queued_requests, after.busy_workers), (0, 0, 0), "{reason}");
    }
}

#[test]
fn every_cancellation_is_counted_by_its_reason() {
    let rows: [(&str, Server, &dyn Fn(&mut Connection)); 4] = [
        ("aborted", server(), &|connection| connection.abort(1)),
        ("disconnected", server(), &Connection::half_close),
        ("deadline", server().request_timeout(SOON), &|_| ()),
        ("shutdown", server().shutdown_grace(SOON), &|_| ()),
    ];
    for (reason, server, leave) in rows {
        let mut open = None;
        let after = with(server, |site| {
            let connection = open.insert(site.connect());
            connection.request(1).get("/wait").send();
            site.wait_for("a worker", |now| now.busy_workers == 1);
            leave(connection);
        });
        assert_eq!(counted(after.cancelled.iter()), [(reason, 1)]);
        assert_eq!(
            (after.cancelled_requests, after.completed_requests, after.rejected_requests),
            (1, 1, 0),
            "{reason}"
        );
        assert_eq!((after.active_requests, after.busy_workers), (0, 0), "{reason}");
    }
}

#[test]
fn a_handler_that_fails_is_counted_and_one_whose_input_does_is_not() {
    let handler = |mut request: Request<Body>| {
        let large = "x".repeat(20_000);
        match request.uri().path() {
            "/error" => Err("an error".into()),
            "/panic" => panic!("the test's handler panics"),
            "/head" => {
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::builder().header("x", large).body("")?)
            }
            _ => {
                std::io::copy(request.body_mut(), &mut std::io::sink())?;
                Ok(Response::new("read\n"))
            }
        }
    };
    with(Server::new().responder(handler).max_body(4), |site| {
        let mut connection = site.connect();
        for (n, target) in (1..).zip(["/error", "/panic", "/head"]) {
            connection.request(1).get(target).send();
            assert_eq!(connection.answer(1).status, 500);
            let now = site.metrics.snapshot();
            assert_eq!((now.failed_requests, now.completed_requests), (n, n), "{target}");
        }
        connection.request(1).post("/read").undeclared(b"large").send();
        assert_eq!(connection.answer(1).status, 413);
        let now = site.metrics.snapshot();
        assert_eq!((now.failed_requests, now.completed_requests, now.rejected_requests), (3, 4, 0));
    });
}

/// How often a request is in the log of slow ones.
fn reports(demo: &Demo, target: &str) -> usize {
    demo.log().matches(&format!("GET {target} (responder) has been running for ")).count()
}

/// Waits until the clock has closed an idle connection: it has come by.
fn wait_for_the_clock(demo: &Demo) {
    let mut idle = demo.connect();
    idle.assert_usable();
    idle.assert_closed();
}

#[test]
fn a_slow_request_is_reported_once() {
    let demo = Demo::unix(&["--slow-request", "50", "--idle-timeout", "200"]);
    let mut connection = demo.connect();
    for (id, target) in [(1, "/wait-abort?first"), (2, "/wait-abort?second")] {
        connection.request(id).get(target).send();
        wait_until("the report", || reports(&demo, target) > 0);
    }
    wait_for_the_clock(&demo);
    let counts = ["/wait-abort?first", "/wait-abort?second"].map(|target| reports(&demo, target));
    assert_eq!(counts, [1, 1], "{}", demo.log());
}

#[test]
fn a_request_that_waits_for_a_worker_is_not_slow_before_it_has_one() {
    let demo = Demo::unix(&["--slow-request", "50", "--idle-timeout", "200", "--workers", "1"]);
    let mut connection = demo.connect();
    connection.request(1).get("/wait-abort?first").send();
    connection.request(2).get("/wait-abort?second").send();
    wait_until("the report of the first", || reports(&demo, "/wait-abort?first") == 1);
    wait_for_the_clock(&demo);
    assert_eq!(demo.log().lines().count(), 1, "{}", demo.log());
    connection.abort(1);
    wait_until("the report of the second", || reports(&demo, "/wait-abort?second") == 1);
}

#[test]
fn no_request_is_slow_unless_it_is() {
    for options in [&["--idle-timeout", "100"][..], &["--idle-timeout", "100", "--slow-request", "60000"]] {
        let demo = Demo::unix(options);
        let mut connection = demo.connect();
        connection.request(1).get("/wait-abort").send();
        wait_for_the_clock(&demo);
        assert_eq!(demo.log(), "");
    }
}
