//! The matrix for h2o.

use super::ability::{ANEW, ANSWERS_UPLOADS_LATE, COLLECTS_UPLOADS, HIDES_CUTS, SINGLY, UNAWARE};
use super::{tests_of, Ability, FrontEnd};

const H2O: FrontEnd = FrontEnd {
    name: "h2o",
    version: "2.2.5",
    program: "h2o",
    package: "h2o",
    arguments: &["-c", "@DIRECTORY@/site.conf"],
    file: "h2o.conf",
    // Only root can be another user, and without this line root becomes "nobody" by itself.
    substitutions: &[("port: 8080", "port: @PORT@"), ("/run/app.sock", "@APPLICATION@"), ("user: debian-h2o", "#")],
    cannot: &[
        HIDES_CUTS,
        ANSWERS_UPLOADS_LATE,
        COLLECTS_UPLOADS,
        UNAWARE,
        ANEW,
        SINGLY,
        (Ability::KeepClientsAfterHead, "yes; it closes the client's connection after HEAD"),
    ],
    ..FrontEnd::UNIX
};

tests_of! { "needs h2o; tests/run installs it", H2O }
