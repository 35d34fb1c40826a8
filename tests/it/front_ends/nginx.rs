//! The matrix for nginx with the file that its users get. What else nginx can be told is in `tests/it/nginx.rs`.

use super::{tests_of, FrontEnd};

const NGINX: FrontEnd = FrontEnd {
    program: "nginx",
    package: "nginx-light",
    arguments: &["-c", "@DIRECTORY@/main.conf"],
    main: MAIN,
    file: "nginx.conf",
    substitutions: &[
        ("127.0.0.1:8080", "127.0.0.1:@PORT@"),
        ("/run/app.sock", "@APPLICATION@"),
        ("include fastcgi_params", "include /etc/nginx/fastcgi_params"),
    ],
    keeps_connections: true,
    // It collects pages of an answer.
    streams: false,
    ..FrontEnd::UNIX
};

/// What of Debian's `nginx.conf` matters. By default a client's connection is closed after 1,000 requests.
const MAIN: &str = "
daemon off;
master_process off;
pid @DIRECTORY@/nginx.pid;
error_log @DIRECTORY@/error.log warn;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path @DIRECTORY@/client_body;
    fastcgi_temp_path @DIRECTORY@/fastcgi;
    proxy_temp_path @DIRECTORY@/proxy;
    scgi_temp_path @DIRECTORY@/scgi;
    uwsgi_temp_path @DIRECTORY@/uwsgi;
    keepalive_requests 100000;
    include @DIRECTORY@/site.conf;
}
";

tests_of! { "needs nginx; tests/run installs it", NGINX }
