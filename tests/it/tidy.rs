//! Holds the repository to what ARCHITECTURE.md and CHANGELOG.md say of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The rooms of the house, lowest first: a file imports from its own room and from those below it. `ARCHITECTURE.md` draws
/// them.
const ROOMS: [&str; 14] = [
    "error",
    "sync",
    "journal",
    "protocol",
    "metrics",
    "net",
    "cgi",
    "settings",
    "request",
    "handler",
    "connection",
    "runtime",
    "server",
    "lib",
];

/// What looks into the rooms from outside of the house: fuzz targets and benchmarks.
const HARNESSES: [&str; 2] = ["fuzzing", "benchmarking"];

/// The longest file, in lines.
const MAX_LINES: usize = 450;

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

/// The part of a file in front of its tests, without comments and without what is there for the model checker.
fn product(text: &str) -> String {
    let product = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = product.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The first names behind each `prefix` in `text`: of `super::{a::B, C}` they are `a` and `C`.
fn names_behind(text: &str, prefix: &str) -> Vec<String> {
    let name = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let group = |text: &str| {
        let mut depth = 0;
        let end = text.find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        });
        let inside = &text[1..end.unwrap_or(text.len())];
        let mut depth = 0;
        let parts = inside.split(move |c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        });
        parts.map(name).filter(|name| !name.is_empty()).collect::<Vec<_>>()
    };
    let behind = text.match_indices(prefix).map(|(at, _)| &text[at + prefix.len()..]);
    behind.flat_map(|text| if text.starts_with('{') { group(text) } else { vec![name(text)] }).collect()
}

#[test]
fn a_file_imports_only_from_its_own_room_and_below() {
    let room = |name: &str| ROOMS.iter().position(|room| *room == name);
    for path in sources() {
        let own = module(&path);
        if HARNESSES.contains(&own.as_str()) || own == "lib" {
            continue;
        }
        let own = room(&own).unwrap_or_else(|| panic!("{own} has no place among the rooms"));
        let text = product(&fs::read_to_string(&path).unwrap());
        for name in names_behind(&text, "crate::").iter().filter(|name| room(name).is_some() || name.is_empty()) {
            let target = room(name).unwrap_or_else(|| panic!("{}: crate::*", path.display()));
            assert!(target <= own, "{} imports {name} from a higher room", path.display());
        }
    }
}

/// The file in which a room's `mod.rs` says that `name` is to be found: a module of its own, or a re-export from one.
fn file_of(name: &str, mod_rs: &str, files: &[String]) -> Option<String> {
    if files.iter().any(|file| file == name) {
        return Some(name.to_owned());
    }
    let reexports = |file: &&String| {
        let prefixes = [format!("use {file}::"), format!("use self::{file}::")];
        prefixes.iter().any(|prefix| names_behind(mod_rs, prefix).iter().any(|found| found == name))
    };
    files.iter().find(reexports).cloned()
}

#[test]
fn no_two_files_of_a_room_import_each_other_not_even_through_a_third() {
    for room in ROOMS.iter().map(|room| Path::new(ROOT).join("src").join(room)).filter(|room| room.is_dir()) {
        let read = |file: &str| product(&fs::read_to_string(room.join(file).with_extension("rs")).unwrap());
        let entries = fs::read_dir(&room).unwrap().map(|entry| entry.unwrap().path());
        let rust = entries.filter(|path| path.extension().is_some_and(|e| e == "rs"));
        let files: Vec<String> = rust.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        let mod_rs = read("mod");
        let imports = |file: &String| -> Vec<String> {
            let text = read(file);
            let own_room = format!("crate::{}::", room.file_name().unwrap().to_str().unwrap());
            let names = [names_behind(&text, "super::"), names_behind(&text, &own_room)].concat();
            names.iter().map(|name| file_of(name, &mod_rs, &files).unwrap_or_else(|| "mod".to_owned())).collect()
        };
        let mut left: Vec<(String, Vec<String>)> = files.iter().map(|file| (file.clone(), imports(file))).collect();
        // `mod.rs` imports those that its own code uses; to re-export is not to import.
        let (code, mut used) = (mod_rs.clone(), Vec::new());
        for file in files.iter().filter(|file| *file != "mod") {
            let private = code.lines().any(|line| line.starts_with(&format!("use self::{file}::")));
            if private || code.contains(&format!(" {file}::")) && !code.contains(&format!("use {file}::")) {
                used.push(file.clone());
            }
        }
        left.iter_mut().filter(|(file, _)| file == "mod").for_each(|(_, imports)| imports.clone_from(&used));
        // Who imports nobody that is left goes; who stays is in a circle.
        while !left.is_empty() {
            let names: Vec<String> = left.iter().map(|(file, _)| file.clone()).collect();
            let before = left.len();
            left.retain(|(file, imports)| imports.iter().any(|import| import != file && names.contains(import)));
            assert!(left.len() < before, "in a circle in {}: {left:?}", room.display());
        }
    }
}

#[test]
fn no_thread_of_a_server_calls_the_logger_itself() {
    for path in sources().iter().filter(|path| ["connection", "runtime", "request"].contains(&module(path).as_str())) {
        let text = product(&fs::read_to_string(path).unwrap());
        assert!(!text.contains("log::"), "{} calls the logger", path.display());
    }
}

#[test]
fn only_workers_and_flushing_threads_may_wait_for_a_peer() {
    let places = |word: &str| {
        let with = sources().into_iter().filter(|path| product(&fs::read_to_string(path).unwrap()).contains(word));
        let mut names: Vec<_> = with.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        names.retain(|name| name != "tests.rs");
        names.sort();
        names
    };
    assert_eq!(places("impl MayBlock for"), ["flush.rs", "worker.rs"]);
    assert_eq!(places("FlushThread("), ["flush.rs"]);
    assert_eq!(places("WorkerThread("), ["worker.rs"]);
    assert_eq!(places("flush(unsent)"), ["state.rs", "worker.rs"]);
    assert_eq!(places("wait_writable("), ["socket.rs", "wire.rs"]);
    assert_eq!(places("wait_for_room("), ["flush.rs", "mod.rs", "outbox.rs", "serve.rs"]);
}

#[test]
fn the_protocol_knows_no_io_threads_locks_or_logs() {
    for path in sources().iter().filter(|path| module(path) == "protocol") {
        let text = product(&fs::read_to_string(path).unwrap());
        for word in ["std::io", "std::net", "std::thread", "std::sync", "log::", "http::", "parking_lot", "crossbeam"] {
            assert!(!text.contains(word), "{} names {word}", path.display());
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
        assert!(text.lines().count() <= MAX_LINES, "{} has {} lines", path.display(), text.lines().count());
    }
}

#[test]
fn architecture_names_every_module() {
    let architecture = fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).unwrap();
    for module in ROOMS.iter().chain(&HARNESSES) {
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
