//! The application behind a web server: a demo that the test has started, or those that the web server starts.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::spawned::Spawned;
use crate::demo::{counter_at, Demo};

/// How the application comes to run.
#[derive(Clone, Copy)]
pub(super) enum Launch {
    /// It listens on a Unix socket before the web server is there.
    Unix,
    /// It listens on TCP before the web server is there.
    Tcp,
    /// The web server starts it, in one process or several, each with a Unix socket as file descriptor 0.
    WebServer,
}

pub(super) enum Application {
    Demo(Demo),
    Spawned(Spawned),
}

impl Application {
    pub(super) fn launch(launch: Launch, options: &[&str]) -> Application {
        match launch {
            Launch::Unix => Application::Demo(open_to_all(Demo::unix(options))),
            Launch::Tcp => Application::Demo(Demo::tcp(options)),
            Launch::WebServer => Application::Spawned(Spawned::prepare(options)),
        }
    }

    /// Says in a text of a web server's configuration what the application is.
    pub(super) fn fill_in(&self, text: &str) -> String {
        match self {
            Application::Demo(demo) => text.replace("@APPLICATION@", demo.address().trim_start_matches("unix:")),
            Application::Spawned(spawned) => spawned.fill_in(text),
        }
    }

    /// Ends a demo that the test has started.
    pub(super) fn stop(self) {
        match self {
            Application::Demo(demo) => assert_eq!(demo.stop().code(), Some(0)),
            Application::Spawned(_) => panic!("its web server ends it"),
        }
    }

    /// One counter of `/metrics`, of all processes together. Each process is asked on a connection of its own.
    pub(super) fn counter(&self, name: &str) -> u64 {
        self.addresses().iter().map(|address| counter_at(address, name)).sum()
    }

    /// The requests that run, without those that ask for this number.
    pub(super) fn active_requests(&self) -> u64 {
        let n_asked = |address: &String| counter_at(address, "active_requests") - 1;
        self.addresses().iter().map(n_asked).sum()
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        match self {
            Application::Demo(demo) => vec![demo.address().to_owned()],
            Application::Spawned(spawned) => spawned.addresses(),
        }
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        match self {
            Application::Demo(demo) => vec![demo.pid()],
            Application::Spawned(spawned) => spawned.pids(),
        }
    }
}

/// A web server that root has started gives its rights up, and then has none to the files of the test.
fn open_to_all(demo: Demo) -> Demo {
    open_socket(Path::new(demo.address().trim_start_matches("unix:")));
    demo
}

pub(super) fn open_socket(socket: &Path) {
    open_directory(socket.parent().expect("the directory of the socket"));
    fs::set_permissions(socket, Permissions::from_mode(0o777)).expect("the socket is the test's own");
}

/// Everybody may look up what is in it.
pub(super) fn open_directory(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("the directory is the test's own");
}

/// The sockets that a process has open.
pub(super) fn sockets(pid: u32) -> BTreeSet<String> {
    // A process that has just ended has none.
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.map(|target| target.to_string_lossy().into_owned()).filter(|name| name.starts_with("socket:")).collect()
}
