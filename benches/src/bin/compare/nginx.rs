//! Measures a server behind nginx, with wrk as its clients.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fcgi_benches::process;

use crate::cells::{Cell, Way};
use crate::measure::time_limit;
use crate::options::Options;
use crate::results::Sample;
use crate::running::{end, find_program, free_port, Cpus, Running};

const CLIENTS: usize = 64;

/// How long nginx may take until it answers.
const START: Duration = Duration::from_secs(5);

pub(crate) fn measure(options: &Options, cell: &Cell, cpus: &Cpus, running: &Running) -> Result<Sample, String> {
    try_measure(options, cell, cpus, running).map_err(|error| error.to_string())
}

fn try_measure(options: &Options, cell: &Cell, cpus: &Cpus, running: &Running) -> io::Result<Sample> {
    let nginx = Nginx::start(running, cell.way == Way::NginxKept, cpus)?;
    let cpu_time = || process::cpu_time(Some(running.process())).map_err(|error| io::Error::other(error.to_string()));
    let before = cpu_time()?;
    let printed = nginx.load(options, cpus)?;
    let cpu = cpu_time()? - before;
    let mut sample = read_wrk(&printed)?;
    sample.insert("cpu_us_per_request".to_owned(), cpu.as_secs_f64() * 1e6 / sample["requests"]);
    Ok(sample)
}

/// One process without a master, so that ending it ends nginx.
struct Nginx {
    child: Child,
    port: u16,
}

impl Nginx {
    fn start(running: &Running, keeps: bool, cpus: &Cpus) -> io::Result<Nginx> {
        let (folder, port) = (running.folder(), free_port()?);
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(folder, &running.address, keeps, port))?;
        let program = find_program("nginx").ok_or_else(|| io::Error::other("nginx is not installed"))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(file).arg("-p").arg(folder).stdin(Stdio::null()).stderr(Stdio::null());
        let nginx = Nginx { child: cpus.start_generator(&mut command)?, port };
        nginx.wait_until_it_answers()?;
        Ok(nginx)
    }

    fn wait_until_it_answers(&self) -> io::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            match self.fetch() {
                Ok(answer) if answer.ends_with("\r\n\r\nhello, world\n") => return Ok(()),
                Ok(answer) if Instant::now() > deadline => {
                    return Err(io::Error::other(format!("through nginx came {answer:?}")));
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                _ => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn fetch(&self) -> io::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_read_timeout(Some(START))?;
        // HTTP/1.0: neither chunks nor a connection that stays.
        socket.write_all(b"GET /hello HTTP/1.0\r\nHost: app.example\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn load(&self, options: &Options, cpus: &Cpus) -> io::Result<String> {
        let seconds = options.seconds_of(Way::NginxKept);
        let mut wrk = Command::new("wrk");
        wrk.args(["--latency", "--threads", "1", "--connections", &CLIENTS.to_string()]);
        wrk.args(["--duration", &format!("{seconds}s"), &format!("http://127.0.0.1:{}/hello", self.port)]);
        cpus.run_generator(&mut wrk, time_limit(options)).map_err(io::Error::other)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn configuration(folder: &Path, address: &str, keeps: bool, port: u16) -> String {
    let folder = folder.display();
    let upstream = if keeps { format!("keepalive {CLIENTS}; keepalive_requests 100000000;") } else { String::new() };
    let keep_conn = if keeps { "fastcgi_keep_conn on;" } else { "" };
    format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    upstream app {{ server {address}; {upstream} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ include /etc/nginx/fastcgi_params; fastcgi_pass app; {keep_conn} }}
    }}
}}
"
    )
}

/// Takes the numbers out of what wrk prints for people.
fn read_wrk(printed: &str) -> io::Result<Sample> {
    if let Some(trouble) = printed.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors")) {
        return Err(io::Error::other(trouble.trim().to_owned()));
    }
    let word = |line: &str, index: usize| -> Option<String> {
        let line = printed.lines().find(|printed| printed.contains(line))?;
        line.split_whitespace().nth(index).map(ToString::to_string)
    };
    let values = || {
        Some(Sample::from([
            ("requests".to_owned(), word(" requests in ", 0)?.parse().ok()?),
            ("requests_per_second".to_owned(), word("Requests/sec:", 1)?.parse().ok()?),
            ("p50_us".to_owned(), microseconds(&word(" 50%", 1)?)?),
            ("p99_us".to_owned(), microseconds(&word(" 99%", 1)?)?),
        ]))
    };
    values().ok_or_else(|| io::Error::other(format!("wrk printed {printed:?}")))
}

fn microseconds(time: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (number, factor) = units.iter().find_map(|(unit, factor)| Some((time.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}
