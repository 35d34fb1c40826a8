//! A program under test that something else than `Demo` starts: with an environment of its own, by a launcher, or to
//! fail.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::demo::{example, program, wait_until};

/// A running program whose output is kept. Dropping it kills the process and waits for it.
pub(crate) struct Process {
    child: Child,
    stdout: File,
    stderr: File,
}

/// What a program did until its end.
#[derive(Debug)]
pub(crate) struct Output {
    /// Nothing if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// The demo with nothing in its environment but where its log goes, and nothing on its standard input.
pub(crate) fn demo() -> Command {
    command_of("demo")
}

/// Any example in the same surroundings.
pub(crate) fn command_of(name: &str) -> Command {
    bare(example(name))
}

/// A program with the same environment as `demo` that finds its helpers.
pub(crate) fn tool(name: &str) -> Command {
    let mut command = bare(name);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// The demo by way of a shell script, which runs it as `exec "$0" "$@"`.
pub(crate) fn demo_by(script: &str) -> Command {
    let mut command = tool("sh");
    command.arg("-c").arg(script).arg(program());
    command
}

fn bare(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("RUST_LOG", "warn").env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    command
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Process {
        // In files, because nobody needs to read them while the program writes.
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
        let child = command.spawn().unwrap_or_else(|error| panic!("{:?} cannot run: {error}", command.get_program()));
        Process { child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The writing end of its standard input, when that is a pipe.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("a pipe")
    }

    /// Where the demo says that it listens.
    pub(crate) fn address(&mut self) -> String {
        self.addresses(1).remove(0)
    }

    /// The same of several demos that share one standard output.
    pub(crate) fn addresses(&mut self, n_demos: usize) -> Vec<String> {
        let mut lines = Vec::new();
        wait_until("the demo to listen", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended, {ended:?}: {}", self.log());
            lines = whole_lines(&read(&self.stdout));
            lines.len() >= n_demos
        });
        let address = |line: &String| line.strip_prefix("listening on ").map(str::to_owned);
        lines.iter().map(|line| address(line).unwrap_or_else(|| panic!("no address: {line:?}"))).collect()
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&read(&self.stderr)).into_owned()
    }

    /// Waits for its end.
    pub(crate) fn output(mut self) -> Output {
        let mut status = None;
        wait_until("the end of the process", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let code = status.and_then(|status| status.code());
        Output { code, stdout: read(&self.stdout), stderr: self.log() }
    }

    /// Asks it to end, as an operator does.
    pub(crate) fn stop(self) -> Output {
        signal(self.pid(), "TERM");
        self.output()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process has ended and been waited for.
        let _: std::io::Result<()> = self.child.kill();
        let _: std::io::Result<std::process::ExitStatus> = self.child.wait();
    }
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    Process::start(command).output()
}

/// Sends a signal, such as `TERM`, to a process that this test started.
pub(crate) fn signal(pid: u32, name: &str) {
    assert!(try_signal(pid, name), "signal {name} was not delivered");
}

pub(crate) fn try_signal(pid: u32, name: &str) -> bool {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).stderr(Stdio::null()).status();
    status.expect("kill(1) runs").success()
}

/// The file is read from its beginning, and the place where the program writes next stays.
fn read(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn whole_lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
}
