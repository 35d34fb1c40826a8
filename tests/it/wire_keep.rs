//! Verifies when connections stay open, when they close, and that closing loses nothing.

use crate::demo::{over_both, wait_until, Demo};
use crate::peer::Request;

#[test]
fn a_kept_connection_serves_on() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for n in 0..100 {
            connection.request(1).get(&format!("/bytes?n={n}")).send();
            assert_eq!(connection.answer(1).body.len(), n);
        }
        connection.assert_usable();
    });
}

#[test]
fn without_keep_conn_the_connection_closes_behind_the_answer() {
    over_both(&[], |demo| {
        for target in ["/hello", "/bytes?n=300000", "/status/204", "/panic", "/stderr?text=T"] {
            let mut connection = demo.connect();
            connection.request(1).get(target).closing().send();
            connection.answer(1);
            connection.assert_closed();
        }
    });
}

#[test]
fn the_last_of_many_requests_closes_the_connection() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for _ in 0..3 {
            connection.request(1).get("/hello").send();
            connection.answer(1);
        }
        connection.request(1).get("/hello").closing().send();
        assert_eq!(connection.answer(1).text(), "hello, world\n");
        connection.assert_closed();
    });
}

#[test]
fn closing_loses_nothing_when_a_large_body_is_unread() {
    over_both(&[], |demo| {
        for (target, body) in [("/hello", "hello, world\n"), ("/ignore?ms=50", "ignored\n")] {
            for _ in 0..10 {
                let mut connection = demo.connect();
                connection.request(1).post(target).body(&vec![b'x'; 1 << 20]).closing().send();
                assert_eq!(connection.answer(1).text(), body);
                connection.assert_closed();
            }
        }
    });
}

#[test]
fn closing_does_not_wait_for_the_rest_of_a_body() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        connection.request(1).post("/hello").body(&[b'x'; 1000]).closing().send_head();
        assert_eq!(connection.answer(1).text(), "hello, world\n");
        // The web server has stopped sending; nginx waits for this end before it does anything else.
        connection.assert_closed();
    });
}

#[test]
fn a_refused_request_closes_in_the_same_way() {
    over_both(&["--max-body", "1000", "--max-params", "2000"], |demo| {
        let mut connection = demo.connect();
        connection.request(1).post("/hello").body(&[b'x'; 60_000]).closing().send();
        assert_eq!(connection.answer(1).status, 413);
        connection.assert_closed();
        let mut connection = demo.connect();
        connection.request(1).get("/hello").param("LONG", &"x".repeat(60_000)).closing().send();
        assert_eq!(connection.answer(1).status, 431);
        connection.assert_closed();
    });
}

#[test]
fn a_body_that_was_refused_is_drained_however_large_it_is() {
    over_both(&["--max-body", "1000"], |demo| {
        let (mut connection, body) = (demo.connect(), vec![b'x'; 4 << 20]);
        connection.request(1).post("/hello").body(&body).closing().send_head();
        wait_until("the refusal", || demo.counter("rejected_requests") == 1 && demo.counter("active_requests") == 1);
        connection.stdin(1, &body);
        connection.end_stdin(1);
        assert_eq!(connection.answer(1).status, 413);
        connection.assert_closed();
    });
}

#[test]
fn a_connection_that_ends_after_a_pause_is_noticed() {
    over_both(&[], |demo| {
        let (mut first, second) = (demo.connect(), demo.connect());
        first.request(1).get("/hello").closing().send();
        assert_eq!(first.answer(1).text(), "hello, world\n");
        drop((first, second));
        // This is asked on one of its own.
        wait_until("the end of both", || demo.counter("open_connections") == 1);
    });
}

#[test]
fn a_web_server_that_half_closed_still_gets_its_answer() {
    over_both(&[], |demo| {
        for target in ["/hello", "/sleep?ms=50", "/bytes?n=1000000"] {
            let mut connection = demo.connect();
            connection.request(1).get(target).send();
            connection.half_close();
            assert_eq!(connection.answer(1).status, 200);
            connection.assert_closed();
        }
    });
}

