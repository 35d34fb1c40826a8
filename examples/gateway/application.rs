//! An application that the gateway starts itself: the socket is its file descriptor 0 (FastCGI 2.2).

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::thread;

use rustix::process::{kill_process, Pid, Signal};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use crate::web_server::Address;

/// A running program, and the folder of its socket. Both end when this is dropped.
pub(crate) struct Application {
    process: Child,
    _folder: TempDir,
}

impl Application {
    /// Starts a program on a socket that nobody else can reach.
    pub(crate) fn start(program: &OsString, arguments: &[OsString]) -> io::Result<(Application, Address)> {
        let folder = tempfile::Builder::new().prefix("fcgi-gateway-").tempdir()?;
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path)?;
        let process = Command::new(program).args(arguments).stdin(OwnedFd::from(listener)).spawn();
        let process = process.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot run {}: {error}", program.to_string_lossy()))
        })?;
        Ok((Application { process, _folder: folder }, Address::Unix(path)))
    }

    /// Waits for the program's end; its exit code. Whoever asks this process to end asks the program.
    pub(crate) fn wait(mut self) -> io::Result<u8> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let pid = Pid::from_child(&self.process);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for _ in signals.forever() {
                // It fails when the program has ended, and then so does this one.
                let _: Result<(), rustix::io::Errno> = kill_process(pid, Signal::TERM);
            }
        })?;
        let status = self.process.wait()?;
        // As a shell has it for a program that a signal ended.
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        Ok(u8::try_from(code).unwrap_or(1))
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // Both fail only when the process has ended and been waited for.
        let _: io::Result<()> = self.process.kill();
        let _: io::Result<ExitStatus> = self.process.wait();
    }
}
