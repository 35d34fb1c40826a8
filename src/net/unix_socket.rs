//! Unix sockets that this process makes: never at the expense of another's, and not left behind.
//!
//! Processes of this crate that make or remove a socket file do that one after the other: each holds a lock on the
//! directory meanwhile. So of two that find one stale path one gets it, and who removes its own file at its end cannot meet
//! that of a successor. In a directory that the process cannot read there is no lock, and no such promise.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{chown, flock, open, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::{ioctl_fionbio, Errno};
use rustix::net::{connect, socket, AddressFamily, SocketAddrUnix, SocketType};

/// How often, and after what pause, a lock is tried that another process holds. Each holds it for a moment; a process that
/// is ending leaves its file rather than wait for longer.
const BIND_TRIES: usize = 400;
const REMOVE_TRIES: usize = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// A socket file that this process has made.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// From the root of the file system: the process may go elsewhere.
    absolute: PathBuf,
    inode: (u64, u64),
    is_removed: AtomicBool,
}

/// Who may connect to a socket file. What is `None` stays as the process has it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Permissions {
    pub(crate) mode: Option<u32>,
    pub(crate) owner: Option<u32>,
    pub(crate) group: Option<u32>,
}

/// Listens at `path`. A stale socket there is replaced.
pub(crate) fn bind(path: PathBuf, permissions: Permissions) -> io::Result<(UnixListener, SocketFile)> {
    // A path that is too long for a socket is an error before anything is made.
    SocketAddrUnix::new(&path).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, "the path is too long for a socket: some 100 bytes is the most")
    })?;
    let lock = lock_directory(&path, BIND_TRIES);
    if matches!(lock, Locked::ByAnother) {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process keeps the directory locked"));
    }
    remove_stale(&path)?;
    let listener = match permissions.are_usual() {
        true => UnixListener::bind(&path)?,
        false => permissions.bind(&path)?,
    };
    let absolute = std::env::current_dir().map_or_else(|_| path.clone(), |here| here.join(&path));
    let (inode, is_removed) = (inode(&path)?, AtomicBool::new(false));
    Ok((listener, SocketFile { path, absolute, inode, is_removed }))
}

impl Permissions {
    fn are_usual(self) -> bool {
        self.mode.is_none() && self.owner.is_none() && self.group.is_none()
    }

    /// Makes the socket where nobody else can reach it, in a directory of its own, and puts it in its place when all is as
    /// it should be. The umask decides the mode that was not told, and is not touched: it belongs to the whole process.
    fn bind(self, path: &Path) -> io::Result<UnixListener> {
        let private = private_directory(directory(path))?;
        let made = private.path().join("s");
        let listener = bind_in(private.path(), &made)?;
        self.apply(&made)?;
        match fs::hard_link(&made, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"))
            }
            // Some file systems have no hard links.
            Err(_) => fs::rename(&made, path)?,
            Ok(()) => {}
        }
        Ok(listener)
    }

    fn apply(self, path: &Path) -> io::Result<()> {
        if self.owner.is_some() || self.group.is_some() {
            chown(path, self.owner.map(Uid::from_raw), self.group.map(Gid::from_raw))?;
        }
        match self.mode {
            Some(mode) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
            None => Ok(()),
        }
    }
}

/// A directory that only this user can enter, whatever the umask is.
fn private_directory(parent: &Path) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix(".").permissions(fs::Permissions::from_mode(0o700)).tempdir_in(parent)
}

/// Where the path of a socket in a private directory would be too long for a socket, Linux has a shorter one.
fn bind_in(private: &Path, made: &Path) -> io::Result<UnixListener> {
    use std::os::fd::AsRawFd;
    if SocketAddrUnix::new(made).is_ok() {
        return UnixListener::bind(made);
    }
    let opened = open(private, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixListener::bind(format!("/proc/self/fd/{}/s", opened.as_raw_fd()))
}

/// What became of an attempt to lock a directory.
enum Locked {
    Ours {
        _directory: OwnedFd,
    },
    /// It cannot be read, and so not be locked.
    Impossible,
    ByAnother,
}

/// Waits for other processes that are making or removing a socket file in the same directory, and tries so often.
fn lock_directory(path: &Path, tries: usize) -> Locked {
    let Ok(directory) = open(directory(path), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) else {
        return Locked::Impossible;
    };
    for _ in 0..tries {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Locked::Ours { _directory: directory },
            Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(LOCK_PAUSE),
            Err(_) => return Locked::Impossible,
        }
    }
    Locked::ByAnother
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Removes a socket that nobody listens on. A live one is an error, and so is any other file.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of another kind"))
        }
        Ok(_) => match try_connect(path) {
            Err(Errno::CONNREFUSED) => fs::remove_file(path),
            // A full backlog is one, too.
            Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS) => {
                Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"))
            }
            Err(error) => Err(error.into()),
        },
    }
}

