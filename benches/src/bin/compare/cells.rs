//! What is measured: one row of the table for each cell, and the targets that this crate sets itself.

use crate::running::find_program;

/// One row of the table.
pub(crate) struct Cell {
    /// How it is chosen on the command line.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) way: Way,
    pub(crate) transport: Transport,
    /// Open at once; a server with a thread for each connection gets as many threads, unless `threads` says otherwise.
    pub(crate) connections: usize,
    pub(crate) threads: Option<usize>,
    /// Options of the load generator beyond those that follow from the above.
    pub(crate) load: &'static [&'static str],
    /// Options of the demo, where the defaults do not admit the cell.
    pub(crate) demo: &'static [&'static str],
    /// Only servers that answer several requests of a connection at once can do it.
    pub(crate) multiplexes: bool,
    /// What the row shows.
    pub(crate) shown: Shown,
    pub(crate) targets: &'static [Target],
}

/// How a cell is measured.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Way {
    Load,
    Idle,
    NginxKept,
    NginxClosed,
    SystemCalls,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Transport {
    Unix,
    Tcp,
}

/// The value in the main table.
#[derive(Clone, Copy)]
pub(crate) struct Shown {
    /// Its name in a sample.
    pub(crate) value: &'static str,
    pub(crate) decimals: usize,
    /// Whether a ratio to libfcgi says anything.
    pub(crate) has_ratio: bool,
}

/// A bound on a value, or on its ratio to that of a peer in the same round.
pub(crate) struct Target {
    pub(crate) value: &'static str,
    pub(crate) of: Option<&'static str>,
    pub(crate) bound: Bound,
}

#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

const CPU: Shown = Shown { value: "cpu_us_per_request", decimals: 2, has_ratio: true };
const RATE: Shown = Shown { value: "requests_per_second", decimals: 0, has_ratio: true };

/// 1 MiB in each request, so that it is the same as CPU time per MiB.
const CPU_PER_MIB: Shown = Shown { value: "cpu_us_per_request", decimals: 0, has_ratio: true };

const fn cpu(of: &'static str, most: f64) -> Target {
    Target { value: "cpu_us_per_request", of: Some(of), bound: Bound::AtMost(most) }
}

const KEPT: &[Target] = &[cpu("libfcgi", 1.0), cpu("tokio-fastcgi", 0.5), cpu("Go", 0.25)];
const CLOSED: &[Target] = &[cpu("libfcgi", 1.0)];
const ONE: &[Target] =
    &[cpu("libfcgi", 1.2), Target { value: "p50_us", of: Some("libfcgi"), bound: Bound::AtMost(1.0) }];
const NGINX: &[Target] = &[Target { value: "requests_per_second", of: Some("libfcgi"), bound: Bound::AtLeast(1.0) }];
const BODIES: &[Target] = &[cpu("libfcgi", 0.9)];

const BASE: Cell = Cell {
    key: "",
    title: "",
    way: Way::Load,
    transport: Transport::Unix,
    connections: 1,
    threads: None,
    load: &[],
    demo: &[],
    multiplexes: false,
    shown: CPU,
    targets: &[],
};

