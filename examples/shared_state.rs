//! A note that everybody may read and replace: state that all handlers share is a value that they capture. The test
//! below calls the handler; `cargo test --example shared_state` runs it.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::RwLock;

use fcgi::http::{Method, Request, Response};
use fcgi::{Body, Server};

#[derive(Default)]
struct State {
    note: RwLock<String>,
    n_changes: AtomicU64,
}

fn note(state: &State, mut request: Request<Body>) -> Result<Response<String>, io::Error> {
    if request.method() == Method::PUT {
        let mut text = String::new();
        // It is read before the lock is taken: nobody waits for a slow client.
        request.body_mut().read_to_string(&mut text)?;
        *state.note.write().expect("no panic") = text;
        state.n_changes.fetch_add(1, Ordering::Relaxed);
    }
    let text = state.note.read().expect("no panic");
    Ok(Response::new(format!("{} changes: {text}\n", state.n_changes.load(Ordering::Relaxed))))
}

fn main() -> fcgi::Result<()> {
    let state = State::default();
    Server::new().responder(move |request| note(&state, request)).max_body(1000).serve_inherited()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_stays() {
        let state = State::default();
        let put = |text: &str| Request::put("/").body(Body::from(text)).expect("a request");
        note(&state, put("first")).expect("an answer");
        note(&state, put("second")).expect("an answer");
        let answer = note(&state, Request::new(Body::default())).expect("an answer");
        assert_eq!(answer.body(), "2 changes: second\n");
    }
}
