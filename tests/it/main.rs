//! Black-box tests: the demo program, driven over the wire by web servers that share no code with the crate.
#![allow(clippy::unwrap_used)]

mod browser;
mod captures;
mod cgi;
mod demo;
mod examples;
mod fastcgi_client;
mod front_ends;
mod gateway;
mod http;
mod launchers;
mod laws;
mod limits;
mod metrics;
mod model;
mod nginx;
mod peer;
mod random;
mod readme;
mod shutdown;
mod soak;
mod tidy;
mod wire_abort;
mod wire_basic;
mod wire_body;
mod wire_ids;
mod wire_keep;
mod wire_management;
mod wire_overload;
mod wire_params;
mod wire_response;
mod wire_roles;
mod wire_violations;
