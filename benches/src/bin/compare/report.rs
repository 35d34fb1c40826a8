//! The tables, in Markdown.

use std::fmt::Write;
use std::fs;

use crate::cells::{Bound, Cell, Shown, Target, Way};
use crate::options::Options;
use crate::results::{Results, Summary};
use crate::running::Cpus;
use crate::servers::{Server, BASE, OURS};

/// Marks a value that not all connections had a part in.
const STARVING: &str = "†";

pub(crate) fn report(
    options: &Options,
    servers: &[Server],
    cells: &[&Cell],
    cpus: &Cpus,
    results: &Results,
    left_out: &[String],
) -> String {
    let report = Report { servers, results };
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}\n", conditions(options, cpus));
    out += &report.main_table(cells);
    out += &report.rate_table(cells);
    out += &report.footnote(cells);
    out += &list("Left out", left_out);
    out += &list("Failed", &results.failures());
    out
}

fn conditions(options: &Options, cpus: &Cpus) -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, m)| m);
    let n_cpus = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let placing = if cpus.pinned {
        "the server on one CPU, the load generator polling on another"
    } else {
        "nothing pinned, the load generator sleeping"
    };
    format!(
        "{n_cpus} CPUs ({model}), Linux {}; medians of {} of {} s; {placing}. \
         CPU time is the server's, per request; in parentheses the ratio to {BASE} in the same round.",
        kernel.trim(),
        plural(options.rounds, "round"),
        options.seconds
    )
}

fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn list(title: &str, items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    format!("\n{title}:\n\n{}", items.iter().map(|item| format!("- {item}\n")).collect::<String>())
}

struct Report<'a> {
    servers: &'a [Server],
    results: &'a Results,
}

