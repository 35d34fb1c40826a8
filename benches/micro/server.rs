//! The whole server: how often, and how much, it allocates for one request on a kept connection.

use std::alloc::System;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use fcgi::http::{Request, Response};
use fcgi::{Body, Listener, Server};
use fcgi_benches::requests;
use stats_alloc::{Region, Stats, StatsAlloc, INSTRUMENTED_SYSTEM};

#[global_allocator]
static ALLOCATIONS: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Behind so many requests the threads have started and the buffers have grown.
const WARM_UP: usize = 1000;
const MEASURED: usize = 10_000;

/// The record type END_REQUEST, and the length of such a record.
const END_REQUEST: u8 = 3;
const END_REQUEST_LEN: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    let running = Server::new().responder(count).spawn(Listener::bind(&format!("unix:{}", path.display()))?)?;
    println!("server{:14} allocations       bytes", "");
    for name in requests::NAMES {
        let allocated = allocated(&path, &requests::named(name).records(1))?;
        let per_request = |total: usize| total as f64 / MEASURED as f64;
        let n_allocations = allocated.allocations + allocated.reallocations;
        println!("{name:20} {:11.2} {:11.1}", per_request(n_allocations), per_request(allocated.bytes_allocated));
    }
    running.shutdown().signal();
    running.join()?;
    Ok(())
}

fn count(mut request: Request<Body>) -> io::Result<Response<&'static str>> {
    io::copy(request.body_mut(), &mut io::sink())?;
    Ok(Response::new("hello, world\n"))
}

/// What all threads allocated; this one allocates nothing meanwhile.
fn allocated(path: &Path, request: &[u8]) -> io::Result<Stats> {
    let mut socket = UnixStream::connect(path)?;
    let mut buffer = [0; 4096];
    for _ in 0..WARM_UP {
        exchange(&mut socket, request, &mut buffer)?;
    }
    let region = Region::new(ALLOCATIONS);
    for _ in 0..MEASURED {
        exchange(&mut socket, request, &mut buffer)?;
    }
    Ok(region.change())
}

fn exchange(socket: &mut UnixStream, request: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    socket.write_all(request)?;
    let mut len = 0;
    while !is_over(&buffer[..len]) {
        match socket.read(&mut buffer[len..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => len += n,
        }
    }
    Ok(())
}

/// The last record is END_REQUEST.
fn is_over(answer: &[u8]) -> bool {
    answer.last_chunk::<END_REQUEST_LEN>().is_some_and(|last| last.starts_with(&[1, END_REQUEST]))
}
