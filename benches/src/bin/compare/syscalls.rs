//! Counts a server's system calls per request: with perf, which costs it little, or else with strace.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::cells::Cell;
use crate::measure::{generator, load, time_limit};
use crate::options::Options;
use crate::results::Sample;
use crate::running::{end, find_program, Cpus, Running};

const READS_AND_WRITES: [&str; 8] = ["read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg"];

/// Counts over the whole run, from connecting on, so that the calls and the requests are of the same time.
pub(crate) fn measure(options: &Options, cell: &Cell, cpus: &Cpus, running: &Running) -> Result<Sample, String> {
    let mut generator = generator(options, cell, cpus, running)?;
    generator.args(["--warm-up", "0"]);
    if find_program("perf").is_some() {
        let counted = with_perf(&generator, options, cpus, running);
        // Not everybody may use perf.
        if counted.is_ok() || find_program("strace").is_none() {
            return counted;
        }
    }
    with_strace(&mut generator, options, cpus, running)
}

fn with_perf(generator: &Command, options: &Options, cpus: &Cpus, running: &Running) -> Result<Sample, String> {
    let counts = running.folder().join("perf");
    let calls = READS_AND_WRITES.iter().chain(&["futex"]).map(|call| format!("syscalls:sys_enter_{call}"));
    let events: Vec<_> = calls.chain(["raw_syscalls:sys_enter".to_owned()]).collect();
    let mut perf = Command::new("perf");
    perf.args(["stat", "--field-separator", ",", "--event", &events.join(","), "--output"]).arg(&counts);
    perf.args(["--pid", &running.process().to_string(), "--"]).arg(generator.get_program()).args(generator.get_args());
    let sample = load(&mut perf, options, cpus)?;
    let counts = fs::read_to_string(counts).map_err(|error| error.to_string())?;
    per_request(sample, &read_perf(&counts), |name| if name == "raw_syscalls:sys_enter" { "total" } else { name })
}

fn read_perf(printed: &str) -> Vec<(u64, String)> {
    let fields = printed.lines().map(|line| line.split(',').collect::<Vec<_>>());
    fields.filter_map(|fields| Some((fields.first()?.parse().ok()?, (*fields.get(2)?).to_owned()))).collect()
}

fn with_strace(generator: &mut Command, options: &Options, cpus: &Cpus, running: &Running) -> Result<Sample, String> {
    let counts = running.folder().join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-p", &running.process().to_string(), "-o"]).arg(&counts);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = cpus.start_generator(&mut strace).map_err(|error| error.to_string())?;
    wait_until_traced(running.process());
    let sample = load(generator, options, cpus);
    // At SIGINT it lets go of the process and writes its table.
    let interrupted = kill(Pid::from_raw(child.id() as i32), Signal::SIGINT);
    wait_for(&counts, time_limit(options));
    end(&mut child);
    interrupted.map_err(|error| error.to_string())?;
    let counts = fs::read_to_string(counts).map_err(|error| error.to_string())?;
    per_request(sample?, &read_strace(&counts), |name| name)
}

/// The calls are the fourth column, the name is the last one.
fn read_strace(printed: &str) -> Vec<(u64, String)> {
    let fields = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter_map(|fields| Some((fields.get(3)?.parse().ok()?, (*fields.last()?).to_owned()))).collect()
}

fn wait_until_traced(process: i32) {
    let deadline = Instant::now() + Duration::from_secs(2);
    let is_traced =
        || fs::read_to_string(format!("/proc/{process}/status")).is_ok_and(|s| !s.contains("TracerPid:\t0\n"));
    while !is_traced() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
}

fn wait_for(table: &Path, limit: Duration) {
    let deadline = Instant::now() + limit;
    let is_whole = || fs::read_to_string(table).is_ok_and(|text| text.ends_with("total\n"));
    while !is_whole() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
}

fn per_request(mut sample: Sample, counts: &[(u64, String)], name: impl Fn(&str) -> &str) -> Result<Sample, String> {
    let requests = sample["requests"];
    let count = |wanted: &[&str]| {
        let plain = |text: &str| text.trim_start_matches("syscalls:sys_enter_").to_owned();
        let matching = counts.iter().filter(|(_, text)| wanted.contains(&name(&plain(text))));
        matching.map(|(count, _)| count).sum::<u64>() as f64 / requests
    };
    let total = count(&["total"]);
    if total == 0.0 {
        return Err("no system calls were counted".to_owned());
    }
    sample.insert("system_calls".to_owned(), total);
    sample.insert("reads_and_writes".to_owned(), count(&READS_AND_WRITES));
    sample.insert("futex".to_owned(), count(&["futex"]));
    Ok(sample)
}
