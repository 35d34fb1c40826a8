//! Unix sockets that this process makes: never at the expense of another's, and not left behind.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{chown, Gid, Mode, Uid};
use rustix::io::{ioctl_fionbio, Errno};
use rustix::net::{connect, socket, AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::umask;

/// Removes the socket file when it is dropped, if it is still the one that was made.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
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
    remove_stale(&path)?;
    let listener = permissions.bind(&path)?;
    let file = SocketFile { inode: inode(&path)?, path };
    permissions.apply(&file.path)?;
    Ok((listener, file))
}

impl Permissions {
    /// Until all is as it should be nobody else can connect: connecting takes the right to write.
    fn bind(self, path: &Path) -> io::Result<UnixListener> {
        if self.mode.is_none() && self.owner.is_none() && self.group.is_none() {
            return UnixListener::bind(path);
        }
        let before = umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        bound
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

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // Whether it can be removed or not: this process is done with it.
            let _: io::Result<()> = fs::remove_file(&self.path);
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
        drop((listener, file));
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
            drop(bound);
        }
    }

    #[test]
    fn a_socket_without_its_permissions_is_not_made_reachable() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        // Nobody may give a file to this user: it is the one number that means "none".
        let permissions = Permissions { owner: Some(u32::MAX - 1), mode: Some(0o666), group: None };
        if let Ok((_listener, _file)) = bind(path.clone(), permissions) {
            assert_eq!(fs::metadata(&path).expect("a file").uid(), u32::MAX - 1, "root may");
        } else {
            assert!(!path.exists());
        }
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

    #[test]
    fn a_socket_that_another_process_made_since_is_not_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let (listener, file) = bind(path.clone(), Permissions::default()).expect("bound");
        fs::remove_file(&path).expect("removed");
        let _other = UnixListener::bind(&path).expect("bound");
        drop((listener, file));
        assert!(path.exists());
    }
}
