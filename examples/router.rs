//! Routes by the crate `matchit`: any router will do, and a `match` on the path is one.

use fcgi::http::{self, Request, Response, StatusCode};
use fcgi::{Body, SendBody, Server};
use matchit::{Params, Router};

type Route = fn(&Request<Body>, Params<'_, '_>) -> Response<SendBody>;

fn home(_: &Request<Body>, _: Params<'_, '_>) -> Response<SendBody> {
    Response::new("home\n".into())
}

fn greet(request: &Request<Body>, params: Params<'_, '_>) -> Response<SendBody> {
    Response::new(format!("{}: hello, {}\n", request.method(), params.get("name").unwrap_or("stranger")).into())
}

fn routes() -> Result<Router<Route>, matchit::InsertError> {
    let mut router: Router<Route> = Router::new();
    router.insert("/", home)?;
    router.insert("/greet/{name}", greet)?;
    Ok(router)
}

fn dispatch(router: &Router<Route>, request: &Request<Body>) -> http::Result<Response<SendBody>> {
    match router.at(request.uri().path()) {
        Ok(found) => Ok((found.value)(request, found.params)),
        Err(_) => Response::builder().status(StatusCode::NOT_FOUND).body("no such page\n".into()),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = routes()?;
    Server::new().responder(move |request| dispatch(&router, &request)).serve_inherited()?;
    Ok(())
}
