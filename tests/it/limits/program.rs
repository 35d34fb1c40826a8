//! The demo in an environment of its own: a folder for temporary files, limits of the kernel, a log of any level.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::demo::PATIENCE;
use crate::peer::Connection;

/// What /proc counts processor time in: a hundredth of a second, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// How the demo is started.
pub(super) struct Setup<'a> {
    pub(super) listen: Listen,
    pub(super) options: &'a [&'a str],
    /// Commands of the shell that becomes the demo.
    pub(super) shell: &'a str,
    pub(super) log_level: &'a str,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Listen {
    Unix,
    Tcp,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup { listen: Listen::Unix, options: &[], shell: ":", log_level: "warn" }
    }
}

/// A running demo; dropping it kills the process.
pub(super) struct Program {
    process: Child,
    address: String,
    folder: TempDir,
}

impl Program {
    pub(super) fn start(setup: Setup<'_>) -> Program {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("log")).expect("the log can be created");
        let listen = match setup.listen {
            Listen::Unix => format!("unix:{}", folder.path().join("socket").display()),
            Listen::Tcp => "127.0.0.1:0".to_owned(),
        };
        fs::create_dir(folder.path().join("spool")).expect("a folder can be made");
        let process = Command::new("sh")
            .args(["-c", &format!("{}; exec \"$0\" \"$@\"", setup.shell)])
            .arg(executable())
            .args(["--listen", &listen])
            .args(setup.options)
            .env("RUST_LOG", setup.log_level)
            // What the allocator keeps of freed memory in each of its arenas is not what these tests are about.
            .env("MALLOC_ARENA_MAX", "1")
            // Reading its own debug information would cost the demo more memory than any request does.
            .env("RUST_BACKTRACE", "0")
            .env("TMPDIR", folder.path().join("spool"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("sh can be started");
        let mut program = Program { process, address: String::new(), folder };
        program.address = program.announced();
        program
    }

    pub(super) fn connect(&self) -> Connection {
        Connection::open(&self.address)
    }

    pub(super) fn assert_serves(&self) {
        let mut connection = self.connect();
        connection.request(1).get("/hello").send();
        assert_eq!(connection.answer(1).text(), "hello, world\n");
    }

    /// Where bodies go that do not fit in memory.
    pub(super) fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    pub(super) fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).expect("the log can be read");
        String::from_utf8(log).expect("the log is text")
    }

    /// The files it has open, deleted ones too.
    pub(super) fn open_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.proc("fd")).expect("the process lives");
        // One may be closed in between.
        entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect()
    }

    /// The most memory that was resident at any time, in KiB.
    pub(super) fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line VmHWM");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// The processor time it has used.
    pub(super) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(self.proc("stat")).expect("the process lives");
        let (_, behind_name) = stat.rsplit_once(')').expect("the name is in parentheses");
        let fields: Vec<&str> = behind_name.split_whitespace().collect();
        let ticks: u32 = fields[11..13].iter().map(|ticks| ticks.parse::<u32>().expect("a number of ticks")).sum();
        TICK * ticks
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.process.id().to_string()).join(file)
    }

    /// The demo says where it listens on the first line of its standard output.
    fn announced(&mut self) -> String {
        let mut stdout = BufReader::new(self.process.stdout.take().expect("it is a pipe"));
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let first = stdout.read_line(&mut line).map(|_| line);
            // Nobody waits any more when the test was over first.
            let _: Result<(), mpsc::SendError<_>> = sender.send(first);
            // The pipe stays open until the demo ends.
            let _: std::io::Result<usize> = stdout.read_to_end(&mut Vec::new());
        });
        let line = receiver.recv_timeout(PATIENCE).expect("the demo says something").expect("its output can be read");
        let address = line.trim().strip_prefix("listening on ");
        address.unwrap_or_else(|| panic!("{line:?}; its log: {}", self.log())).to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let ended = self.process.try_wait();
        // Both fail only when the process has ended and been waited for.
        let _: std::io::Result<()> = self.process.kill();
        let _: std::io::Result<std::process::ExitStatus> = self.process.wait();
        if !thread::panicking() {
            assert!(matches!(ended, Ok(None)), "the demo died: {ended:?}; its log: {}", self.log());
        }
    }
}

/// `cargo test` builds the examples into `target/PROFILE/examples`, and the tests into `target/PROFILE/deps`.
fn executable() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let profile = test.parent().and_then(Path::parent).expect("the test is in target/PROFILE/deps");
    profile.join("examples").join("demo")
}