pub(crate) const CELLS: &[Cell] = &[
    Cell { key: "kept-1", title: "1 kept connection: CPU µs", targets: ONE, ..BASE },
    Cell { key: "kept-8", title: "8 kept connections: CPU µs", connections: 8, targets: KEPT, ..BASE },
    Cell { key: "kept-64", title: "64 kept connections: CPU µs", connections: 64, targets: KEPT, ..BASE },
    Cell { key: "kept-256", title: "256 kept connections: CPU µs", connections: 256, targets: KEPT, ..BASE },
    Cell {
        key: "kept-64-tcp",
        title: "64 kept connections over TCP: CPU µs",
        transport: Transport::Tcp,
        connections: 64,
        targets: KEPT,
        ..BASE
    },
    Cell {
        key: "closed-1",
        title: "a connection per request, 1 at once: CPU µs",
        load: &["--closed"],
        targets: ONE,
        ..BASE
    },
    Cell {
        key: "closed-8",
        title: "a connection per request, 8 at once: CPU µs",
        connections: 8,
        load: &["--closed"],
        targets: CLOSED,
        ..BASE
    },
    Cell {
        key: "closed-64",
        title: "a connection per request, 64 at once: CPU µs",
        connections: 64,
        load: &["--closed"],
        targets: CLOSED,
        ..BASE
    },
    Cell {
        key: "closed-256",
        title: "a connection per request, 256 at once: CPU µs",
        connections: 256,
        load: &["--closed"],
        targets: CLOSED,
        ..BASE
    },
    Cell {
        key: "multiplexed",
        title: "multiplexed, 8 connections × 16 ids: CPU µs",
        connections: 8,
        load: &["--ids", "16"],
        multiplexes: true,
        targets: &[cpu("tokio-fastcgi", 0.15)],
        ..BASE
    },
    Cell {
        key: "nginx-kept",
        title: "behind nginx, 64 clients, kept connections: requests/s",
        way: Way::NginxKept,
        connections: 64,
        shown: RATE,
        targets: NGINX,
        ..BASE
    },
    Cell {
        key: "nginx-closed",
        title: "behind nginx, 64 clients, a connection per request: requests/s",
        way: Way::NginxClosed,
        connections: 64,
        shown: RATE,
        targets: NGINX,
        ..BASE
    },
    Cell {
        key: "upload",
        title: "upload, bodies of 1 MiB: CPU µs per MiB",
        connections: 4,
        load: &["--path", "/count", "--body", "1048576"],
        shown: CPU_PER_MIB,
        targets: BODIES,
        ..BASE
    },
    Cell {
        key: "download",
        title: "download, bodies of 1 MiB: CPU µs per MiB",
        connections: 4,
        load: &["--path", "/bytes?n=1048576"],
        shown: CPU_PER_MIB,
        targets: BODIES,
        ..BASE
    },
    Cell {
        key: "slow",
        title: "slow handlers, 2 connections × 8 ids × 5 ms: share of the ideal rate",
        connections: 2,
        load: &["--path", "/sleep?ms=5", "--ids", "8"],
        multiplexes: true,
        shown: Shown { value: "share_of_ideal", decimals: 2, has_ratio: false },
        targets: &[Target { value: "share_of_ideal", of: None, bound: Bound::AtLeast(0.93) }],
        ..BASE
    },
    Cell {
        key: "idle",
        title: "1,000 idle kept connections: KiB resident each",
        way: Way::Idle,
        connections: 1000,
        demo: &["--max-connections", "1100"],
        shown: Shown { value: "resident_kib_per_connection", decimals: 1, has_ratio: false },
        targets: &[Target { value: "resident_kib_per_connection", of: None, bound: Bound::AtMost(15.0) }],
        ..BASE
    },
    Cell {
        key: "fairness",
        title: "256 kept connections, 8 workers: slowest connection / mean",
        connections: 256,
        threads: Some(8),
        demo: &["--workers", "8"],
        shown: Shown { value: "slowest_to_mean", decimals: 2, has_ratio: false },
        targets: &[Target { value: "slowest_to_mean", of: None, bound: Bound::AtLeast(0.5) }],
        ..BASE
    },
    Cell {
        key: "calls-kept",
        title: "8 kept connections: system calls per request",
        way: Way::SystemCalls,
        connections: 8,
        shown: Shown { value: "system_calls", decimals: 2, has_ratio: false },
        targets: &[
            Target { value: "reads_and_writes", of: None, bound: Bound::AtMost(2.0) },
            Target { value: "futex", of: None, bound: Bound::AtMost(0.5) },
        ],
        ..BASE
    },
    Cell {
        key: "calls-closed",
        title: "a connection per request, 8 at once: system calls per request",
        way: Way::SystemCalls,
        connections: 8,
        load: &["--closed"],
        shown: Shown { value: "system_calls", decimals: 2, has_ratio: false },
        targets: &[Target { value: "system_calls", of: None, bound: Bound::AtMost(7.0) }],
        ..BASE
    },
];

/// What all handlers of the cell `slow` could answer in a second: 2 connections with 8 ids, 5 ms each.
pub(crate) const IDEAL_RATE: f64 = 2.0 * 8.0 / 0.005;

impl Cell {
    /// A program that the cell needs and that is not installed.
    pub(crate) fn missing_program(&self) -> Option<&'static str> {
        let needed: &[&str] = match self.way {
            Way::Load | Way::Idle => &[],
            Way::NginxKept | Way::NginxClosed => &["nginx", "wrk"],
            // Either will do.
            Way::SystemCalls if find_program("strace").is_some() => &[],
            Way::SystemCalls => &["perf"],
        };
        needed.iter().copied().find(|program| find_program(program).is_none())
    }
}

impl Bound {
    /// Judged as it is printed: to two decimals.
    pub(crate) fn holds(self, value: f64) -> bool {
        let value = (value * 100.0).round() / 100.0;
        match self {
            Bound::AtMost(most) => value <= most,
            Bound::AtLeast(least) => value >= least,
        }
    }
}
