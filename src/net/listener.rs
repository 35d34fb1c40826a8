//! Listening sockets: given to this process or made by it.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{sockopt, AddressFamily};

use super::socket::Socket;
use super::unix_socket::{self, Permissions, SocketFile};
use crate::error::{Error, Result};

/// A socket on which web servers connect.
///
/// It is made from an address, from the socket that this process was given, or from a listener of the standard
/// library:
///
/// ```no_run
/// use fcgi::Listener;
///
/// let bound = Listener::bind("unix:/run/app.sock")?;
/// let local = Listener::bind("127.0.0.1:9000")?;
/// let given = Listener::inherited()?;
/// let own = Listener::from(std::net::TcpListener::bind("[::1]:9000").expect("a free port"));
/// # Ok::<(), fcgi::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    address: Address,
    /// A socket file of our own.
    file: Option<SocketFile>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A Unix socket to be made: see [`Listener::unix`].
#[derive(Clone, Debug)]
pub struct UnixBinding {
    path: PathBuf,
    permissions: Permissions,
}

impl UnixBinding {
    /// Who may connect, as `chmod` has it: connecting takes the right to write. Usual is `0o660` with the web
    /// server's group. Without it the process's umask decides.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> UnixBinding {
        self.permissions.mode = Some(mode);
        self
    }

    /// The owner of the socket file, by number. Only root may give files away.
    #[must_use]
    pub fn owner(mut self, uid: u32) -> UnixBinding {
        self.permissions.owner = Some(uid);
        self
    }

    /// The group of the socket file, by number: any for root, one of its own for another process.
    #[must_use]
    pub fn group(mut self, gid: u32) -> UnixBinding {
        self.permissions.group = Some(gid);
        self
    }

    /// Listens there; see [`Listener::bind`] for what happens to a file at the path. A socket with permissions of its own
    /// is made in a directory that is there for that moment, beside the path, and the umask of the process stays as it is.
    ///
    /// # Errors
    /// The path is in use, too long for a socket, or may not be used by this process; or the permissions cannot be
    /// had.
    pub fn bind(self) -> Result<Listener> {
        let context = format!("cannot listen on unix:{}", self.path.display());
        let (listener, file) =
            unix_socket::bind(self.path, self.permissions).map_err(|error| Error::io(context, error))?;
        let address = Address { text: format!("unix:{}", file.path().display()) };
        Ok(Listener { kind: Kind::Unix(listener), address, file: Some(file) })
    }
}

/// Where a listener can be reached: displayed as `unix:/path` or `127.0.0.1:9000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
}

impl Listener {
    /// Listens on `unix:/path` or `host:port`.
    ///
    /// A stale socket file at the path, one that nobody listens on, is replaced; a live one, or any other file,
    /// never is. The file is removed when the listener is dropped. Port 0 takes any free port:
    /// [`address`](Self::address) tells which.
    ///
    /// # Errors
    /// The address is malformed, in use, or may not be used by this process.
    pub fn bind(address: &str) -> Result<Listener> {
        match address.strip_prefix("unix:") {
            Some(path) => Listener::unix(path).bind(),
            None if !address.contains(':') => {
                Err(Error::new(format!("cannot listen on {address}: expected unix:/path or host:port")))
            }
            None => {
                let bound = TcpListener::bind(address);
                Ok(bound.map_err(|error| Error::io(format!("cannot listen on {address}"), error))?.into())
            }
        }
    }

    /// A Unix socket at `path` with permissions of its own. They are set before anybody can connect.
    ///
    /// ```no_run
    /// // User 33 and group 33 are www-data on Debian: `id www-data`.
    /// let listener = fcgi::Listener::unix("/run/app.sock").mode(0o660).group(33).bind()?;
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn unix(path: impl Into<PathBuf>) -> UnixBinding {
        UnixBinding { path: path.into(), permissions: Permissions::default() }
    }

    /// Takes the socket that this process was given: with the feature `systemd` the first of LISTEN_FDS, else file
    /// descriptor 0 (FastCGI 2.2), as spawn-fcgi, mod_fcgid, lighttpd, multiwatch, and systemd with
    /// `StandardInput=socket` pass it.
    ///
    /// # Errors
    /// There is none. The message says what to do.
    pub fn inherited() -> Result<Listener> {
        #[cfg(feature = "systemd")]
        if let Some(socket) = super::systemd::socket()? {
            let listener = Listener::from_socket(socket);
            return listener.map_err(|error| Error::io("cannot use the first socket of LISTEN_FDS", error));
        }
        Listener::stdin()
    }

    /// Takes the socket that is file descriptor 0.
    ///
    /// # Errors
    /// It is not a listening socket. The message says what to do.
    pub fn stdin() -> Result<Listener> {
        let context = "this process was given no listening socket as file descriptor 0: let a web server, \
                       spawn-fcgi or systemd start it, or tell it an address to listen on";
        let socket = io::stdin().as_fd().try_clone_to_owned();
        socket.and_then(Listener::from_socket).map_err(|error| Error::io(context, error))
    }

