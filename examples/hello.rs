//! The smallest application: it answers every request on the socket that this process was given.

use fcgi::http::Response;

fn main() -> fcgi::Result<()> {
    fcgi::serve(|_request| Response::new("hello, world\n"))
}
