//! Between meta-variables and `http` types (RFC 3875): no IO, no threads.

mod params;
mod refusal;
mod refusal_records;
mod request;
mod response;
mod uri;

pub use params::Params;
pub(crate) use refusal::put_refusal;
pub(crate) use refusal_records::refusal_records;
pub(crate) use request::{read_head, BadRequest, RequestHead};
pub(crate) use response::{put_head, AnswerBody, BodyRule, HeadError, HeadLimits};
