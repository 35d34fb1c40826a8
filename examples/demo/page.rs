//! The HTML page at `/`: the table of all routes, and a form to try those that read a body.

use std::fmt::Write;

/// A link to try and what is behind it; `routes.rs` has one function for each.
const ROUTES: &[(&str, &str)] = &[
    ("/hello", "Plain text, the shortest answer there is."),
    ("/env", "All meta-variables of the request as JSON, in the order in which the web server sent them."),
    ("/headers", "Method, URI, version and headers as JSON, as a handler sees them. Any path below it works too."),
    ("/echo", "The body back as it arrives, piece by piece, with its Content-Type."),
    ("/digest", "Length and SHA-256 of the body as JSON; 400 when it was cut short, 413 when it is too large."),
    ("/count", "Reads the body to its end and answers its length."),
    ("/bytes?n=1000", "<code>n</code> bytes; byte i is i mod 251."),
    ("/sleep?ms=1000", "Waits for <code>ms</code> milliseconds, whatever happens meanwhile."),
    ("/drip?n=5&ms=500", "<code>n</code> lines, each sent at once, <code>ms</code> milliseconds apart."),
    ("/status/418", "The status in the path, with a short body where one is allowed."),
    ("/ignore?ms=100", "Waits for <code>ms</code> milliseconds and never reads the body."),
    ("/stderr?text=careful", "Sends <code>text</code> to the web server's error log."),
    ("/panic", "Panics before the answer has begun: the web server gets a 500."),
    ("/panic-late", "Panics after the first bytes of the body are out: the answer is cut off, visibly."),
    ("/exit?code=3", "An answer with the application status <code>code</code>."),
    ("/header?name=X-Demo&value=a%20value", "Sets a header of the answer; 400 when it is not a legal one."),
    ("/redirect?to=/hello", "Redirects to <code>to</code>."),
    ("/lie?declared=10&sent=5", "Declares a body of <code>declared</code> bytes, then writes <code>sent</code>."),
    ("/wait-abort", "Waits, 30 seconds at most, for the request to be cancelled and answers the reason."),
    ("/metrics", "The server's counters as JSON."),
];

/// Follows the reader's choice of dark or light, and fits a phone.
const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>fcgi demo</title>
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 0 auto; padding: 1rem }
dt { margin-top: .75rem; font-family: ui-monospace, monospace; overflow-wrap: anywhere }
dd { margin: 0 }
textarea { box-sizing: border-box; width: 100%; font: inherit }
button { font: inherit; padding: .25rem .75rem }
</style>
</head>
<body>
<h1>fcgi demo</h1>
<p>This page and everything below came through your web server from one FastCGI application.</p>
"#;

const FORM: &str = r#"<h2>With a body</h2>
<form method="post" enctype="text/plain">
<p><textarea name="text" rows="3" aria-label="Body of the request">some text</textarea></p>
<p><button formaction="/echo">echo</button>
<button formaction="/digest">digest</button>
<button formaction="/count">count</button></p>
</form>
"#;

const OTHER_ROLES: &str = "<h2>Other roles</h2>
<p>As an authorizer the demo allows requests with the header <code>X-Token: letmein</code>, the query
<code>token=letmein</code> or that password. For web servers that ask the authorizer first, all routes are there once
more below <code>/private</code> and <code>/members</code>. As a filter the demo answers the file it is given in upper
case.</p>
</body>
</html>
";

pub(crate) fn index() -> String {
    format!("{HEAD}<h2>Routes</h2>\n<dl>\n{}</dl>\n{FORM}{OTHER_ROLES}", route_list())
}

fn route_list() -> String {
    let mut list = String::new();
    for (link, explanation) in ROUTES {
        let link = link.replace('&', "&amp;");
        // Writing to a string cannot fail.
        let _ = writeln!(list, "<dt><a href=\"{link}\">{link}</a></dt>\n<dd>{explanation}</dd>");
    }
    list
}
