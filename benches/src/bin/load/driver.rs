//! Holds a load for some seconds: each request that ends is followed by the next.

use std::error::Error;
use std::fs::File;
use std::time::{Duration, Instant};

use fcgi_benches::process;
use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde_json::{json, Value};

use crate::answer::Ended;
use crate::connection::{Connection, Reading, BUFFER_LEN};
use crate::options::Options;

/// How long to sleep at most: the end of the measurement must be seen.
const NAP_MS: u16 = 5;

/// How long to go on when no request has ended: on a busy machine the time may pass without the server.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Warms up, measures, and tells what was measured as JSON.
pub(crate) fn measure(options: &Options) -> Result<Value, Box<dyn Error>> {
    let mut driver = Driver::start(options)?;
    driver.run_for(options.warm_up)?;
    driver.forget();
    let cpu_before = process::cpu_time(options.process)?;
    let began = Instant::now();
    driver.run_for(options.seconds)?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = process::cpu_time(options.process)? - cpu_before;
    Ok(driver.report(seconds, cpu))
}

struct Driver<'a> {
    options: &'a Options,
    requests: Vec<Vec<u8>>,
    answer_body: Vec<u8>,
    epoll: Epoll,
    interest: EpollFlags,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    /// Lent to one reading after the other.
    ended: Vec<Ended>,
    latencies_ns: Histogram<u64>,
}

impl<'a> Driver<'a> {
    /// Opens all connections and writes the first requests.
    fn start(options: &'a Options) -> Result<Driver<'a>, Box<dyn Error>> {
        // Bodies do not fit a socket's buffer: only with them is there something to wait for in writing.
        let writable = if options.has_body() { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
        let mut driver = Driver {
            options,
            requests: options.requests(),
            answer_body: options.answer_body()?,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            interest: EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET | writable,
            connections: Vec::with_capacity(options.connections),
            buffer: vec![0; BUFFER_LEN],
            ended: Vec::new(),
            latencies_ns: Histogram::new(3)?,
        };
        for index in 0..options.connections {
            let began = Instant::now();
            let socket = driver.open(index)?;
            driver.connections.push(Connection::new(socket, options.ids));
            driver.begin_all(index, began)?;
        }
        Ok(driver)
    }

    fn open(&self, index: usize) -> Result<File, Box<dyn Error>> {
        let socket = self.options.connect()?;
        self.epoll.add(&socket, EpollEvent::new(self.interest, index as u64))?;
        Ok(socket)
    }

    fn begin_all(&mut self, index: usize, now: Instant) -> Result<(), Box<dyn Error>> {
        let connection = &mut self.connections[index];
        (1..=self.options.ids).for_each(|id| connection.begin(id, now));
        Ok(connection.write(&self.requests)?)
    }

    fn run_for(&mut self, time: Duration) -> Result<(), Box<dyn Error>> {
        let timeout = if self.options.busy { EpollTimeout::ZERO } else { EpollTimeout::from(NAP_MS) };
        let mut events = vec![EpollEvent::empty(); 1024];
        let began = Instant::now();
        while began.elapsed() < time || (self.latencies_ns.is_empty() && began.elapsed() < LONGEST_WAIT) {
            let n = self.epoll.wait(&mut events, timeout)?;
            for event in &events[..n] {
                self.advance(event.data() as usize, event.events())?;
            }
        }
        Ok(())
    }

    fn advance(&mut self, index: usize, events: EpollFlags) -> Result<(), Box<dyn Error>> {
        let hung_up = events.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        let mut reading = Reading::Open;
        if hung_up || events.contains(EpollFlags::EPOLLIN) {
            let connection = &mut self.connections[index];
            reading = connection.read(&mut self.buffer, &self.answer_body, hung_up, &mut self.ended)?;
            self.follow_up(index)?;
        }
        match reading {
            Reading::Open => Ok(self.connections[index].write(&self.requests)?),
            Reading::Closed => self.reopen(index),
        }
    }

    /// Counts the requests that ended; on a kept connection the next ones begin with their ids.
    fn follow_up(&mut self, index: usize) -> Result<(), Box<dyn Error>> {
        let connection = &mut self.connections[index];
        let now = Instant::now();
        for Ended { id, latency } in self.ended.drain(..) {
            self.latencies_ns.record(latency.as_nanos() as u64)?;
            connection.n_ended += 1;
            if !self.options.closed {
                connection.begin(id, now);
            }
        }
        Ok(())
    }

    fn reopen(&mut self, index: usize) -> Result<(), Box<dyn Error>> {
        if !self.options.closed || !self.connections[index].is_complete() {
            return Err("the server closed a connection with requests on it".into());
        }
        let began = Instant::now();
        let socket = self.open(index)?;
        self.connections[index].reopen(socket);
        self.begin_all(index, began)
    }

    /// What was counted so far was only to warm up.
    fn forget(&mut self) {
        self.latencies_ns.reset();
        self.connections.iter_mut().for_each(|connection| connection.n_ended = 0);
    }

    fn report(&self, seconds: f64, cpu: Duration) -> Value {
        let counts = || self.connections.iter().map(|connection| connection.n_ended);
        let (n_ended, slowest): (u64, u64) = (counts().sum(), counts().min().unwrap_or_default());
        let microseconds = |quantile| self.latencies_ns.value_at_quantile(quantile) as f64 / 1e3;
        json!({
            "requests": n_ended,
            "requests_per_second": n_ended as f64 / seconds,
            "cpu_us_per_request": cpu.as_secs_f64() * 1e6 / n_ended as f64,
            "p50_us": microseconds(0.5),
            "p99_us": microseconds(0.99),
            "unanswered_connections": counts().filter(|&n_ended| n_ended == 0).count(),
            "slowest_to_mean": slowest as f64 / (n_ended as f64 / self.connections.len() as f64),
        })
    }
}
