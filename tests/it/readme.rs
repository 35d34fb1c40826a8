//! Verifies that what README.md tells people to run does what it says.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::demo::{example, wait_until, Demo};
use crate::http::Client;
use crate::launchers::process::{tool, Process};
use crate::peer::Connection;

/// An address of the loopback range that nothing else uses: a port that is free there stays so.
const ADDRESS: &str = "127.0.0.78";

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The code blocks of the README: language and text.
fn all_blocks() -> Vec<(String, String)> {
    let readme = read("README.md");
    let parts = readme.split("\n```").skip(1).step_by(2).filter_map(|part| part.split_once('\n'));
    parts.map(|(language, text)| (language.to_owned(), text.to_owned())).collect()
}

fn blocks(language: &str) -> Vec<String> {
    all_blocks().into_iter().filter(|(name, _)| name == language).map(|(_, text)| text).collect()
}

/// The commands of all `sh` blocks, or what follows in those that begin like this.
fn commands(beginning: &str) -> Vec<String> {
    let blocks = blocks("sh");
    let lines = blocks.iter().flat_map(|block| block.lines());
    lines.filter_map(|line| line.strip_prefix(beginning)).map(str::to_owned).collect()
}

fn free_port() -> String {
    TcpListener::bind((ADDRESS, 0)).unwrap().local_addr().unwrap().port().to_string()
}

/// The command with the programs that were built for this test, and with an address of its own.
fn adapted(command: &str, address: &str) -> String {
    let built = example("hello").parent().unwrap().display().to_string();
    let command = command.replace("$PWD/", "").replace("target/release/", "target/debug/");
    command.replace("target/debug/examples", &built).replace("127.0.0.1:9000", address)
}

#[test]
fn every_snippet_is_in_a_language_that_is_tested() {
    // `cargo test --doc` compiles those in Rust, and runs what does not serve.
    for (language, text) in all_blocks() {
        assert!(["rust", "rust,no_run", "sh", "nginx"].contains(&language.as_str()), "{language}: {text}");
    }
    assert_eq!(blocks("nginx").len(), 1);
}

#[test]
fn every_command_is_run_somewhere() {
    let known = ["cargo run --example ", "cargo build ", "spawn-fcgi ", "tests/run"];
    for command in commands("") {
        assert!(known.iter().any(|beginning| command.starts_with(beginning)), "nothing runs {command}");
    }
    for options in commands("cargo build ") {
        let (_, name) = options.split_once("--example ").unwrap();
        assert!(example(name).exists(), "it is built with the tests");
    }
    assert_eq!(commands("tests/run"), [""]);
    assert!(read(".ci/run").lines().any(|line| line == "tests/run"));
}

#[test]
fn programs_run_as_told() {
    for told in commands("cargo run --example ") {
        let (name, arguments) = told.split_once(" -- ").unwrap_or((&told, ""));
        let arguments = adapted(arguments, &format!("{ADDRESS}:{}", free_port()));
        let mut program = Process::start(tool(example(name).to_str().unwrap()).args(arguments.split_whitespace()));
        let address = program.address();
        match address.strip_prefix("http://") {
            Some(http) => {
                let mut client = Client::connect(http.trim_end_matches('/').parse().unwrap());
                assert_eq!(client.get("/").status, 200, "{told}");
            }
            None => {
                let mut connection = Connection::open(&address);
                connection.request(1).get("/").send();
                assert_eq!(connection.answer(1).status, 200, "{told}");
            }
        }
        program.stop();
    }
}

#[test]
#[ignore = "needs spawn-fcgi; tests/run installs it"]
fn spawn_fcgi_runs_as_told() {
    for options in commands("spawn-fcgi ") {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("hello.sock").display().to_string();
        let command = adapted(&options, "").replace("/tmp/hello.sock", &socket);
        assert!(command.contains(&socket), "a socket of this test's own: {command}");
        let _spawned = Process::start(tool("sh").args(["-c", &format!("exec spawn-fcgi {command}")]));
        wait_until("somebody to listen", || UnixStream::connect(&socket).is_ok());
        let mut connection = Connection::open(&format!("unix:{socket}"));
        connection.request(1).get("/").send();
        assert_eq!(connection.answer(1).text(), "hello, world\n");
    }
}

#[test]
#[ignore = "needs nginx; tests/run installs it"]
fn the_demo_answers_behind_nginx_as_configured() {
    let demo = Demo::tcp(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let address = format!("{ADDRESS}:{}", free_port());
    let told = blocks("nginx").remove(0);
    let paths =
        ["client_body", "fastcgi", "proxy", "scgi", "uwsgi"].map(|name| format!("{name}_temp_path {path}/{name};\n"));
    let private = format!("http {{\naccess_log off;\n{}", paths.concat());
    let configuration = told.replace("/tmp/nginx.pid", &format!("{path}/nginx.pid")).replace("http {", &private);
    let configuration = configuration.replace("127.0.0.1:9000", demo.address()).replace("127.0.0.1:8080", &address);
    fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
    let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let options = ["-e", "stderr", "-g", "daemon off; master_process off;", "-c", &format!("{path}/nginx.conf")];
    let nginx = Process::start(tool(program).args(options));
    wait_until("nginx to listen", || {
        assert!(!nginx.log().contains("[emerg]"), "{}", nginx.log());
        fs::read_to_string(folder.path().join("nginx.pid")).is_ok_and(|pid| pid.ends_with('\n'))
    });
    let mut client = Client::connect(address.parse::<SocketAddr>().unwrap());
    assert_eq!(client.get("/hello").text(), "hello, world\n");
    assert_eq!(client.get("/").status, 200);
}
