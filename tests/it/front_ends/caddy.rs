//! The matrix for Caddy.

use super::ability::{ANEW, ANSWERS_UPLOADS_LATE, HIDES_CUTS, SINGLY, UNAWARE};
use super::{tests_of, Ability, FrontEnd};

const CADDY: FrontEnd = FrontEnd {
    name: "Caddy",
    version: "2.6.2",
    program: "caddy",
    package: "caddy",
    arguments: &["run", "--adapter", "caddyfile", "--config", "@DIRECTORY@/main.conf"],
    main: MAIN,
    file: "Caddyfile",
    substitutions: &[(":8080", ":@PORT@"), ("/run/app.sock", "@APPLICATION@")],
    cannot: &[
        ANSWERS_UPLOADS_LATE,
        HIDES_CUTS,
        UNAWARE,
        ANEW,
        SINGLY,
        (Ability::LogStderr, "version 2.6 logs none of it"),
    ],
    ..FrontEnd::UNIX
};

/// Nothing listens besides the site itself, and nothing is asked of the world.
const MAIN: &str = "
{
	admin off
	auto_https off
}
import @DIRECTORY@/site.conf
";

tests_of! { "needs caddy; tests/run installs it", CADDY }
