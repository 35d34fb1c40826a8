//! Verifies that meta-variables which have cost others dearly do no harm.

use serde_json::{json, Value};

use crate::demo::Demo;
use crate::peer::Connection;

fn env(connection: &mut Connection, variables: &[(&str, &str)]) -> Value {
    let request = connection.request(1).get("/env");
    variables.iter().fold(request, |request, (name, value)| request.also(name, value)).send();
    connection.answer(1).json()
}

#[test]
fn any_path_info_is_shown_as_it_came() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let long = "/x".repeat(5_000);
    for value in ["", "/", "no-slash", "/%0a", "/a\nb", "/\r\n\r\nb", "/../../etc", "/a\u{1b}b", "/\u{e4}", &long] {
        let shown = env(&mut connection, &[("SCRIPT_FILENAME", "/s"), ("PATH_INFO", value)]);
        assert_eq!(shown["PATH_INFO"], json!(value));
    }
    assert!(env(&mut connection, &[]).get("PATH_INFO").is_none());
}

#[test]
fn any_path_info_in_the_place_of_a_target_is_a_legal_target_or_refused() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    let long = "/x".repeat(5_000);
    for value in ["", "/", "no-slash", "/%0a", "/a\nb", "/a b", "/a\r\nX-Evil: 1", "/a?b", "/\u{e4}", "/a\0b", &long] {
        let request = connection.request(1).get("/headers").without("REQUEST_URI").param("PATH_INFO", value);
        request.send();
        let answer = connection.answer(1);
        assert!([200, 400, 404].contains(&answer.status), "{value:?}: {answer:?}");
        if answer.status == 200 {
            let uri = answer.json()["uri"].as_str().expect("a text").to_owned();
            assert!(uri.starts_with("/headers") && uri.bytes().all(|byte| byte.is_ascii_graphic()), "{uri:?}");
        }
    }
}

#[test]
fn of_a_variable_that_comes_twice_the_first_value_counts() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for name in ["SCRIPT_FILENAME", "REMOTE_USER", "PATH_INFO", "DOCUMENT_ROOT"] {
        let shown = env(&mut connection, &[(name, "first"), (name, "second"), (name, "")]);
        assert_eq!(shown[name], json!("first"));
    }
}

/// `X-Auth` and `X_Auth` are one meta-variable to many web servers: whoever sets the one must not hide behind the other.
#[test]
fn headers_that_collide_are_never_merged_into_one_value() {
    let demo = Demo::unix(&[]);
    let mut connection = demo.connect();
    for (one, other) in [("HTTP_X_AUTH", "HTTP_X_AUTH"), ("HTTP_X_AUTH", "HTTP_X-AUTH"), ("HTTP_X_AUTH", "HTTP_x_auth")]
    {
        connection.request(1).get("/headers").also(one, "real").also(other, "forged").send();
        let seen = connection.answer(1).json()["headers"]["x-auth"].clone();
        assert!([json!(["real"]), json!(["real", "forged"])].contains(&seen), "{one} and {other} became {seen}");
    }
}
