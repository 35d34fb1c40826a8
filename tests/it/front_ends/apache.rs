//! The matrix for Apache with mod_proxy_fcgi, over a Unix socket and over TCP.

use super::ability::{ANSWERS_UPLOADS_LATE, SINGLY, UNAWARE};
use super::FrontEnd;

/// What all its rows have in common.
pub(super) const APACHE: FrontEnd = FrontEnd {
    version: "2.4.71",
    program: "apache2",
    package: "apache2-bin",
    arguments: &["-D", "FOREGROUND", "-f", "@DIRECTORY@/main.conf"],
    has_children: true,
    ..FrontEnd::UNIX
};

/// What of Debian's `apache2.conf` matters, and what a row needs besides. By default a client's connection is closed after
/// 100 requests, and while all threads of a process are busy; there have to be more of them than a test has clients.
macro_rules! main_with {
    ($lines:literal) => {
        concat!(
            "
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
User www-data
Group www-data
ServerName demo.test
Listen 127.0.0.1:@PORT@
DefaultRuntimeDir @DIRECTORY@
PidFile @DIRECTORY@/apache2.pid
ErrorLog @DIRECTORY@/error.log
MaxKeepAliveRequests 0
StartServers 1
ThreadsPerChild 64
MaxRequestWorkers 64
<Directory />
    Require all denied
</Directory>
",
            $lines,
            "Include @DIRECTORY@/site.conf\n"
        )
    };
}
pub(super) use main_with;

const UNIX: FrontEnd = FrontEnd {
    name: "Apache (Unix)",
    main: main_with!(
        "
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_fcgi_module /usr/lib/apache2/modules/mod_proxy_fcgi.so
"
    ),
    file: "apache-proxy.conf",
    substitutions: &[("*:80", "*:@PORT@"), ("/run/app.sock", "@APPLICATION@")],
    cannot: &[ANSWERS_UPLOADS_LATE, UNAWARE, SINGLY],
    ..APACHE
};

pub(super) mod unix {
    crate::front_ends::tests_of! { "needs apache2; tests/run installs it", super::UNIX }
}

pub(super) mod tcp {
    use super::UNIX;
    use crate::front_ends::{FrontEnd, Launch};

    const TCP: FrontEnd = FrontEnd {
        name: "Apache (TCP)",
        setting: "`fcgi://127.0.0.1:9000/`",
        substitutions: &[("*:80", "*:@PORT@"), ("unix:/run/app.sock|fcgi://app/", "fcgi://@APPLICATION@/")],
        launch: Launch::Tcp,
        ..UNIX
    };

    crate::front_ends::tests_of! { "needs apache2; tests/run installs it", TCP }
}
