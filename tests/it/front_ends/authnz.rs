//! Authorizers behind Apache with mod_authnz_fcgi, which asks them for passwords, too.

use super::apache::{main_with, APACHE};
use super::authorizers::authorizer_tests_of;
use super::{FrontEnd, Launch, Site};
use crate::http::{Request, Response};

const AUTHNZ: FrontEnd = FrontEnd {
    name: "Apache (mod_authnz_fcgi)",
    main: main_with!(
        "
LoadModule authn_core_module /usr/lib/apache2/modules/mod_authn_core.so
LoadModule auth_basic_module /usr/lib/apache2/modules/mod_auth_basic.so
LoadModule authnz_fcgi_module /usr/lib/apache2/modules/mod_authnz_fcgi.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_fcgi_module /usr/lib/apache2/modules/mod_proxy_fcgi.so
"
    ),
    file: "apache-authorizer.conf",
    substitutions: &[("*:80", "*:@PORT@"), ("127.0.0.1:9000", "@APPLICATION@"), ("/var/www/html", "@DIRECTORY@")],
    launch: Launch::Tcp,
    ..APACHE
};

authorizer_tests_of! { "needs apache2; tests/run installs it", AUTHNZ }

fn get_as(site: &Site, user_and_password: &str) -> Response {
    let authorization = format!("Basic {user_and_password}");
    site.client().exchange(&Request::new("GET", "/members/env").header("Authorization", authorization))
}

const DEMO_LETMEIN: &str = "ZGVtbzpsZXRtZWlu";

#[test]
#[ignore = "needs apache2; tests/run installs it"]
fn a_password_is_checked_and_then_what_the_user_may_do() {
    let rows = [
        ("demo:wrong", "ZGVtbzp3cm9uZw==", 401),
        ("other:letmein", "b3RoZXI6bGV0bWVpbg==", 401),
        ("demo:panic", "ZGVtbzpwYW5pYw==", 500),
        ("demo:error", "ZGVtbzplcnJvcg==", 500),
        ("demo:variable", "ZGVtbzp2YXJpYWJsZQ==", 500),
    ];
    let site = Site::start(&AUTHNZ);
    assert_eq!(site.get("/members/env").status, 401);
    for (text, encoded, status) in rows {
        assert_eq!(get_as(&site, encoded).status, status, "{text}");
    }
    let answered = site.application.counter("completed_requests");
    let response = get_as(&site, DEMO_LETMEIN);
    // The password, the rights, the answer, and the counter before.
    assert_eq!(site.application.counter("completed_requests") - answered, 4);
    assert_eq!(response.status, 200);
    let env = response.json();
    for (name, value) in [("USER", "demo"), ("RIGHTS", "all"), ("REMOTE_USER", "demo"), ("AUTH_TYPE", "Basic")] {
        assert_eq!(env[name], *value, "{name}");
    }
    assert_eq!(env.get("REMOTE_PASSWD"), None);
}

#[test]
#[ignore = "needs apache2; tests/run installs it"]
fn no_password_is_right_without_an_authorizer() {
    let site = Site::with_options(&AUTHNZ, &["--only-responder"]);
    assert_eq!(get_as(&site, DEMO_LETMEIN).status, 500);
}

/// Whatever its Content-Type says. What comes from the client must not get into it unescaped.
#[test]
#[ignore = "needs apache2; tests/run installs it"]
fn the_body_of_a_refusal_is_html_to_the_client() {
    let site = Site::start(&AUTHNZ);
    let response = site.get("/private/hello");
    assert_eq!(response.text(), "this needs the token\n");
    assert_eq!(response.header("Content-Type"), Some("text/html; charset=iso-8859-1"));
}
