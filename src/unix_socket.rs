//! Unix sockets that this process makes: never at the expense of another's, and not left behind.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Removes the socket file when it is dropped, if it is still the one that was made.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

/// Listens at `path`. A stale socket there is replaced.
pub(crate) fn bind(path: PathBuf) -> io::Result<(UnixListener, SocketFile)> {
    remove_stale(&path)?;
    let listener = UnixListener::bind(&path)?;
    let inode = inode(&path)?;
    Ok((listener, SocketFile { path, inode }))
}

/// Removes a socket that nobody listens on. A live one is an error, and so is any other file.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of another kind"))
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
        },
    }
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

    #[test]
    fn a_stale_socket_is_replaced_and_the_file_goes_with_its_owner() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        drop(UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "stale");
        let (listener, file) = bind(path.clone()).expect("replaced");
        assert!(UnixStream::connect(&path).is_ok());
        drop((listener, file));
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_and_other_files_are_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let live = dir.path().join("live");
        let (_listener, _file) = bind(live.clone()).expect("bound");
        assert_eq!(bind(live.clone()).map(drop).map_err(|e| e.kind()), Err(io::ErrorKind::AddrInUse));
        assert!(live.exists());
        let text = dir.path().join("text");
        fs::write(&text, "precious").expect("written");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&text, &link).expect("linked");
        for path in [text.clone(), link, dir.path().to_path_buf()] {
            assert_eq!(bind(path).map(drop).map_err(|e| e.kind()), Err(io::ErrorKind::AlreadyExists));
        }
        assert_eq!(fs::read_to_string(text).expect("still there"), "precious");
    }

    #[test]
    fn a_socket_that_another_process_made_since_is_not_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let (listener, file) = bind(path.clone()).expect("bound");
        fs::remove_file(&path).expect("removed");
        let _other = UnixListener::bind(&path).expect("bound");
        drop((listener, file));
        assert!(path.exists());
    }
}
