//! The matrix for Apache with mod_fcgid, which starts the demo.

use super::ability::{ANEW, ANSWERS_UPLOADS_LATE, COLLECTS_UPLOADS, HIDES_CUTS, SINGLY, UNAWARE};
use super::apache::{main_with, APACHE};
use super::processes::process_tests_of;
use super::{tests_of, Ability, FrontEnd, Launch, Site};
use crate::demo::wait_until;

const FCGID: FrontEnd = FrontEnd {
    name: "Apache (mod_fcgid)",
    version: "2.3.9",
    package: "apache2-bin libapache2-mod-fcgid",
    main: main_with!(
        "
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
LoadModule fcgid_module /usr/lib/apache2/modules/mod_fcgid.so
FcgidIPCDir @APPLICATION@/sockets
FcgidProcessTableFile @DIRECTORY@/fcgid_shm
"
    ),
    file: "apache-fcgid.conf",
    substitutions: &[LISTEN, ("/usr/local/bin/app --", "/usr/local/bin/app@OPTIONS@ --"), PROGRAM],
    launch: Launch::WebServer,
    cannot: &[
        HIDES_CUTS,
        ANSWERS_UPLOADS_LATE,
        COLLECTS_UPLOADS,
        UNAWARE,
        ANEW,
        SINGLY,
        (Ability::SendTooMany, "never sent: a process has one at a time"),
    ],
    ..APACHE
};

const LISTEN: (&str, &str) = ("*:80", "*:@PORT@");
const PROGRAM: (&str, &str) = ("/usr/local/bin", "@APPLICATION@");

tests_of! { "needs apache2 and mod_fcgid; tests/run installs them", FCGID }

process_tests_of! { "needs apache2 and mod_fcgid; tests/run installs them", FCGID }

/// The next request goes to the same process, or to a new one while mod_fcgid ends the old one. The client sees a whole
/// answer in either case, with an error page behind its cut body in the second.
#[test]
#[ignore = "needs apache2 and mod_fcgid; tests/run installs them"]
fn a_cut_answer_costs_a_process_unless_end_request_is_always_sent() {
    const WITHOUT: FrontEnd = FrontEnd { substitutions: &[LISTEN, (" --always-end-requests", ""), PROGRAM], ..FCGID };
    for (front_end, survives) in [(&FCGID, true), (&WITHOUT, false)] {
        let site = Site::start(front_end);
        site.still_works();
        let before = site.application.pids();
        assert_eq!(before.len(), 1, "requests in turn need one process");
        let cut = site.get("/panic-late");
        let text = cut.text().strip_prefix("before the panic\n").expect("what was sent before the panic");
        assert_eq!((cut.status, text.is_empty()), (200, survives), "{text}");
        site.still_works();
        match survives {
            true => assert_eq!(site.application.pids(), before),
            false => wait_until("the process to be ended", || !site.application.pids().contains(&before[0])),
        }
        site.still_works();
    }
}