    /// Where web servers connect to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    fn from_socket(socket: OwnedFd) -> io::Result<Listener> {
        if !sockopt::socket_acceptconn(&socket)? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
        }
        match sockopt::socket_domain(&socket)? {
            AddressFamily::UNIX => Ok(UnixListener::from(socket).into()),
            AddressFamily::INET | AddressFamily::INET6 => Ok(TcpListener::from(socket).into()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Removes the file of a socket that this process has made: who comes from now on finds none, or a successor's. The
    /// connections that came before can still be taken.
    pub(crate) fn remove_file(&self) {
        self.file.iter().for_each(SocketFile::remove);
    }

    /// Whoever waits for connections must be able to stop, and processes that share the socket take each other's:
    /// accepting must not block.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        match &self.kind {
            Kind::Tcp(listener) => listener.set_nonblocking(true),
            Kind::Unix(listener) => listener.set_nonblocking(true),
        }
    }

    /// Takes a connection, if there is one.
    pub(crate) fn accept(&self) -> io::Result<Socket> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // Without it an answer in two writes waits for the peer's delayed acknowledgement: 40 ms.
                stream.set_nodelay(true)?;
                stream.set_nonblocking(false)?;
                Ok(Socket::Tcp(stream))
            }
            Kind::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                blocking_on_bsd(&stream)?;
                Ok(Socket::Unix(stream))
            }
        }
    }

    /// Waits until there may be a connection, or `wake` can be read, and for at most `timeout`.
    pub(crate) fn wait(&self, wake: impl AsFd, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        wait_for(&mut [PollFd::new(self, PollFlags::IN), PollFd::new(&wake, PollFlags::IN)], timeout.as_ref())
    }
}

/// Waits until `wake` can be read, for at most `timeout`.
pub(crate) fn wait_for_wake(wake: impl AsFd, timeout: Duration) -> io::Result<()> {
    let timeout = Timespec::try_from(timeout).ok();
    wait_for(&mut [PollFd::new(&wake, PollFlags::IN)], timeout.as_ref())
}

/// A signal ends the wait, too: whoever waits looks again anyway.
fn wait_for(fds: &mut [PollFd<'_>], timeout: Option<&Timespec>) -> io::Result<()> {
    match poll(fds, timeout) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Linux gives accepted sockets no flags of the listener; the BSDs do.
fn blocking_on_bsd(stream: &std::os::unix::net::UnixStream) -> io::Result<()> {
    match cfg!(any(target_os = "linux", target_os = "android")) {
        true => Ok(()),
        false => stream.set_nonblocking(false),
    }
}

// The file goes before the socket is closed: see `SocketFile::remove`.
impl Drop for Listener {
    fn drop(&mut self) {
        self.remove_file();
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(listener) => listener.as_fd(),
            Kind::Unix(listener) => listener.as_fd(),
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Listener {
        let text = listener.local_addr().map_or_else(|_| "tcp".to_owned(), |address| address.to_string());
        Listener { kind: Kind::Tcp(listener), address: Address { text }, file: None }
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Listener {
        let address = listener.local_addr().ok();
        let path = address.as_ref().and_then(|address| address.as_pathname());
        let text = path.map_or_else(|| "unix:".to_owned(), |path| format!("unix:{}", path.display()));
        Listener { kind: Kind::Unix(listener), address: Address { text }, file: None }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_show_as_they_are_given() {
        let listener = Listener::bind("127.0.0.1:0").expect("a port");
        let text = listener.address().to_string();
        assert!(text.starts_with("127.0.0.1:") && !text.ends_with(":0"), "{text}");
        let dir = tempfile::tempdir().expect("a directory");
        let address = format!("unix:{}", dir.path().join("s").display());
        assert_eq!(Listener::bind(&address).expect("a socket").address().to_string(), address);
    }

    #[test]
    fn an_address_that_cannot_be_used_is_named_in_the_error() {
        for address in ["nonsense", "unix:/no/such/directory/socket", "256.0.0.1:1"] {
            let error = format!("{:?}", Listener::bind(address).expect_err("no such address"));
            assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
        }
    }

    #[test]
    fn accepting_does_not_block_and_accepted_sockets_do() {
        let listener = Listener::bind("127.0.0.1:0").expect("a port");
        listener.prepare().expect("prepared");
        assert_eq!(listener.accept().map(drop).map_err(|e| e.kind()), Err(io::ErrorKind::WouldBlock));
        let peer = std::net::TcpStream::connect(listener.address().to_string()).expect("connected");
        let (_quiet, wake) = std::os::unix::net::UnixStream::pair().expect("a pair");
        listener.wait(&wake, None).expect("a connection");
        let socket = listener.accept().expect("accepted");
        drop(peer);
        assert_eq!(socket.read(&mut Vec::with_capacity(8)).expect("the end"), 0);
    }
}
