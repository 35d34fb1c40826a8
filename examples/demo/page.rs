//! The HTML page at `/`. It shows handlers beside what they do, cut from the source files that were compiled.

use std::fmt::Write;
use std::sync::OnceLock;

/// The page is put together from these. `{{name}}` in `page.html` stands for another part of it, `{{file name}}` for
/// the function of that name.
const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

const SOURCES: &[(&str, &str)] = &[
    ("hello.rs", include_str!("../hello.rs")),
    ("live.rs", include_str!("live.rs")),
    ("routes.rs", include_str!("routes.rs")),
];

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
    ("/cancellations", "How often a client left <code>/wait-abort</code>, and what the handler was told."),
    ("/events", "Server-sent events, one a second, until the client leaves."),
    ("/metrics", "The server's counters as JSON."),
];

pub(crate) fn index() -> &'static str {
    static INDEX: OnceLock<String> = OnceLock::new();
    INDEX.get_or_init(|| {
        let mut parts = HTML.split("{{");
        let mut page = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once("}}").expect("every {{ has its }}");
            page += &filled_in(name);
            page += rest;
        }
        page
    })
}

fn filled_in(name: &str) -> String {
    match name.split_once(' ') {
        Some((file, function)) => coloured(&source(file, function)),
        None if name == "style" => STYLE.to_owned(),
        None if name == "script" => SCRIPT.to_owned(),
        None if name == "version" => env!("CARGO_PKG_VERSION").to_owned(),
        None if name == "routes" => route_list(),
        None => panic!("page.html asks for {name}"),
    }
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

/// A function as it stands in its file, from its first line to the brace that closes it.
fn source(file: &str, function: &str) -> String {
    let (_, text) = SOURCES.iter().find(|(name, _)| *name == file).expect("one of the sources");
    let name = text.find(&format!("fn {function}(")).unwrap_or_else(|| panic!("{file} has no function {function}"));
    let begin = text[..name].rfind('\n').map_or(0, |line| line + 1);
    let end = text[begin..].find("\n}\n").map_or(text.len(), |end| begin + end + 2);
    text[begin..end].trim_start_matches("pub(crate) ").to_owned()
}

const KEYWORDS: &[&str] = &[
    "as", "break", "const", "else", "fn", "for", "if", "impl", "in", "let", "loop", "match", "move", "mut", "pub",
    "return", "self", "static", "struct", "use", "while",
];

/// HTML of Rust code, with what a reader's eye looks for in elements of its own.
fn coloured(mut code: &str) -> String {
    let mut html = String::new();
    while !code.is_empty() {
        let (class, length) = token(code);
        let text = code[..length].replace('&', "&amp;").replace('<', "&lt;");
        let _ = match class {
            Some(class) => write!(html, "<span class={class}>{text}</span>"),
            None => write!(html, "{text}"),
        };
        code = &code[length..];
    }
    html
}

/// The class and the length of the first token, as far as it matters here.
fn token(code: &str) -> (Option<&'static str>, usize) {
    let length_while = |is_in: fn(char) -> bool| code.find(|c| !is_in(c)).unwrap_or(code.len());
    match code.chars().next() {
        Some('/') if code.starts_with("//") => (Some("comment"), length_while(|c| c != '\n')),
        Some('"') => (Some("string"), string_length(code)),
        Some(first) if first.is_alphabetic() || first == '_' => {
            let length = length_while(|c| c.is_alphanumeric() || c == '_');
            (KEYWORDS.contains(&&code[..length]).then_some("keyword"), length)
        }
        first => (None, first.map_or(0, char::len_utf8)),
    }
}

/// The length of a string literal with its quotation marks.
fn string_length(code: &str) -> usize {
    let mut is_escaped = false;
    let end = code.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        ends
    });
    end.map_or(code.len(), |(index, _)| index + 1)
}
