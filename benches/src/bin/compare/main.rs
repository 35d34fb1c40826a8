//! Measures this crate's demo and its peers side by side: each cell on each server, round after round, each time in a
//! fresh process; then a table of medians, in Markdown.
//!
//! `cells.rs` lists what is measured and the targets, `servers.rs` who is measured and how they are built, `running.rs`
//! is one server's process, `measure.rs`, `nginx.rs` and `syscalls.rs` are the ways to measure, `results.rs` is what
//! came out, and `report.rs` prints it.

mod cells;
mod measure;
mod nginx;
mod options;
mod report;
mod results;
mod running;
mod servers;
mod syscalls;

use std::error::Error;
use std::process::ExitCode;

use crate::cells::Cell;
use crate::options::Options;
use crate::results::Results;
use crate::running::Cpus;
use crate::servers::Server;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether this crate's demo did all that it was asked; what a peer cannot do is in the report.
fn run() -> Result<bool, Box<dyn Error>> {
    let Some(options) = Options::read()? else { return Ok(true) };
    let (cells, missing) = available(options.cells()?);
    let (servers, mut left_out) = servers::build(&options)?;
    left_out.extend(missing);
    let cpus = Cpus::choose(options.pinned)?;
    let results = measure_all(&options, &servers, &cells, &cpus);
    print!("{}", report::report(&options, &servers, &cells, &cpus, &results, &left_out));
    Ok(!results.has_failed(servers::OURS))
}

/// Leaves out the cells whose programs are not here, and says which.
fn available(cells: Vec<&'static Cell>) -> (Vec<&'static Cell>, Vec<String>) {
    let (mut here, mut left_out) = (Vec::new(), Vec::new());
    for cell in cells {
        match cell.missing_program() {
            Some(program) => left_out.push(format!("{}: {program} is not installed", cell.title)),
            None => here.push(cell),
        }
    }
    (here, left_out)
}

fn measure_all(options: &Options, servers: &[Server], cells: &[&'static Cell], cpus: &Cpus) -> Results {
    let mut results = Results::default();
    for round in 0..options.rounds {
        for (position, cell) in cells.iter().enumerate() {
            eprintln!("round {} of {}: {}", round + 1, options.rounds, cell.key);
            for &index in &order(servers.len(), round + position) {
                let server = &servers[index];
                results.push(round, cell.key, &server.name, measure::measure(options, cell, server, cpus));
            }
        }
    }
    results
}

/// The servers take turns in going first, and in who follows whom: what one leaves behind must not always meet the
/// same.
fn order(n_servers: usize, turn: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..n_servers).collect();
    order.rotate_left(turn % n_servers);
    if turn / n_servers % 2 == 1 {
        order.reverse();
    }
    order
}
