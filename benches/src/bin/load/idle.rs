//! Opens connections and leaves them: what does each cost the server?

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use fcgi_benches::process;
use serde_json::{json, Value};

use crate::connection::{Connection, Reading, BUFFER_LEN};
use crate::options::Options;

const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// One after the other, so that no more than one worker is ever needed.
pub(crate) fn measure(options: &Options) -> Result<Value, Box<dyn Error>> {
    let before = process::resident_kib(options.process)?;
    let connections: Vec<_> = (0..options.connections).map(|_| open(options)).collect::<Result<_, _>>()?;
    thread::sleep(options.seconds);
    let after = process::resident_kib(options.process)?;
    Ok(json!({
        "requests": connections.len(),
        "resident_kib": after,
        "resident_kib_per_connection": (after - before) / connections.len() as f64,
    }))
}

/// A connection on which one request has been answered.
fn open(options: &Options) -> Result<Connection, Box<dyn Error>> {
    let (requests, body) = (options.requests(), options.answer_body()?);
    let mut buffer = vec![0; BUFFER_LEN];
    let mut connection = Connection::new(options.connect()?, 1);
    let began = Instant::now();
    connection.begin(1, began);
    connection.write(&requests)?;
    while !connection.is_complete() {
        if began.elapsed() > LONGEST_WAIT {
            return Err("a connection got no answer".into());
        }
        if connection.read(&mut buffer, &body, false, &mut Vec::new())? == Reading::Closed {
            return Err("the server closed a connection".into());
        }
    }
    Ok(connection)
}
