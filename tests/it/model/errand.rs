//! What a request asks of the demo, and the one right answer to it. Nearly every answer holds the request's token, so
//! that answers which were mixed up are seen.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::peer::record::{AUTHORIZER, RESPONDER};
use crate::peer::Request;
use crate::random::Random;

/// Longer than any test waits: a `/drip` that is this long must be aborted.
const ENDLESS: usize = 4_000;

/// What one request is for.
pub(super) struct Errand {
    pub(super) role: u16,
    target: String,
    pub(super) body: Option<Vec<u8>>,
    /// `None` when there is no such role.
    pub(super) right: Option<Right>,
    pub(super) manner: Manner,
}

/// The right answer.
pub(super) struct Right {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) app_status: u32,
    pub(super) stderr: Vec<u8>,
}

/// How the handler goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It answers whatever happens.
    Prompt,
    /// It writes piece by piece, until the request is cancelled.
    Writing,
    /// It reads the whole body, until the request is cancelled, and may write before.
    Reading,
    /// It waits until the request is cancelled, and says why it was.
    Waiting,
}

impl Errand {
    pub(super) fn draw(random: &mut Random, token: u32) -> Errand {
        let len = *random.pick(&[0, 1, 7, 100, 1_000, 5_000, 20_000, 70_000]);
        let body = filled(token, random.below(len + 1));
        match random.below(16) {
            0 => Errand::get(format!("/hello?{token}"), "hello, world\n"),
            1 => Errand::get(format!("/no/{token}"), format!("there is no route /no/{token}\n")).with_status(404),
            2 | 3 => Errand::get("/echo".to_owned(), body.clone()).with_body(body).in_manner(Manner::Reading),
            4 | 5 => Errand::get("/count".to_owned(), format!("{}\n", body.len())).reading(body),
            6 => Errand::get("/digest".to_owned(), digest(&body)).reading(body),
            7 => Errand::get(format!("/ignore?ms={}", random.below(8)), "ignored\n").with_body(body),
            8 => Errand::drip(random.below(5), random.below(4)),
            9 => Errand::drip(ENDLESS, 5),
            10 | 11 => Errand::get(format!("/wait-abort?{token}"), "").in_manner(Manner::Waiting),
            12 => Errand::pattern((token % 100_003) as usize),
            13 => Errand::exit(token),
            14 => Errand::stderr(token),
            _ => Errand::other_role(random),
        }
    }

    /// Whether the request ends only when it is cancelled.
    pub(super) fn is_endless(&self) -> bool {
        self.manner == Manner::Waiting || self.target.starts_with(&format!("/drip?n={ENDLESS}&"))
    }

    /// The request as it is sent.
    pub(super) fn request(&self, id: u16) -> Request<'static> {
        let request = Request::detached(id).role(self.role);
        match &self.body {
            None => request.get(&self.target),
            Some(body) => request.post(&self.target).undeclared(body),
        }
    }

    fn get(target: String, body: impl Into<Vec<u8>>) -> Errand {
        let right = Right { status: 200, body: body.into(), app_status: 0, stderr: Vec::new() };
        Errand { role: RESPONDER, target, body: None, right: Some(right), manner: Manner::Prompt }
    }

    fn drip(n: usize, ms: usize) -> Errand {
        let ticks: String = (0..n).map(|tick| format!("tick {tick}\n")).collect();
        Errand::get(format!("/drip?n={n}&ms={ms}"), ticks).in_manner(Manner::Writing)
    }

    fn pattern(len: usize) -> Errand {
        let body: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        Errand::get(format!("/bytes?n={len}"), body).in_manner(Manner::Writing)
    }

    fn exit(token: u32) -> Errand {
        let mut errand = Errand::get(format!("/exit?code={token}"), format!("application status {token}\n"));
        errand.right_mut().app_status = token;
        errand
    }

    fn stderr(token: u32) -> Errand {
        let mut errand = Errand::get(format!("/stderr?text={token}"), "said on FCGI_STDERR\n");
        errand.right_mut().stderr = token.to_string().into_bytes();
        errand
    }

    fn other_role(random: &mut Random) -> Errand {
        let denied = Errand::get("/private?token=wrong".to_owned(), "this needs the token\n").with_status(403);
        let allowed = Errand::get("/private?token=letmein".to_owned(), "");
        match random.below(3) {
            0 => Errand { role: AUTHORIZER, ..denied },
            1 => Errand { role: AUTHORIZER, ..allowed },
            _ => Errand { role: 4 + random.below(60_000) as u16, right: None, ..denied },
        }
    }

    fn reading(self, body: Vec<u8>) -> Errand {
        self.with_body(body).in_manner(Manner::Reading)
    }

    fn with_body(mut self, body: Vec<u8>) -> Errand {
        self.body = Some(body);
        self
    }

    fn with_status(mut self, status: u16) -> Errand {
        self.right_mut().status = status;
        self
    }

    fn in_manner(mut self, manner: Manner) -> Errand {
        self.manner = manner;
        self
    }

    fn right_mut(&mut self) -> &mut Right {
        self.right.as_mut().expect("only a role that does not exist has none")
    }
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body_len = self.body.as_ref().map(Vec::len);
        write!(f, "role {} {} with a body of {body_len:?}", self.role, self.target)
    }
}

/// The token again and again.
fn filled(token: u32, len: usize) -> Vec<u8> {
    format!("{token} ").bytes().cycle().take(len).collect()
}

fn digest(body: &[u8]) -> String {
    let sha256: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{{\"length\":{},\"sha256\":\"{sha256}\"}}\n", body.len())
}
