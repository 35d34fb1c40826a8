//! Who is measured: the demo of this crate and its peers, how each is built and how it is started.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cells::{Cell, Transport};
use crate::options::Options;

/// The name of this crate's demo among the servers.
pub(crate) const OURS: &str = "fcgi";

/// What ratios refer to.
pub(crate) const BASE: &str = "libfcgi";

/// A server's program and how it is started.
pub(crate) struct Server {
    /// How it is chosen on the command line.
    pub(crate) name: String,
    /// Its column in the tables.
    pub(crate) title: String,
    /// It answers several requests of a connection at once, or takes them at least.
    pub(crate) multiplexes: bool,
    /// With {address}, {bind}, {transport}, {threads} and {demo} to be filled in.
    command: Vec<String>,
}

impl Server {
    /// Program and arguments for a cell.
    pub(crate) fn command(&self, cell: &Cell, address: &str) -> Vec<String> {
        // One that waits for its client to close must not keep the next client waiting.
        let threads = cell.threads.unwrap_or(cell.connections.max(4)).to_string();
        let transport = if cell.transport == Transport::Unix { "unix" } else { "tcp" };
        let bind = address.strip_prefix("unix:").unwrap_or(address);
        let places = [("{address}", address), ("{bind}", bind), ("{transport}", transport), ("{threads}", &threads)];
        let fill = |part: &String| places.iter().fold(part.clone(), |part, (place, value)| part.replace(place, value));
        let parts = self.command.iter().flat_map(|part| match part.as_str() {
            "{demo}" => cell.demo.iter().map(ToString::to_string).collect(),
            _ => vec![fill(part)],
        });
        parts.collect()
    }
}

/// Name, title, whether it multiplexes, how it is built, and its arguments.
type Recipe = (&'static str, &'static str, bool, fn() -> Result<PathBuf, String>, &'static [&'static str]);

const RECIPES: [Recipe; 6] = [
    (OURS, "fcgi", true, build_demo, &["--listen", "{address}", "{demo}"]),
    (BASE, "libfcgi", false, build_libfcgi, &["{address}", "{threads}"]),
    ("Go", "Go net/http/fcgi", true, build_go, &["{address}"]),
    ("tokio-fastcgi", "tokio-fastcgi", true, || build_rust("tokio_peer"), &["{address}"]),
    (
        "outer_cgi",
        "outer_cgi",
        false,
        || build_rust("outer_peer"),
        &["fcgi-{transport}", "--bind", "{bind}", "--max-connections", "{threads}"],
    ),
    ("fastcgi", "fastcgi", false, || build_rust("fastcgi_peer"), &["{address}"]),
];

/// Builds what is wanted; peers that cannot be built here are named in the second list.
pub(crate) fn build(options: &Options) -> Result<(Vec<Server>, Vec<String>), Box<dyn Error>> {
    if let Some(name) = options.unknown_server(&RECIPES.map(|(name, ..)| name)) {
        return Err(format!("there is no server {name}").into());
    }
    let (mut servers, mut left_out) = (Vec::new(), Vec::new());
    for &(name, title, multiplexes, build, arguments) in &RECIPES {
        if !options.wants_server(name) {
            continue;
        }
        eprintln!("building {title}");
        match build() {
            Ok(program) => {
                let arguments = arguments.iter().map(ToString::to_string);
                let command = [program.display().to_string()].into_iter().chain(arguments).collect();
                servers.push(Server { name: name.to_owned(), title: title.to_owned(), multiplexes, command });
            }
            Err(reason) if name == OURS => return Err(format!("building {title}: {reason}").into()),
            Err(reason) => left_out.push(format!("{title}: {}", reason.lines().next().unwrap_or_default())),
        }
    }
    servers.extend(options.more_servers.iter().map(|(name, command)| another(name, command)));
    if servers.is_empty() {
        return Err("there is no server to measure".into());
    }
    Ok((servers, left_out))
}

fn another(name: &str, command: &str) -> Server {
    let command = command.split_whitespace().map(ToString::to_string).collect();
    Server { name: name.to_owned(), title: name.to_owned(), multiplexes: true, command }
}

fn build_demo() -> Result<PathBuf, String> {
    cargo_build(&benches().join(".."), &["--example", "demo"], "demo")
}

fn build_rust(name: &str) -> Result<PathBuf, String> {
    cargo_build(&benches().join("peers/rust"), &["--bin", name], name)
}

/// Builds in a folder, because Cargo's configuration depends on it, and asks Cargo where the program is.
fn cargo_build(folder: &Path, target: &[&str], name: &str) -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(folder).args(["build", "--release", "--locked", "--quiet", "--message-format", "json"]);
    let messages = output(command.args(target))?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut built = messages.filter(|message| message["target"]["name"] == name);
    let program = built.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.ok_or_else(|| format!("cargo built no {name}"))
}

fn build_libfcgi() -> Result<PathBuf, String> {
    let program = peers_folder()?.join("libfcgi");
    let source = benches().join("peers/libfcgi.c");
    output(Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(source).args(["-lfcgi", "-lpthread"]))?;
    Ok(program)
}

fn build_go() -> Result<PathBuf, String> {
    let program = peers_folder()?.join("go");
    output(Command::new("go").current_dir(benches().join("peers/go")).args(["build", "-o"]).arg(&program).arg("."))?;
    Ok(program)
}

fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn benches() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Beside this program, where everything is that can be made again.
fn peers_folder() -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|error| error.to_string())?;
    let folder = own.with_file_name("peers");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    Ok(folder)
}
