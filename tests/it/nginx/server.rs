//! The nginx process: a private directory, a free port, one process in the foreground.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

use super::Setup;
use crate::demo::wait_until;

/// A running nginx. It ends when this is dropped; in a test that fails its error log is shown.
pub(super) struct Nginx {
    process: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Nginx {
    /// Starts nginx in front of the application at `upstream` and waits until it listens.
    pub(super) fn start(setup: Setup, upstream: &str) -> Nginx {
        (0..5).find_map(|_| Nginx::try_start(setup, upstream)).expect("nginx finds a free port")
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn error_log(&self) -> String {
        read_text(self.directory.path(), "error.log")
    }

    /// `None` when another process took the port between its choice and its use.
    fn try_start(setup: Setup, upstream: &str) -> Option<Nginx> {
        let directory = tempfile::Builder::new().prefix("fcgi-nginx-").tempdir().expect("a temporary directory");
        let address = free_address();
        write_configuration(directory.path(), address, setup, upstream);
        let process = spawn(directory.path());
        let mut nginx = Nginx { process, address, directory };
        wait_until("nginx to listen", || nginx.listens() || nginx.has_ended());
        if nginx.listens() {
            return Some(nginx);
        }
        let log = nginx.all_logs();
        assert!(log.contains("Address already in use"), "nginx does not start:\n{log}");
        None
    }

    /// It writes its process id when it listens. To ask on the port instead could reach a stranger.
    fn listens(&self) -> bool {
        read_text(self.directory.path(), "nginx.pid").ends_with('\n')
    }

    fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("the state of nginx").is_some()
    }

    fn all_logs(&self) -> String {
        read_text(self.directory.path(), "stderr.log") + &self.error_log()
    }
}

/// There is no master process and all files are private, so nothing is left behind when it is killed.
impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("nginx said:\n{}", self.all_logs());
        }
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address")
}

fn spawn(directory: &Path) -> Child {
    let stderr = File::create(directory.join("stderr.log")).expect("a file for what nginx says");
    let mut command = Command::new(program());
    command.arg("-p").arg(directory).arg("-c").arg(directory.join("nginx.conf"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    command.spawn().unwrap_or_else(|error| missing(&error))
}

/// Debian keeps it out of the search path of ordinary users.
fn program() -> &'static str {
    let debian = "/usr/sbin/nginx";
    if Path::new(debian).exists() {
        debian
    } else {
        "nginx"
    }
}

fn missing(error: &io::Error) -> ! {
    panic!("nginx cannot be run ({error}): tests/run installs it, or on Debian: apt-get install nginx-light")
}

fn read_text(directory: &Path, name: &str) -> String {
    fs::read(directory.join(name)).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}

fn write_configuration(directory: &Path, address: SocketAddr, setup: Setup, upstream: &str) {
    fs::write(directory.join("fastcgi_params"), PARAMS).expect("fastcgi_params can be written");
    let text = configuration(&directory.to_string_lossy(), address, setup, upstream);
    fs::write(directory.join("nginx.conf"), text).expect("nginx.conf can be written");
}

/// By default nginx closes a connection after 1,000 requests, which is when a test still counts on it.
fn configuration(directory: &str, address: SocketAddr, setup: Setup, upstream: &str) -> String {
    let on_or_off = |is_on| if is_on { "on" } else { "off" };
    let pool = if setup.keep_conn { "keepalive 8; keepalive_requests 100000;" } else { "" };
    let keep_conn = on_or_off(setup.keep_conn);
    let buffering = on_or_off(setup.buffering);
    format!(
        "daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/client_body;
    fastcgi_temp_path {directory}/fastcgi;
    proxy_temp_path {directory}/proxy;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    client_max_body_size 0;
    keepalive_requests 100000;
    upstream demo {{ server {upstream}; {pool} }}
    server {{
        listen {address};
        server_name demo.test;
        root {directory};
        location / {{
            include {directory}/fastcgi_params;
            fastcgi_pass demo;
            fastcgi_keep_conn {keep_conn};
            fastcgi_buffering {buffering};
            fastcgi_request_buffering {buffering};
        }}
    }}
}}
"
    )
}

/// What nginx's own file of this name and `fastcgi.conf` pass on.
const PARAMS: &str = "\
fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
fastcgi_param QUERY_STRING $query_string;
fastcgi_param REQUEST_METHOD $request_method;
fastcgi_param CONTENT_TYPE $content_type;
fastcgi_param CONTENT_LENGTH $content_length;
fastcgi_param SCRIPT_NAME $fastcgi_script_name;
fastcgi_param REQUEST_URI $request_uri;
fastcgi_param DOCUMENT_URI $document_uri;
fastcgi_param DOCUMENT_ROOT $document_root;
fastcgi_param SERVER_PROTOCOL $server_protocol;
fastcgi_param REQUEST_SCHEME $scheme;
fastcgi_param HTTPS $https if_not_empty;
fastcgi_param GATEWAY_INTERFACE CGI/1.1;
fastcgi_param SERVER_SOFTWARE nginx/$nginx_version;
fastcgi_param REMOTE_ADDR $remote_addr;
fastcgi_param REMOTE_PORT $remote_port;
fastcgi_param REMOTE_USER $remote_user;
fastcgi_param SERVER_ADDR $server_addr;
fastcgi_param SERVER_PORT $server_port;
fastcgi_param SERVER_NAME $server_name;
fastcgi_param REDIRECT_STATUS 200;
";
