//! Processes: a server's, started on its CPU, waited for and ended; and programs that run to their end.

use std::env;
use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{sched_getaffinity, sched_setaffinity, CpuSet};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::cells::{Cell, Transport};
use crate::servers::Server;

/// How long a server may take until it accepts connections.
const START: Duration = Duration::from_secs(10);

/// For so long a server that listens must have started no more threads: then it is fresh, and ready.
const SETTLE: Duration = Duration::from_millis(100);

/// Which CPU runs what; `None` leaves it to the kernel.
pub(crate) struct Cpus {
    generator: Option<CpuSet>,
    server: Option<CpuSet>,
    pub(crate) pinned: bool,
}

impl Cpus {
    /// The first CPU for the load generator, the second for the server, where there are two.
    pub(crate) fn choose(pinned: bool) -> nix::Result<Cpus> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut allowed = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false));
        match (allowed.next(), allowed.next()) {
            (Some(first), Some(second)) if pinned => {
                Ok(Cpus { generator: Some(only(first)?), server: Some(only(second)?), pinned })
            }
            _ => Ok(Cpus { generator: None, server: None, pinned: false }),
        }
    }

    /// Starts what drives or counts.
    pub(crate) fn start_generator(&self, command: &mut Command) -> io::Result<Child> {
        start_on(self.generator.as_ref(), command)
    }

    /// Runs what drives or counts to its end, `limit` at most, and returns what it printed.
    pub(crate) fn run_generator(&self, command: &mut Command, limit: Duration) -> Result<String, String> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.start_generator(command).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + limit;
        while child.try_wait().map_err(|error| error.to_string())?.is_none() {
            if Instant::now() > deadline {
                end(&mut child);
                return Err(format!("not over after {} s", limit.as_secs()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }
}

fn only(cpu: usize) -> nix::Result<CpuSet> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(set)
}

/// A process inherits the CPUs of the thread that starts it.
fn start_on(cpus: Option<&CpuSet>, command: &mut Command) -> io::Result<Child> {
    let Some(cpus) = cpus else { return command.spawn() };
    let this_thread = Pid::from_raw(0);
    let before = sched_getaffinity(this_thread)?;
    sched_setaffinity(this_thread, cpus)?;
    let child = command.spawn();
    sched_setaffinity(this_thread, &before)?;
    child
}

/// Ends a process that this program started.
pub(crate) fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// A server that accepts connections. Its process ends with this value.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: String,
    folder: TempDir,
}

impl Running {
    pub(crate) fn start(server: &Server, cell: &Cell, cpus: &Cpus) -> Result<Running, String> {
        Running::try_start(server, cell, cpus).map_err(|error| format!("starting it: {error}"))
    }

    fn try_start(server: &Server, cell: &Cell, cpus: &Cpus) -> io::Result<Running> {
        let folder = tempfile::tempdir()?;
        let address = address(cell.transport, folder.path())?;
        let [program, arguments @ ..] = &server.command(cell, &address)[..] else {
            return Err(io::Error::other("an empty command"));
        };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(folder.path().join("stderr"))?);
        let child = start_on(cpus.server.as_ref(), &mut command)?;
        let mut running = Running { child, address, folder };
        running.wait_until_it_accepts()?;
        running.wait_until_it_settles()?;
        Ok(running)
    }

    fn wait_until_it_accepts(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let Err(error) = self.try_connecting() else { return Ok(()) };
            if Instant::now() > deadline || self.child.try_wait()?.is_some() {
                let said = fs::read_to_string(self.folder.path().join("stderr"))?;
                return Err(io::Error::other(format!("{error}; {}", said.trim())));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_until_it_settles(&self) -> io::Result<()> {
        let deadline = Instant::now() + START;
        let n_threads = || fs::read_dir(format!("/proc/{}/task", self.process())).map(Iterator::count);
        let mut before = n_threads()?;
        while Instant::now() < deadline {
            thread::sleep(SETTLE);
            let now = n_threads()?;
            if now == before {
                break;
            }
            before = now;
        }
        Ok(())
    }

    fn try_connecting(&self) -> io::Result<()> {
        match self.address.strip_prefix("unix:") {
            Some(path) => UnixStream::connect(path).map(drop),
            None => TcpStream::connect(&self.address).map(drop),
        }
    }

    pub(crate) fn process(&self) -> i32 {
        // Linux has no larger ones.
        self.child.id() as i32
    }

    /// For files of whatever is measured with it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn address(transport: Transport, folder: &Path) -> io::Result<String> {
    match transport {
        Transport::Unix => Ok(format!("unix:{}/socket", folder.display())),
        Transport::Tcp => Ok(format!("127.0.0.1:{}", free_port()?)),
    }
}

pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Web servers are in /usr/sbin, which is not on everybody's path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}
