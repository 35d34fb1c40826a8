//! The demo program as a process of its own: started, watched, stopped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::peer::Connection;

/// The longest that a test waits for anything. It is long because the machine may be busy; nothing waits it out
/// unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A running demo program. Dropping it kills the process, and fails the test when the process died before or when
/// anything but the demo's own handlers panicked in it.
pub(crate) struct Demo {
    process: Child,
    address: String,
    stopped: bool,
    directory: TempDir,
}

impl Demo {
    /// Starts the demo on a Unix socket in a directory of its own.
    pub(crate) fn unix(options: &[&str]) -> Demo {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let listen = format!("unix:{}", directory.path().join("socket").display());
        Demo::start(directory, &listen, options)
    }

    /// Starts the demo on a free TCP port of the loopback interface.
    pub(crate) fn tcp(options: &[&str]) -> Demo {
        Demo::start(tempfile::tempdir().expect("a temporary directory"), "127.0.0.1:0", options)
    }

    /// Starts the demo at an address that a demo before may have had.
    pub(crate) fn at(address: &str) -> Demo {
        Demo::start(tempfile::tempdir().expect("a temporary directory"), address, &[])
    }

    /// Starts the demo on a socket that it is given as file descriptor 0, as launchers do.
    pub(crate) fn inheriting(listener: &UnixListener, options: &[&str]) -> Demo {
        let socket = listener.as_fd().try_clone_to_owned().expect("a descriptor");
        Demo::launch(tempfile::tempdir().expect("a temporary directory"), Stdio::from(socket), options)
    }

    fn start(directory: TempDir, listen: &str, options: &[&str]) -> Demo {
        Demo::launch(directory, Stdio::null(), &[&["--listen", listen], options].concat())
    }

    fn launch(directory: TempDir, stdin: Stdio, options: &[&str]) -> Demo {
        let log = File::create(directory.path().join("log")).expect("the log file can be created");
        let mut process = Command::new(program())
            .args(options)
            .env("RUST_LOG", "warn")
            // Reading its own debug information would cost the demo more memory than any request does.
            .env("RUST_BACKTRACE", "0")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the demo starts");
        let stdout = process.stdout.take().expect("its standard output is a pipe");
        let mut demo = Demo { process, address: String::new(), stopped: false, directory };
        demo.address = demo.announced_address(stdout);
        demo
    }

    /// The demo says where it listens on the first line of its standard output.
    fn announced_address(&self, stdout: ChildStdout) -> String {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            // Reading on until the end keeps the pipe open for whatever else the demo may print.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _: Result<(), mpsc::SendError<String>> = sender.send(line);
            }
        });
        let line = match receiver.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("the demo says nothing; its log: {}", self.log()),
            Err(RecvTimeoutError::Disconnected) => panic!("the demo ended; its log: {}", self.log()),
        };
        let address = line.strip_prefix("listening on ");
        address.unwrap_or_else(|| panic!("the demo's first line is {line:?}")).to_owned()
    }

    /// Where it listens: `unix:/path` or `127.0.0.1:4000`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A new connection of a web server.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it wrote to its standard error so far.
    pub(crate) fn log(&self) -> String {
        let read = || fs::read_to_string(self.directory.path().join("log")).expect("the log can be read");
        // A thread of its own writes it: what is on its way is there in a moment.
        let mut log = read();
        loop {
            std::thread::sleep(Duration::from_millis(20));
            let later = read();
            if later == log {
                return log;
            }
            log = later;
        }
    }

    /// The counters of `/metrics`, over a connection of their own.
    pub(crate) fn metrics(&self) -> serde_json::Value {
        metrics_at(self.address())
    }

    /// One counter of `/metrics`.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        counter_at(self.address(), name)
    }

    /// Fails unless the demo still answers on a new connection.
    pub(crate) fn assert_serves(&self) {
        let mut connection = self.connect();
        connection.request(1).get("/hello").send();
        assert_eq!(connection.answer(1).text(), "hello, world\n");
    }

    /// The most memory that was resident at any time, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process exists");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line VmHWM");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// Asks the demo to stop, as an operator does, and waits for its end.
    pub(crate) fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(status.expect("kill(1) runs").success(), "signal {name} was not delivered");
    }

    /// Waits for the end of the process.
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.stopped = true;
        let mut status = None;
        wait_until("the demo's end", || {
            status = self.process.try_wait().expect("the demo is our child");
            status.is_some()
        });
        status.expect("it has ended")
    }

    fn assert_sound(&mut self) {
        let ended = self.process.try_wait().expect("the demo is our child");
        let log = self.log();
        assert!(self.stopped || ended.is_none(), "the demo died: {ended:?}; its log: {log}");
        assert_no_foreign_panic(&log);
    }
}

/// Fails when anything but the demo's own handlers panicked.
pub(crate) fn assert_no_foreign_panic(log: &str) {
    let mut panics = log.lines().filter(|line| line.contains("panicked at"));
    let foreign = panics.find(|line| !line.contains("examples/demo"));
    assert_eq!(foreign, None, "something in the library panicked: {log}");
}

impl Drop for Demo {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.assert_sound();
        }
        // Both fail only when the process has ended and been waited for.
        let _: std::io::Result<()> = self.process.kill();
        let _: std::io::Result<ExitStatus> = self.process.wait();
    }
}

fn metrics_at(address: &str) -> serde_json::Value {
    let mut connection = Connection::open(address);
    connection.request(1).get("/metrics").send();
    connection.answer(1).json()
}

/// One counter of the demo that listens at this address.
pub(crate) fn counter_at(address: &str, name: &str) -> u64 {
    let metrics = metrics_at(address);
    metrics[name].as_u64().unwrap_or_else(|| panic!("no counter {name} in {metrics}"))
}

/// Runs a scenario over a Unix socket and over TCP.
pub(crate) fn over_both(options: &[&str], scenario: impl Fn(&Demo)) {
    for demo in [Demo::unix(options), Demo::tcp(options)] {
        // Shown when the scenario fails.
        eprintln!("over {}", demo.address());
        scenario(&demo);
    }
}

/// Polls until the condition holds; fails when it does not in time.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The demo program.
pub(crate) fn program() -> PathBuf {
    example("demo")
}

/// `cargo test` builds the examples next to the test binaries: `target/PROFILE/examples` beside `target/PROFILE/deps`.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let profile = test.parent().and_then(Path::parent).expect("the test is in target/PROFILE/deps");
    let program = profile.join("examples").join(name);
    assert!(program.exists(), "{} is missing: `cargo build --example {name}` makes it", program.display());
    program
}
