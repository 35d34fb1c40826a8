//! The demo from every launcher: with sockets that it is given or makes itself, and web servers that may connect or
//! may not.

mod addresses;
mod cgi_fcgi;
mod multiwatch;
pub(crate) mod process;
mod socket_activate;
mod spawn_fcgi;
pub(crate) mod systemd;
mod units;
mod web_server_addrs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::demo::{program, wait_until};
use crate::peer::Connection;
use process::{run, signal, tool, try_signal, Process};

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn assert_serves(address: &str) {
    let mut connection = Connection::open(address);
    connection.request(1).get("/hello").closing().send();
    assert_eq!(connection.answer(1).text(), "hello, world\n");
}

/// Fails unless the program ends with exit code 1 and one line on its standard error, of which the rest is given.
#[track_caller]
fn refusal(command: &mut Command) -> String {
    let output = run(command);
    assert_eq!((output.code, output.stdout.as_slice()), (Some(1), b"".as_slice()), "{output:?}");
    let message = output.stderr.strip_prefix("demo: ").and_then(|rest| rest.strip_suffix('\n'));
    let message = message.unwrap_or_else(|| panic!("not a message of the demo's: {:?}", output.stderr));
    assert!(!message.contains('\n'), "more than one line: {message}");
    message.to_owned()
}

/// Copies the demo to where everybody can run it. Another process does it: a file that this one has open for writing
/// cannot be run while a child that another test starts has the same descriptor.
fn copy_demo(directory: &Path) -> PathBuf {
    let copy = directory.join("demo");
    assert_eq!(run(tool("cp").arg(program()).arg(&copy)).code, Some(0));
    copy
}

/// Processes that a launcher started: they are no children of the test's, and their ids are all it has. Dropping it
/// kills them.
struct Started {
    pids: Vec<u32>,
}

fn children(pid: u32) -> Vec<u32> {
    let pids = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

impl Started {
    /// They are stopped in turn, so that each has to answer while it is the only one that can.
    fn assert_each_serves(&self, address: &str) {
        for serving in &self.pids {
            let others = || self.pids.iter().filter(|pid| *pid != serving);
            others().for_each(|pid| signal(*pid, "STOP"));
            wait_until("the others to be stopped", || others().all(|pid| is_stopped(*pid)));
            assert_serves(address);
            others().for_each(|pid| signal(*pid, "CONT"));
        }
    }

    fn all_ended(&self) -> bool {
        self.pids.iter().all(|pid| has_ended(*pid))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        for pid in self.pids.iter().filter(|pid| !has_ended(**pid)) {
            // It may end by itself just now.
            let _: bool = try_signal(*pid, "KILL");
        }
    }
}

/// A zombie has ended, too; whoever took it over may be slow to wait for it.
fn has_ended(pid: u32) -> bool {
    matches!(state(Path::new(&format!("/proc/{pid}"))), None | Some('Z' | 'X'))
}

/// A signal stops the threads one after the other, and one that runs on may still take a connection.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process has not ended");
    threads.flatten().all(|thread| state(&thread.path()) == Some('T'))
}

/// The letter that ps(1) shows; nothing for a process or thread that is gone.
fn state(process: &Path) -> Option<char> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}
