//! Verifies that FCGI_WEB_SERVER_ADDRS decides who is served over TCP.

use super::program::{Listen, Program, Setup};

fn started(listen: Listen, list: &str) -> Program {
    let shell = format!("export FCGI_WEB_SERVER_ADDRS='{list}'");
    Program::start(Setup { listen, shell: &shell, ..Setup::default() })
}

#[test]
fn web_servers_on_the_list_are_served() {
    for list in ["127.0.0.1", "10.0.0.1,127.0.0.1", " 127.0.0.1 , ::1", "::ffff:127.0.0.1"] {
        started(Listen::Tcp, list).assert_serves();
    }
}

#[test]
fn web_servers_that_are_not_on_the_list_are_closed_without_a_word() {
    for list in ["", "10.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.2", "2001:db8::127.0.0.1"] {
        let program = started(Listen::Tcp, list);
        for _ in 0..3 {
            let mut connection = program.connect();
            let request = connection.request(1).get("/hello").bytes();
            // It may be closed before this is sent.
            let _: std::io::Result<()> = connection.try_send(&request);
            assert_eq!(connection.drain(), b"", "{list:?} does not list 127.0.0.1");
        }
    }
}

#[test]
fn who_may_use_a_unix_socket_is_not_said_by_addresses() {
    started(Listen::Unix, "10.0.0.1").assert_serves();
}
