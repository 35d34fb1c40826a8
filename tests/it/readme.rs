//! Verifies that what README.md tells people to run does what it says.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use crate::demo::{example, wait_until, Demo};
use crate::http::Client;
use crate::launchers::process::{tool, Process};
use crate::peer::Connection;

/// Every command of a `sh` block, the file that runs it, and how that can be seen there.
const COMMANDS: [(&str, &str, &str); 6] = [
    ("cargo run --example demo -- --listen 127.0.0.1:9000", "tests/it/readme.rs", "fn the_demo_runs_as_told"),
    ("cargo build --example stream", "tests/it/readme.rs", "fn examples_are_built_and_spawned_as_told"),
    ("cargo build --release --example hello", "tests/it/readme.rs", "fn examples_are_built_and_spawned_as_told"),
    (SPAWN_STREAM, "tests/it/readme.rs", "fn examples_are_built_and_spawned_as_told"),
    (SPAWN_HELLO, "tests/it/readme.rs", "fn examples_are_built_and_spawned_as_told"),
    ("tests/run", ".ci/run", "\ntests/run\n"),
];

const SPAWN_STREAM: &str = r#"spawn-fcgi -a 127.0.0.1 -p 9000 -n -- "$PWD/target/debug/examples/stream""#;
const SPAWN_HELLO: &str = r#"spawn-fcgi -s /tmp/hello.sock -n -- "$PWD/target/release/examples/hello""#;

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

fn commands() -> Vec<String> {
    blocks("sh").iter().flat_map(|block| block.lines()).map(str::to_owned).collect()
}

fn free_port() -> String {
    TcpListener::bind((ADDRESS, 0)).unwrap().local_addr().unwrap().port().to_string()
}

fn waits_for(address: &str) {
    wait_until("somebody to listen", || match address.strip_prefix("unix:") {
        Some(path) => std::os::unix::net::UnixStream::connect(path).is_ok(),
        None => std::net::TcpStream::connect(address).is_ok(),
    });
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
    let commands = commands();
    for command in &commands {
        let known = COMMANDS.iter().find(|(known, _, _)| known == command);
        let (_, file, text) = known.unwrap_or_else(|| panic!("nothing runs {command}"));
        assert!(read(file).contains(text), "{file} does not run {command}");
    }
    assert_eq!(commands.len(), COMMANDS.len(), "the README has other commands");
}

#[test]
fn the_demo_runs_as_told() {
    let commands = commands();
    let told = commands.iter().find_map(|command| command.strip_prefix("cargo run --example demo -- ")).unwrap();
    let address = format!("{ADDRESS}:{}", free_port());
    let told = told.replace("127.0.0.1:9000", &address);
    let mut demo = Process::start(tool(example("demo").to_str().unwrap()).args(told.split(' ')));
    assert_eq!(demo.address(), address);
    let mut connection = Connection::open(&address);
    connection.request(1).get("/").send();
    assert_eq!(connection.answer(1).status, 200);
    assert_eq!(demo.stop().code, Some(0));
}

#[test]
#[ignore = "needs spawn-fcgi; tests/run installs it"]
fn examples_are_built_and_spawned_as_told() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("hello.sock").display().to_string();
    let built = example("hello").parent().unwrap().display().to_string();
    for (command, name) in [(SPAWN_STREAM, "stream"), (SPAWN_HELLO, "hello")] {
        let is_built = |line: &String| line.starts_with("cargo build ") && line.ends_with(&format!("--example {name}"));
        assert!(commands().iter().any(is_built), "{name} is not built");
        let port = free_port();
        let address = if name == "stream" { format!("{ADDRESS}:{port}") } else { format!("unix:{socket}") };
        let command = command.replace("127.0.0.1", ADDRESS).replace("9000", &port).replace("/tmp/hello.sock", &socket);
        let command = command.replace("$PWD/target/debug/examples", &built);
        let command = command.replace("$PWD/target/release/examples", &built);
        let _spawned = Process::start(tool("sh").args(["-c", &format!("exec {command}")]));
        waits_for(&address);
        let mut connection = Connection::open(&address);
        connection.request(1).get("/").send();
        assert!(!connection.body_until(1, 10).is_empty(), "{name}");
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
