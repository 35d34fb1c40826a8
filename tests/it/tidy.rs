//! Holds the repository to what ARCHITECTURE.md and CHANGELOG.md say of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The layers, lowest first. A file imports only from its own layer and from those below it.
const LAYERS: [&[&str]; 5] = [
    &["protocol"],
    &["cgi", "error", "settings"],
    &[
        "buffers",
        "cancellation",
        "spool",
        "pipe",
        "exchange",
        "body",
        "socket",
        "outbox",
        "answer",
        "send_body",
        "handler",
        "request_ext",
        "metrics",
        "pool",
        "listener",
        "unix_socket",
        "systemd",
        "threads",
        "peers",
        "refusal",
    ],
    &["accept", "lobby", "unsent", "reader", "connection", "worker", "clock", "shared"],
    &["server", "running", "signals", "cgi_program", "lib", "fuzzing", "benchmarking"],
];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let nested = folders.iter().flat_map(|folder| rust_files(folder));
    files.into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")).chain(nested).collect()
}

fn sources() -> Vec<PathBuf> {
    rust_files(&Path::new(ROOT).join("src"))
}

/// The module of the crate's root that a file belongs to.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(ROOT).join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| panic!("{module} has no layer here and in ARCHITECTURE.md"))
}

/// The part of a file in front of its tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

#[test]
fn a_file_imports_only_from_its_own_layer_and_below() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let own = layer(&module(&path));
        for import in product(&text).lines().filter_map(|line| line.trim().strip_prefix("use crate::")) {
            let target = import.split([':', ';', '{']).next().unwrap();
            assert!(layer(target) <= own, "{} imports {target} from a higher layer", path.display());
        }
    }
}

#[test]
fn the_protocol_knows_no_io_threads_locks_or_logs() {
    for path in sources().iter().filter(|path| module(path) == "protocol") {
        let text = fs::read_to_string(path).unwrap();
        for word in ["std::io", "std::net", "std::thread", "std::sync", "log::", "http::", "parking_lot", "crossbeam"] {
            assert!(!product(&text).contains(word), "{} names {word}", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_none_is_too_long() {
    let folders =
        ["src", "tests", "examples", "benches/src", "benches/micro"].map(|folder| Path::new(ROOT).join(folder));
    for path in folders.iter().flat_map(|folder| rust_files(folder)) {
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! ") || first.starts_with("#![doc"), "{}: {first}", path.display());
        assert!(text.lines().count() <= 470, "{} has {} lines", path.display(), text.lines().count());
    }
}

#[test]
fn architecture_names_every_module() {
    let architecture = fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).unwrap();
    for module in LAYERS.concat().iter().filter(|module| **module != "fuzzing") {
        assert!(architecture.contains(&format!("`{module}")), "{module}");
    }
}

#[test]
fn the_changelog_has_the_current_version() {
    let changelog = fs::read_to_string(Path::new(ROOT).join("CHANGELOG.md")).unwrap();
    let heading = format!("## {}", env!("CARGO_PKG_VERSION"));
    assert!(changelog.lines().any(|line| line.starts_with(&heading)), "{heading}");
}

/// The names of all examples: files, and folders with a `main.rs`.
fn examples() -> Vec<String> {
    let entries = fs::read_dir(Path::new(ROOT).join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let programs = entries.filter(|path| path.extension().is_some_and(|e| e == "rs") || path.join("main.rs").exists());
    programs.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_example_is_named_in_the_readme_and_tested() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
    let tests: String = rust_files(&Path::new(ROOT).join("tests")).iter().map(read).collect();
    for name in examples() {
        assert!(readme.contains(&format!("`{name}`")), "the README does not name the example {name}");
        assert!(tests.contains(&format!("\"{name}\"")), "no test names the example {name}");
    }
}

#[test]
fn the_package_holds_the_crate_and_nothing_else() {
    let arguments = ["package", "--list", "--allow-dirty", "--offline"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(ROOT).output().unwrap();
    let list = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && list.lines().any(|file| file == "src/lib.rs"), "{output:?}");
    let made_by_cargo = [".cargo_vcs_info.json", "Cargo.lock", "Cargo.toml", "Cargo.toml.orig"];
    let texts = ["README.md", "CHANGELOG.md", "ARCHITECTURE.md", "LICENSE"];
    for file in list.lines().filter(|file| !made_by_cargo.contains(file) && !texts.contains(file)) {
        assert!(file.starts_with("src/") || file.starts_with("examples/"), "{file} is in the package");
    }
    let len = |file: &str| fs::metadata(Path::new(ROOT).join(file)).map_or(0, |metadata| metadata.len());
    let total: u64 = list.lines().map(len).sum();
    assert!(total < 768 << 10, "the package has {total} bytes");
}
