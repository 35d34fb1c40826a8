//! Verifies that whatever a web server does, the application keeps within its limits, says so, and serves others.

mod capacity;
mod deadlines;
mod leaks;
mod log;
mod memory;
mod peers;
mod program;
mod spool;
mod variables;

use crate::peer::Connection;

fn assert_hello(connection: &mut Connection, id: u16) {
    connection.request(id).get("/hello").send();
    assert_eq!(connection.answer(id).text(), "hello, world\n");
}
