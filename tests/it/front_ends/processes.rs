//! Cases: a web server that starts the demo ends it, too, and starts it again when it is gone.

use std::thread;

use super::{FrontEnd, Site};
use crate::demo::wait_until;
use crate::launchers::process::signal;

/// A site with more than one process.
fn busy_site(front_end: &'static FrontEnd) -> Site {
    let site = Site::start(front_end);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(site.get("/sleep?ms=300").status, 200));
        }
    });
    assert!(site.application.pids().len() > 1, "one process for all: {:?}", site.application.pids());
    site
}

pub(super) fn they_end_with_the_web_server(front_end: &'static FrontEnd) {
    let mut site = busy_site(front_end);
    site.web_server.ask_to_end();
    wait_until("all processes to end", || site.application.pids().is_empty());
    let logs = site.web_server.logs();
    assert!(!logs.contains("SIGKILL"), "they had to be killed: {logs}");
}

pub(super) fn those_that_die_are_replaced(front_end: &'static FrontEnd) {
    let site = busy_site(front_end);
    let died = site.application.pids();
    died.iter().for_each(|pid| signal(*pid, "KILL"));
    wait_until("requests to be served again", || site.get("/hello").status == 200);
    assert!(site.application.pids().iter().all(|pid| !died.contains(pid)));
    site.still_works();
}

/// A test for each case.
macro_rules! process_tests_of {
    ($needs:literal, $front_end:expr) => {
        $crate::front_ends::cases_of! { PROCESSES: $needs, $front_end,
            processes::they_end_with_the_web_server
            processes::those_that_die_are_replaced
        }
    };
}
pub(super) use process_tests_of;
