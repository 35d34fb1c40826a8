//! The options of the comparison.

use std::error::Error;

use lexopt::{Arg, Parser, ValueExt};

use crate::cells::{Cell, Way, CELLS};

const HELP: &str = "\
Measures this crate's demo and its peers side by side, and prints Markdown tables.

Usage: benches/compare [OPTIONS]

  --rounds N                  how often each cell is measured on each server (3)
  --seconds S                 how long each time (0.8); behind nginx and for system calls at least 1
  --quick                     one round of 0.2 seconds, about a minute
  --cells KEY,KEY             only these rows
  --servers NAME,NAME         only these: fcgi, libfcgi, Go, tokio-fastcgi, outer_cgi, fastcgi
  --server NAME=COMMAND       one more; {address} in it becomes unix:/path or 127.0.0.1:port, {threads} the number of
                              connections at once, and {demo} the options that the demo gets for the row; may be
                              given more than once
  --unpinned                  leave it to the kernel which CPU runs what, and let the load generator sleep; otherwise
                              the server has one CPU, and the load generator another, where it polls
  --help                      this text

The keys of the rows:
";

pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) pinned: bool,
    cells: Option<String>,
    servers: Option<String>,
    /// Name and command.
    pub(crate) more_servers: Vec<(String, String)>,
}

impl Options {
    /// `None` when only help was asked for, and given.
    pub(crate) fn read() -> Result<Option<Options>, lexopt::Error> {
        let mut options =
            Options { rounds: 3, seconds: 0.8, pinned: true, cells: None, servers: None, more_servers: Vec::new() };
        let mut parser = Parser::from_env();
        while let Some(option) = parser.next()? {
            match option {
                Arg::Long("rounds") => options.rounds = parser.value()?.parse()?,
                Arg::Long("seconds") => options.seconds = parser.value()?.parse()?,
                Arg::Long("quick") => (options.rounds, options.seconds) = (1, 0.2),
                Arg::Long("cells") => options.cells = Some(parser.value()?.string()?),
                Arg::Long("servers") => options.servers = Some(parser.value()?.string()?),
                Arg::Long("server") => options.more_servers.push(named_command(&parser.value()?.string()?)?),
                Arg::Long("unpinned") => options.pinned = false,
                Arg::Long("help") => {
                    print_help();
                    return Ok(None);
                }
                unknown => return Err(unknown.unexpected()),
            }
        }
        Ok(Some(options))
    }

    /// The rows to measure, in their own order.
    pub(crate) fn cells(&self) -> Result<Vec<&'static Cell>, Box<dyn Error>> {
        let Some(keys) = &self.cells else { return Ok(CELLS.iter().collect()) };
        let find =
            |key: &str| CELLS.iter().find(|cell| cell.key == key).ok_or_else(|| format!("there is no row {key}"));
        Ok(keys.split(',').map(find).collect::<Result<_, _>>()?)
    }

    /// How long to measure in this way.
    pub(crate) fn seconds_of(&self, way: Way) -> f64 {
        match way {
            Way::Load | Way::Idle => self.seconds,
            // wrk takes whole seconds.
            Way::NginxKept | Way::NginxClosed => self.seconds.ceil(),
            // The calls for opening connections are to vanish among those for requests.
            Way::SystemCalls => self.seconds.max(1.0),
        }
    }

    /// A name that was asked for and is none of these.
    pub(crate) fn unknown_server(&self, known: &[&str]) -> Option<&str> {
        let more = || self.more_servers.iter().map(|(name, _)| name.as_str());
        let is_known = |wanted: &str| known.iter().copied().chain(more()).any(|name| wanted.eq_ignore_ascii_case(name));
        self.servers.as_deref()?.split(',').find(|wanted| !is_known(wanted))
    }

    pub(crate) fn wants_server(&self, name: &str) -> bool {
        self.servers.as_ref().is_none_or(|names| names.split(',').any(|wanted| wanted.eq_ignore_ascii_case(name)))
    }
}

fn print_help() {
    print!("{HELP}");
    for cell in CELLS {
        println!("  {:13} {}", cell.key, cell.title);
    }
}

fn named_command(text: &str) -> Result<(String, String), lexopt::Error> {
    let (name, command) = text.split_once('=').ok_or("--server wants NAME=COMMAND")?;
    Ok((name.to_owned(), command.to_owned()))
}