impl Report<'_> {
    fn main_table(&self, cells: &[&Cell]) -> String {
        let mut out = self.heading(&["", "target", "met"]);
        for cell in cells {
            let targets: Vec<_> = cell.targets.iter().map(describe).collect();
            let values = self.servers.iter().map(|server| self.value(cell, server));
            out += &row([cell.title.to_owned(), targets.join(", "), self.verdict(cell)].into_iter().chain(values));
        }
        out
    }

    /// Requests per second and latency, of the rows that have both.
    fn rate_table(&self, cells: &[&Cell]) -> String {
        let has_rate = |cell: &&&Cell| !matches!(cell.way, Way::Idle | Way::SystemCalls);
        let rows = cells.iter().filter(has_rate).map(|cell| {
            let title = cell.title.split(':').next().unwrap_or_default().to_owned();
            row([title].into_iter().chain(self.servers.iter().map(|server| self.rate(cell, server))))
        });
        let rows: String = rows.collect();
        if rows.is_empty() {
            return rows;
        }
        format!("\nRequests/s, and latency p50 / p99 in µs:\n\n{}{rows}", self.heading(&[""]))
    }

    fn footnote(&self, cells: &[&Cell]) -> String {
        let starves = |cell: &Cell| self.servers.iter().any(|server| self.starves(cell, server));
        if cells.iter().any(|cell| starves(cell)) {
            format!("\n{STARVING} Some connections got no answer at all in the measured time.\n")
        } else {
            String::new()
        }
    }

    fn starves(&self, cell: &Cell, server: &Server) -> bool {
        let unanswered = self.results.summary(cell.key, &server.name, "unanswered_connections");
        matches!(unanswered, Summary::Median(connections) if connections > 0.0)
    }

    fn heading(&self, first: &[&str]) -> String {
        let titles =
            first.iter().map(ToString::to_string).chain(self.servers.iter().map(|server| server.title.clone()));
        let rules = first.iter().map(|_| "---".to_owned()).chain(self.servers.iter().map(|_| "---:".to_owned()));
        row(titles) + &row(rules)
    }

    fn value(&self, cell: &Cell, server: &Server) -> String {
        let Shown { value, decimals, has_ratio } = cell.shown;
        let ratio = if has_ratio { self.ratio_to_base(cell, server, value) } else { String::new() };
        let text = self.text(cell, server, value, |number| format!("{number:.decimals$}{ratio}"));
        if cell.way == Way::SystemCalls {
            return text + &self.calls(cell, server);
        }
        text + if self.starves(cell, server) { STARVING } else { "" }
    }

    /// The two kinds of calls that the targets are about.
    fn calls(&self, cell: &Cell, server: &Server) -> String {
        let median = |value| self.results.summary(cell.key, &server.name, value);
        match (median("reads_and_writes"), median("futex")) {
            (Summary::Median(reads_and_writes), Summary::Median(futex)) => {
                format!(" ({reads_and_writes:.2} read+write, {futex:.2} futex)")
            }
            _ => String::new(),
        }
    }

    fn rate(&self, cell: &Cell, server: &Server) -> String {
        let ratio = self.ratio_to_base(cell, server, "requests_per_second");
        let latency = |value| self.text(cell, server, value, |us| format!("{us:.0}"));
        let (p50, p99) = (latency("p50_us"), latency("p99_us"));
        self.text(cell, server, "requests_per_second", |rate| format!("{}{ratio}, {p50} / {p99}", thousands(rate)))
    }

    fn text(&self, cell: &Cell, server: &Server, value: &str, show: impl Fn(f64) -> String) -> String {
        match self.results.summary(cell.key, &server.name, value) {
            Summary::Median(number) => show(number),
            Summary::NotApplicable => "n/a".to_owned(),
            Summary::Failed => "failed".to_owned(),
            Summary::NotMeasured => "-".to_owned(),
        }
    }

    fn ratio_to_base(&self, cell: &Cell, server: &Server, value: &str) -> String {
        match self.results.ratio(cell.key, &server.name, BASE, value) {
            Some(ratio) if server.name != BASE => format!(" ({ratio:.2})"),
            _ => String::new(),
        }
    }

    /// Whether this crate meets its targets, as far as their peers were measured.
    fn verdict(&self, cell: &Cell) -> String {
        let judged: Vec<_> =
            cell.targets.iter().filter_map(|target| Some((target, self.reached(cell, target)?))).collect();
        let missed: Vec<_> = judged.iter().filter(|(target, reached)| !target.bound.holds(*reached)).collect();
        match (judged.len(), missed.len()) {
            (0, _) => "-".to_owned(),
            (_, 0) => "yes".to_owned(),
            _ => format!(
                "**no**: {}",
                missed.iter().map(|(t, reached)| miss(t, *reached)).collect::<Vec<_>>().join(", ")
            ),
        }
    }

    fn reached(&self, cell: &Cell, target: &Target) -> Option<f64> {
        match target.of {
            Some(peer) => self.results.ratio(cell.key, OURS, peer, target.value),
            None => match self.results.summary(cell.key, OURS, target.value) {
                Summary::Median(median) => Some(median),
                _ => None,
            },
        }
    }
}

fn row(columns: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", columns.into_iter().collect::<Vec<_>>().join(" | "))
}

fn describe(target: &Target) -> String {
    let sign = match target.bound {
        Bound::AtMost(_) => '≤',
        Bound::AtLeast(_) => '≥',
    };
    let (Bound::AtMost(number) | Bound::AtLeast(number)) = target.bound;
    match target.of {
        Some(peer) => format!("{}{sign} {number:.2} of {peer}", quantity(target)),
        None => format!("{}{sign} {number}", quantity(target)),
    }
}

fn miss(target: &Target, reached: f64) -> String {
    match target.of {
        Some(peer) => format!("{}{reached:.2} of {peer}", quantity(target)),
        None => format!("{}{reached:.2}", quantity(target)),
    }
}

/// What a target is about, where that is not what the row is about.
fn quantity(target: &Target) -> &'static str {
    match target.value {
        "p50_us" => "p50 ",
        "reads_and_writes" => "read+write ",
        "futex" => "futex ",
        _ => "",
    }
}

fn thousands(number: f64) -> String {
    if number < 10_000.0 {
        return format!("{number:.0}");
    }
    format!("{:.1}k", number / 1000.0)
}
