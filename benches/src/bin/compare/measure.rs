//! Measures one cell on one server, in a fresh process.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::cells::{Cell, Way, IDEAL_RATE};
use crate::nginx;
use crate::options::Options;
use crate::results::{Outcome, Sample};
use crate::running::{Cpus, Running};
use crate::servers::Server;
use crate::syscalls;

/// How long a measurement may take beyond its own time.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) fn measure(options: &Options, cell: &Cell, server: &Server, cpus: &Cpus) -> Outcome {
    if cell.multiplexes && !server.multiplexes {
        return Outcome::NotApplicable;
    }
    let measured = Running::start(server, cell, cpus).and_then(|running| match cell.way {
        Way::Load | Way::Idle => load(&mut generator(options, cell, cpus, &running)?, options, cpus),
        Way::NginxKept | Way::NginxClosed => nginx::measure(options, cell, cpus, &running),
        Way::SystemCalls => syscalls::measure(options, cell, cpus, &running),
    });
    match measured {
        Ok(sample) => Outcome::Measured(sample),
        Err(reason) => Outcome::Failed(reason),
    }
}

/// The load generator for a cell; its program is beside this one.
pub(crate) fn generator(options: &Options, cell: &Cell, cpus: &Cpus, running: &Running) -> Result<Command, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(own.with_file_name("load"));
    command.arg("--address").arg(&running.address);
    command.arg("--process").arg(running.process().to_string());
    command.arg("--connections").arg(cell.connections.to_string());
    command.arg("--seconds").arg(options.seconds_of(cell.way).to_string());
    command.args(cell.load);
    if cell.way == Way::Idle {
        command.arg("--idle");
    } else if cpus.pinned {
        command.arg("--busy");
    }
    Ok(command)
}

pub(crate) fn load(command: &mut Command, options: &Options, cpus: &Cpus) -> Result<Sample, String> {
    let printed = cpus.run_generator(command, time_limit(options))?;
    let measured: Value = serde_json::from_str(&printed).map_err(|error| error.to_string())?;
    let members = measured.as_object().into_iter().flatten();
    let mut sample: Sample = members.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect();
    if sample.get("requests").is_none_or(|&requests| requests == 0.0) {
        return Err("no request was answered".to_owned());
    }
    if let Some(&rate) = sample.get("requests_per_second") {
        sample.insert("share_of_ideal".to_owned(), rate / IDEAL_RATE);
    }
    Ok(sample)
}

pub(crate) fn time_limit(options: &Options) -> Duration {
    Duration::from_secs_f64(options.seconds.max(1.0)) + PATIENCE
}