/// Without waiting for a process that does not accept.
fn try_connect(path: &Path) -> Result<(), Errno> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    ioctl_fionbio(&socket, true)?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl SocketFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file if it still is the one that was made. The socket must still be open: until it is closed no other
    /// file can have its number.
    pub(crate) fn remove(&self) {
        if self.is_removed.swap(true, Ordering::Relaxed) {
            return;
        }
        let lock = lock_directory(&self.absolute, REMOVE_TRIES);
        let is_ours = inode(&self.absolute).is_ok_and(|inode| inode == self.inode);
        if is_ours && !matches!(lock, Locked::ByAnother) {
            // Whether it can be removed or not: this process is done with it.
            let _: io::Result<()> = fs::remove_file(&self.absolute);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_stale_socket_is_replaced_and_the_file_goes_with_its_owner() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        drop(UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "stale");
        let (listener, file) = bind(path.clone(), Permissions::default()).expect("replaced");
        assert!(UnixStream::connect(&path).is_ok());
        file.remove();
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn the_mode_is_as_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        for mode in [0o600, 0o660, 0o666] {
            let permissions = Permissions { mode: Some(mode), ..Permissions::default() };
            let bound = bind(path.clone(), permissions).expect("bound");
            assert_eq!(fs::metadata(&path).expect("a file").mode() & 0o777, mode);
            bound.1.remove();
        }
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0, "nothing is left behind");
    }

    /// The mode of a socket that is made without any, at a path of its own.
    fn usual_mode(dir: &Path) -> u32 {
        let (_listener, file) = bind(dir.join("usual"), Permissions::default()).expect("bound");
        let mode = fs::metadata(&file.path).expect("a file").mode();
        file.remove();
        mode
    }

    #[test]
    fn nobody_else_can_enter_the_directory_in_which_a_socket_is_made() {
        let dir = tempfile::tempdir().expect("a directory");
        let private = private_directory(dir.path()).expect("a directory");
        assert_eq!(fs::metadata(private.path()).expect("a directory").mode() & 0o777, 0o700);
    }

    #[test]
    fn a_group_without_a_mode_gets_what_the_umask_leaves_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let gid = fs::metadata(dir.path()).expect("a directory").gid();
        let permissions = Permissions { group: Some(gid), ..Permissions::default() };
        let (_listener, file) = bind(path.clone(), permissions).expect("bound");
        let metadata = fs::metadata(&path).expect("a file");
        assert_eq!((metadata.mode(), metadata.gid()), (usual_mode(dir.path()), gid));
        assert!(UnixStream::connect(&path).is_ok());
        file.remove();
    }

    #[test]
    fn threads_that_bind_at_once_leave_the_umask_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let before = usual_mode(dir.path());
        thread::scope(|scope| {
            for n in 0..4 {
                let dir = dir.path();
                scope.spawn(move || {
                    for _ in 0..50 {
                        let permissions = Permissions { mode: Some(0o600), ..Permissions::default() };
                        let (_listener, file) = bind(dir.join(n.to_string()), permissions).expect("bound");
                        file.remove();
                    }
                });
            }
        });
        assert_eq!(usual_mode(dir.path()), before);
    }

    #[test]
    fn of_those_who_find_one_stale_path_one_gets_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let modes = [None, Some(0o660)];
        for round in 0..100 {
            drop(UnixListener::bind(&path).expect("a stale one"));
            let starters: Vec<_> = thread::scope(|scope| {
                let start = |n: usize| bind(path.clone(), Permissions { mode: modes[n % 2], ..Permissions::default() });
                let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || start(n))).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            let in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
            assert_eq!(starters.iter().filter(|started| started.is_ok()).count(), 1, "round {round}");
            assert!(starters.iter().filter_map(|started| started.as_ref().err()).all(in_use));
            assert!(UnixStream::connect(&path).is_ok());
            starters.into_iter().flatten().for_each(|(_listener, file)| file.remove());
        }
    }

    #[test]
    fn a_predecessor_that_ends_late_does_not_take_its_successor_along() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let mut old = bind(path.clone(), Permissions::default()).expect("bound");
        for _ in 0..200 {
            fs::remove_file(&path).expect("somebody removes it");
            let new = bind(path.clone(), Permissions::default()).expect("bound");
            let (listener, file) = old;
            file.remove();
            drop(listener);
            assert!(UnixStream::connect(&path).is_ok());
            old = new;
        }
        old.1.remove();
    }

    #[test]
    fn a_path_that_leaves_no_room_for_a_private_directory_can_be_used() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let filler = "d".repeat(103 - dir.path().as_os_str().len());
        let deep = dir.path().join(&filler);
        fs::create_dir(&deep).expect("a directory");
        let path = deep.join("s");
        let permissions = Permissions { mode: Some(0o600), ..Permissions::default() };
        let (_listener, file) = bind(path.clone(), permissions).expect("bound");
        assert!(UnixStream::connect(&path).is_ok());
        file.remove();
    }

    #[test]
    fn a_path_that_is_too_long_is_an_error() {
        for len in [108, 109, 4096] {
            let path = PathBuf::from(format!("/tmp/{}", "x".repeat(len - 5)));
            let error = bind(path.clone(), Permissions::default()).map(drop).expect_err("too long");
            assert!(!path.exists(), "{error}");
        }
    }

    #[test]
    fn a_live_socket_and_other_files_are_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let live = dir.path().join("live");
        let (_listener, _file) = bind(live.clone(), Permissions::default()).expect("bound");
        assert_eq!(
            bind(live.clone(), Permissions::default()).map(drop).map_err(|e| e.kind()),
            Err(io::ErrorKind::AddrInUse)
        );
        assert!(live.exists());
        let text = dir.path().join("text");
        fs::write(&text, "precious").expect("written");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&text, &link).expect("linked");
        for path in [text.clone(), link, dir.path().to_path_buf()] {
            assert_eq!(
                bind(path, Permissions::default()).map(drop).map_err(|e| e.kind()),
                Err(io::ErrorKind::AlreadyExists)
            );
        }
        assert_eq!(fs::read_to_string(text).expect("still there"), "precious");
    }

    #[test]
    fn a_live_socket_with_a_full_backlog_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("busy");
        let busy = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
        rustix::net::bind(&busy, &SocketAddrUnix::new(&path).expect("an address")).expect("bound");
        rustix::net::listen(&busy, 0).expect("listening");
        while try_connect(&path).is_ok() {}
        let error = bind(path.clone(), Permissions::default()).map(drop).expect_err("live");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
    }
}
