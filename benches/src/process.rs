//! What another process has used. Nothing, where its id is not known.

use std::error::Error;
use std::fs;
use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// CPU time of all threads of the process so far, ended ones too.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(process: Option<i32>) -> Result<Duration, Box<dyn Error>> {
    let Some(process) = process else { return Ok(Duration::ZERO) };
    Ok(clock_gettime(clock_getcpuclockid(Pid::from_raw(process))?)?.into())
}

/// Resident memory in KiB.
///
/// # Errors
/// When there is no such process, or it is somebody else's.
pub fn resident_kib(process: Option<i32>) -> Result<f64, Box<dyn Error>> {
    let Some(process) = process else { return Ok(0.0) };
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let resident = rollup.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
    Ok(resident.ok_or("smaps_rollup without Rss")?.parse()?)
}
