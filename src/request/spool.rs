//! Where a body goes that its handler is slow to read: an unlinked temporary file, written by the reader thread and
//! read by the handler's, each at its own offset and neither while it holds the lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::sync::Mutex;

/// A file that is made when it is first written to.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    file: Mutex<Option<Arc<File>>>,
}

impl Spool {
    /// Only one thread writes.
    pub(crate) fn write_at(&self, offset: u64, content: &[u8]) -> io::Result<()> {
        let file = match self.file() {
            Some(file) => file,
            None => {
                let new = Arc::new(tempfile::tempfile()?);
                *self.file.lock() = Some(new.clone());
                new
            }
        };
        file.write_all_at(content, offset)
    }

    /// Reads what was written before.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.file() {
            Some(file) => file.read_exact_at(buffer, offset),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Gives the file up, and its room on the disk, as soon as nobody is using it.
    pub(crate) fn close(&self) {
        let file = self.file.lock().take();
        drop(file);
    }

    fn file(&self) -> Option<Arc<File>> {
        self.file.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_at_its_offset() {
        let spool = Spool::default();
        let mut buffer = [0; 3];
        assert!(spool.read_at(0, &mut buffer).is_err());
        spool.write_at(0, b"abc").expect("written");
        spool.write_at(3, b"def").expect("written");
        spool.read_at(2, &mut buffer).expect("read");
        assert_eq!(&buffer, b"cde");
        spool.close();
        assert!(spool.read_at(2, &mut buffer).is_err(), "given up");
    }
}
