//! The process of a web server: a private directory, a free port, one child in the foreground.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::FrontEnd;
use crate::demo::{wait_until, PATIENCE};

/// A running web server. It ends when this is dropped; in a test that fails its logs are shown.
pub(super) struct WebServer {
    process: Child,
    address: SocketAddr,
    directory: TempDir,
    /// It takes them along when it is asked to end, and only then.
    has_children: bool,
}

impl WebServer {
    /// Starts it and waits until it listens. `fill_in` says in a text of its configuration what the application is.
    pub(super) fn start(front_end: &FrontEnd, fill_in: impl Fn(&str) -> String) -> WebServer {
        (0..5).find_map(|_| WebServer::try_start(front_end, &fill_in)).expect("the web server finds a free port")
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it has to say, in its error log and on its standard error.
    pub(super) fn logs(&self) -> String {
        read_text(self.directory.path(), "stderr.log") + &read_text(self.directory.path(), "error.log")
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to end and waits.
    pub(super) fn ask_to_end(&mut self) {
        let asked = Command::new("kill").args(["-s", "TERM", &self.pid().to_string()]).status();
        let deadline = Instant::now() + PATIENCE;
        while asked.is_ok() && !self.has_ended() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// `None` when another process took the port between its choice and its use.
    fn try_start(front_end: &FrontEnd, fill_in: &dyn Fn(&str) -> String) -> Option<WebServer> {
        let directory = tempfile::Builder::new().prefix("fcgi-front-end-").tempdir().expect("a temporary directory");
        let address = free_address();
        write_configuration(front_end, directory.path(), address, fill_in);
        let process = spawn(front_end, directory.path());
        let mut server = WebServer { process, address, directory, has_children: front_end.has_children };
        wait_until("the web server to listen", || server.listens() || server.has_ended());
        if server.listens() {
            return Some(server);
        }
        let logs = server.logs();
        assert!(logs.contains("Address already in use"), "{} does not start:\n{logs}", front_end.program);
        None
    }

    /// To ask on the port instead could reach a stranger.
    fn listens(&self) -> bool {
        listening_socket(self.address.port()).is_some_and(|socket| has_open(self.pid(), &socket))
    }

    fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("the state of the web server").is_some()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the web server said:\n{}", self.logs());
        }
        if self.has_children && !self.has_ended() {
            self.ask_to_end();
        }
        // Both fail only when the process has ended and been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address")
}

/// The kernel's name of the socket that listens on that port of the loopback interface.
fn listening_socket(port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let address = format!("0100007F:{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").expect("the table of sockets");
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1) == Some(&address.as_str()) && row.get(3) == Some(&LISTEN))?;
    Some(format!("socket:[{}]", row.get(9)?))
}

fn has_open(pid: u32, socket: &str) -> bool {
    super::application::sockets(pid).contains(socket)
}

fn spawn(front_end: &FrontEnd, directory: &Path) -> Child {
    let stderr = File::create(directory.join("stderr.log")).expect("a file for what the web server says");
    let arguments = front_end.arguments.iter().map(|argument| argument.replace("@DIRECTORY@", &shown(directory)));
    let mut command = Command::new(program(front_end.program));
    command.args(arguments).envs(homes(directory)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    command.spawn().unwrap_or_else(|error| missing(front_end, &error))
}

/// Where programs keep what is theirs.
fn homes(directory: &Path) -> impl Iterator<Item = (&'static str, &Path)> {
    ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"].into_iter().map(move |name| (name, directory))
}

/// Debian keeps them out of the search path of ordinary users.
fn program(name: &str) -> PathBuf {
    let debian = Path::new("/usr/sbin").join(name);
    if debian.exists() {
        debian
    } else {
        PathBuf::from(name)
    }
}

fn missing(front_end: &FrontEnd, error: &io::Error) -> ! {
    let FrontEnd { program, package, .. } = front_end;
    panic!("{program} cannot be run ({error}): tests/run installs it, or on Debian: apt-get install {package}")
}

fn read_text(directory: &Path, name: &str) -> String {
    fs::read(directory.join(name)).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Writes the file from `examples/deploy/` and the one that takes it in, as the distribution's own file does.
fn write_configuration(front_end: &FrontEnd, directory: &Path, address: SocketAddr, fill_in: &dyn Fn(&str) -> String) {
    let fill_in = |text: &str| {
        fill_in(text).replace("@DIRECTORY@", &shown(directory)).replace("@PORT@", &address.port().to_string())
    };
    fs::write(directory.join("site.conf"), fill_in(&site(front_end))).expect("site.conf can be written");
    fs::write(directory.join("main.conf"), fill_in(front_end.main)).expect("main.conf can be written");
}

/// The very file that users get, but for its addresses.
fn site(front_end: &FrontEnd) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy").join(front_end.file);
    let text = fs::read_to_string(&path).expect("a file in examples/deploy");
    front_end.substitutions.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{} has no {from} in it", path.display());
        text.replace(from, to)
    })
}
