//! A small web server that puts one FastCGI application behind a URL.
//!
//! It is made for development: it listens where it is told to and serves all paths from the application, one thread
//! for each HTTP client and one for each answer. Everything streams: bodies to the application, answers to the client,
//! both at once. A client that leaves ends the FastCGI connection, so that the handler is told.

mod answer;
mod client;
mod fastcgi;
mod params;
mod response;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use log::{debug, error};

pub(crate) use fastcgi::Address;

/// HTTP clients that are served at once; more are turned away.
const MAX_CLIENTS: usize = 256;

/// Where to listen when nobody says where: only this machine can connect.
const PORTS: std::ops::Range<u16> = 8080..8100;

/// A socket for HTTP clients and the application that answers them.
pub(crate) struct WebServer {
    listener: TcpListener,
    address: SocketAddr,
    application: Arc<Address>,
}

impl WebServer {
    /// Listens at `host:port`. Without it, at port 8080 of the loopback interface, or the next one that is free.
    pub(crate) fn bind(http: Option<&str>, application: Address) -> io::Result<WebServer> {
        let listener = match http {
            Some(address) => TcpListener::bind(address).map_err(|error| cannot_listen(address, &error))?,
            None => bind_next_free()?,
        };
        Ok(WebServer { address: listener.local_addr()?, listener, application: Arc::new(application) })
    }

    /// Where a browser finds it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Serves until the process ends.
    pub(crate) fn serve(&self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.begin(stream),
                Err(error) => {
                    error!("connections cannot be accepted: {error}");
                    // Most likely there are too many open files; some will be closed.
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    /// Each client's thread holds the application's address, which is how they are counted.
    fn begin(&self, stream: TcpStream) {
        if Arc::strong_count(&self.application) > MAX_CLIENTS {
            error!("a client is turned away: {MAX_CLIENTS} are being served");
            return;
        }
        let application = self.application.clone();
        let serve = move || {
            if let Err(error) = client::serve(stream, &application) {
                debug!("a client's connection ended: {error}");
            }
        };
        if let Err(error) = thread::Builder::new().name("client".to_owned()).spawn(serve) {
            error!("no thread for a client: {error}");
        }
    }
}

fn cannot_listen(address: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

fn bind_next_free() -> io::Result<TcpListener> {
    for port in PORTS {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
    // All of them are taken: any other will do.
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}
