//! The load generator: it drives one FastCGI server from one thread, checks every answer byte for byte, and prints what
//! it measured as one line of JSON.
//!
//! `options.rs` reads what to do, `driver.rs` holds the load for some seconds, `idle.rs` only opens connections,
//! `connection.rs` is one connection, and `answer.rs` what must come back.

mod answer;
mod connection;
mod driver;
mod idle;
mod options;

use std::error::Error;
use std::process::ExitCode;

use nix::sys::resource::{getrlimit, setrlimit, Resource};

use crate::options::Options;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = Options::read()? else {
        print!("{}", options::HELP);
        return Ok(());
    };
    let (_, most_files) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most_files, most_files)?;
    let measured = if options.idle { idle::measure(&options)? } else { driver::measure(&options)? };
    println!("{measured}");
    Ok(())
}