#[test]
fn a_half_closed_connection_finishes_all_its_requests() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        for id in 1..=5 {
            connection.request(id).get(&format!("/sleep?ms={}", 10 * id)).send();
        }
        connection.half_close();
        for id in 1..=5 {
            assert_eq!(connection.answer(id).text(), format!("slept {} ms\n", 10 * id));
        }
        connection.assert_closed();
    });
}

#[test]
fn requests_that_end_together_on_a_closing_connection_all_get_their_answers() {
    over_both(&[], |demo| {
        for round in 0..200 {
            let mut connection = demo.connect();
            let requests: Vec<_> = (1..=8).map(|id| Request::detached(id).get("/sleep?ms=2").closing()).collect();
            // All are begun before one can end, because the first to end closes the connection for new ones.
            let begins = requests.iter().map(Request::begin);
            let rests = requests.iter().map(|request| request.bytes().split_off(request.begin().len()));
            connection.send(&begins.chain(rests).collect::<Vec<_>>().concat());
            if round % 2 == 0 {
                connection.half_close();
            }
            (1..=8).for_each(|id| assert_eq!(connection.answer(id).text(), "slept 2 ms\n"));
            connection.assert_closed();
        }
    });
}

#[test]
fn an_answer_cut_short_takes_no_other_answer_with_it() {
    over_both(&[], |demo| {
        for _ in 0..500 {
            let mut connection = demo.connect();
            let whole = (1..=4).map(|id| Request::detached(id).get("/hello").bytes());
            let cut = Request::detached(5).get("/lie?declared=10&sent=5").bytes();
            connection.send(&whole.chain([cut]).collect::<Vec<_>>().concat());
            (1..=4).for_each(|id| assert_eq!(connection.answer(id).text(), "hello, world\n"));
        }
    });
}

#[test]
fn an_answer_cut_short_loses_no_answer_that_waits_to_be_read() {
    over_both(&[], |demo| {
        let mut connection = demo.connect();
        // Both answers are on their way before the web server reads: neither may be thrown away with the connection.
        connection.request(1).get("/bytes?n=150000").send();
        wait_until("the first answer", || demo.counter("active_requests") == 1);
        connection.request(2).get("/lie?declared=10&sent=5").send();
        wait_until("the warning of the second", || demo.log().contains("shorter than its Content-Length"));
        wait_until("the end of the second", || demo.counter("active_requests") == 1);
        demo.assert_serves();
        assert_eq!(connection.answer(1).body.len(), 150_000);
        connection.broken_body(2);
    });
}

#[test]
fn a_connection_on_which_nothing_comes_is_closed() {
    over_both(&["--idle-timeout", "100"], |demo| {
        demo.connect().assert_closed();
        let mut connection = demo.connect();
        connection.request(1).get("/hello").send();
        assert_eq!(connection.answer(1).text(), "hello, world\n");
        connection.assert_closed();
    });
}

#[test]
fn a_running_request_is_not_idle() {
    let demo = Demo::unix(&["--idle-timeout", "50"]);
    let mut connection = demo.connect();
    connection.request(1).get("/sleep?ms=300").send();
    assert_eq!(connection.answer(1).text(), "slept 300 ms\n");
}

#[test]
fn idle_connections_cost_no_workers() {
    let demo = Demo::unix(&["--workers", "2"]);
    let mut idle: Vec<_> = (0..20).map(|_| demo.connect()).collect();
    for connection in &mut idle {
        connection.request(1).get("/hello").send();
        connection.answer(1);
    }
    demo.assert_serves();
    idle.iter_mut().for_each(|connection| connection.assert_usable());
}

#[test]
fn web_servers_that_come_and_go_without_a_word_are_no_news() {
    over_both(&[], |demo| {
        for _ in 0..50 {
            drop(demo.connect());
            demo.connect().half_close();
        }
        demo.assert_serves();
        assert_eq!(demo.log(), "");
    });
}
