//! Demos that a web server starts by itself: a copy of the program where every user reaches it, and what became of it.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::application::open_directory;
use crate::demo::{program, PATIENCE};
use crate::launchers::process::try_signal;

/// A directory for the program and its sockets. Dropping it fails the test when a process has outlived its web server.
pub(super) struct Spawned {
    directory: TempDir,
    /// Each with a space in front of it.
    options: String,
}

impl Spawned {
    pub(super) fn prepare(options: &[&str]) -> Spawned {
        let directory = tempfile::Builder::new().prefix("fcgi-spawned-").tempdir().expect("a temporary directory");
        open_directory(directory.path());
        let spawned = Spawned { directory, options: options.iter().map(|option| format!(" {option}")).collect() };
        fs::copy(program(), spawned.program()).expect("the program can be copied");
        spawned
    }

    pub(super) fn fill_in(&self, text: &str) -> String {
        let directory = self.directory.path().to_string_lossy();
        text.replace("@APPLICATION@", &directory).replace("@OPTIONS@", &self.options)
    }

    /// Where the processes listen that run now.
    pub(super) fn addresses(&self) -> Vec<String> {
        let mut paths = Vec::new();
        collect_sockets(self.directory.path(), &mut paths);
        // A socket file may be there a moment longer than its process.
        paths.retain(|path| UnixStream::connect(path).is_ok());
        paths.iter().map(|path| format!("unix:{}", path.display())).collect()
    }

    /// The processes that run the copy; nobody else does.
    pub(super) fn pids(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").expect("the table of processes").flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter(|pid| runs(*pid, &self.program())).collect()
    }

    /// The name is that in the files of `examples/deploy/`.
    fn program(&self) -> PathBuf {
        self.directory.path().join("app")
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.pids().is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        let outlived = self.pids();
        for pid in &outlived {
            // It may end by itself just now.
            let _: bool = try_signal(*pid, "KILL");
        }
        assert!(thread::panicking() || outlived.is_empty(), "processes outlived their web server: {outlived:?}");
    }
}

fn runs(pid: u32, program: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == program)
}

fn collect_sockets(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the directory is the test's own").flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect_sockets(&entry.path(), paths),
            Ok(kind) if kind.is_socket() => paths.push(entry.path()),
            _ => {}
        }
    }
}
