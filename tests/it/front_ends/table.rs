//! The table of results, `tests/FRONT_ENDS.md`: what the matrix declares, for people to read.

use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

use super::{apache, authnz, caddy, fcgid, h2o, haproxy, lighttpd, nginx, FrontEnd, Row};

/// Web servers in front of a demo, or with demos of their own.
const ROWS: &[Row] = &[
    nginx::kept_buffered::ROW,
    nginx::kept_unbuffered::ROW,
    nginx::closing_buffered::ROW,
    nginx::closing_unbuffered::ROW,
    apache::unix::ROW,
    apache::tcp::ROW,
    fcgid::ROW,
    lighttpd::connecting::ROW,
    lighttpd::spawning::ROW,
    haproxy::keeping::ROW,
    haproxy::multiplexing::ROW,
    caddy::ROW,
    h2o::ROW,
];

/// Those that start the demo.
const PROCESSES: &[Row] = &[fcgid::PROCESSES, lighttpd::spawning::PROCESSES];

/// Those that ask the demo before they serve anything.
const AUTHORIZERS: &[Row] = &[authnz::ROW, lighttpd::authorizing::ROW];

const INTRODUCTION: &str = "\
# The demo behind real web servers

Every cell but those of the first table is a test: the demo (`examples/demo`) runs behind the web server, which has the
very file of `examples/deploy/` that users get, changed in its addresses and as the first table says. *yes*: what the
name of the row says is so. Anything else is what happens instead, and the test insists on it unless it is a matter of
chance.

`tests/run front_ends` runs them all. This file is made from the declarations in `tests/it/front_ends/`, and the test
`the_table_says_what_the_matrix_declares` fails when it differs from them; with `FCGI_UPDATE=1` in the environment it
writes this file.

";

fn rendered() -> String {
    let mut text = INTRODUCTION.to_owned();
    put_all(&mut text).expect("a string takes all");
    text
}

fn put_all(out: &mut String) -> fmt::Result {
    put_web_servers(out)?;
    for (heading, rows) in
        [("Requests", ROWS), ("Processes that the web server starts", PROCESSES), ("Authorizers", AUTHORIZERS)]
    {
        writeln!(out, "\n## {heading}\n")?;
        put_results(out, rows)?;
    }
    Ok(())
}

fn put_web_servers(out: &mut String) -> fmt::Result {
    writeln!(out, "| web server | tested version | file | changed |\n|---|---|---|---|")?;
    for Row { front_end, .. } in [ROWS, AUTHORIZERS].into_iter().flatten() {
        let file = format!("[{0}](../examples/deploy/{0})", front_end.file);
        writeln!(out, "| {} | {} | {file} | {} |", front_end.name, front_end.version, front_end.setting)?;
    }
    Ok(())
}

/// The matrix is turned round, because there are more cases than web servers.
fn put_results(out: &mut String, rows: &[Row]) -> fmt::Result {
    let names: Vec<&str> = rows.iter().map(|row| row.front_end.name).collect();
    writeln!(out, "| | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()))?;
    for case in rows[0].cases {
        let cells: Vec<String> = rows.iter().map(|row| cell(row.front_end, case)).collect();
        writeln!(out, "| {} | {} |", case.replace('_', " "), cells.join(" | "))?;
    }
    Ok(())
}

fn cell(front_end: &FrontEnd, case: &str) -> String {
    let missing = front_end.cannot.iter().filter(|(ability, _)| ability.case() == case);
    let instead: Vec<&str> = missing.map(|(_, instead)| *instead).collect();
    if instead.is_empty() {
        "yes".to_owned()
    } else {
        instead.join("; ")
    }
}

#[test]
fn the_table_says_what_the_matrix_declares() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/FRONT_ENDS.md");
    if std::env::var_os("FCGI_UPDATE").is_some() {
        fs::write(&path, rendered()).expect("the table can be written");
    }
    let table = fs::read_to_string(&path).expect("the table can be read");
    assert!(table == rendered(), "tests/FRONT_ENDS.md is out of date: FCGI_UPDATE=1 cargo test --test it table");
}

#[test]
fn all_web_servers_of_a_table_are_tested_with_the_same_cases() {
    for rows in [ROWS, PROCESSES, AUTHORIZERS] {
        assert!(rows.iter().all(|row| row.cases == rows[0].cases));
    }
}

#[test]
fn what_a_web_server_cannot_do_is_seen_in_one_of_its_cases() {
    for Row { front_end, cases } in ROWS {
        for (ability, instead) in front_end.cannot {
            assert!(cases.contains(&ability.case()), "{}: no case shows {ability:?}", front_end.name);
            assert!(!instead.contains(['|', '\n']), "{}: {instead:?} breaks the table", front_end.name);
        }
    }
}
