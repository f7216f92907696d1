//! The command line: what is said, on which stream, and the exit code that scripts rely on.

use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::harness::{self, Gateway, Request, Upstream, soon};

const OPEN: &str = "[[routes]]\nname = \"open\"\npaths = [\"/*\"]\nupstream = \"up\"\nauth = \"none\"\n\
                    [upstreams.up]\nurls = [\"http://127.0.0.1:1\"]\n";

const LISTENER: &str = "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n";

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn gateway(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn fed(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = gateway(arguments).spawn().unwrap();
    // It may know enough before it has read all.
    let _ = child.stdin.take().unwrap().write_all(input).await;
    soon("the command ends", child.wait_with_output()).await.unwrap()
}

#[tokio::test]
async fn check_is_content_with_a_valid_config() {
    let output = Gateway::with(OPEN).run(&["check"]).await;
    assert_eq!(code(&output), Some(0), "{output:?}");
    assert!(stdout(&output).contains("valid"), "{output:?}");
    assert_eq!(stderr(&output), "");
}

/// Wrong in four places, one of them only seen once the file was read.
const WRONG: &str = r#"[server]
drain_timeout = "soon"

[[routes]]
name = "a"
paths = ["/a"]
upstream = "nowhere"
auth = "jwt"
colour = "red"

[[routes]]
name = "b"
paths = ["no-slash"]
upstream = "up"
auth = "none"
[upstreams.up]
urls = ["http://127.0.0.1:1"]
"#;

#[tokio::test]
async fn check_and_run_tell_every_error_at_once_each_with_its_place() {
    for command in ["check", "run"] {
        let output = Gateway::with(WRONG).run(&[command]).await;
        assert_eq!(code(&output), Some(3), "{output:?}");
        let text = stderr(&output);
        for (line, key) in [
            (2, "server.drain_timeout"),
            (9, "routes.a.colour"),
            (7, "routes.a.upstream"),
            (13, "routes.b.paths"),
        ] {
            let found = text.lines().find(|error| error.contains(key));
            let error = found.unwrap_or_else(|| panic!("{key} is not in {text}"));
            let place = error.split_once("gateway.toml:").unwrap().1;
            let numbers: Vec<u32> = place.split(':').take(2).map(|number| number.parse().unwrap()).collect();
            assert!(numbers[0] == line && numbers[1] > 0, "line {line}: {error}");
        }
    }
}

#[tokio::test]
async fn a_config_that_is_not_there_is_invalid() {
    for command in ["check", "run", "health"] {
        let output = fed(&["--config", "/nowhere/gateway.toml", command], b"").await;
        assert_eq!(code(&output), Some(3), "{output:?}");
        assert!(stderr(&output).contains("/nowhere/gateway.toml"), "{output:?}");
    }
}

#[tokio::test]
async fn the_config_is_found_by_option_then_variable_then_folder() {
    let folder = tempfile::tempdir().unwrap();
    let here = |name: &str| folder.path().join(name);
    for name in ["gateway.toml", "by-variable.toml", "by-option.toml"] {
        std::fs::write(here(name), format!("{LISTENER}{OPEN}")).unwrap();
    }
    let check = async |arguments: &[&str], variable: Option<&str>| {
        let mut command = gateway(arguments);
        command.arg("check").current_dir(folder.path());
        if let Some(path) = variable {
            command.env("GATEWAY_CONFIG", path);
        }
        stdout(&soon("the command ends", command.output()).await.unwrap())
    };
    let by_option = ["--config", "by-option.toml"];
    assert!(check(&[], None).await.contains("gateway.toml: valid"));
    assert!(
        check(&[], Some("by-variable.toml"))
            .await
            .contains("by-variable.toml: valid")
    );
    assert!(
        check(&by_option, Some("by-variable.toml"))
            .await
            .contains("by-option.toml: valid")
    );
}

#[tokio::test]
async fn a_variable_overrides_the_file() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(
        "[[routes]]\nname = \"the-door\"\npaths = [\"/*\"]\nupstream = \"up\"\nauth = \"none\"\nmax_body = \"0B\"\n",
    )
    .upstream("up", &upstream)
    .env("GATEWAY__ROUTES__THE_DOOR__MAX_BODY", "3B")
    .start()
    .await;
    let post = |body: &str| Request::new("POST", "/").body(body);
    assert_eq!(gateway.send(&post("123")).await.head.status(), 200);
    assert_eq!(gateway.send(&post("1234")).await.head.status(), 413);
}

#[tokio::test]
async fn a_variable_that_is_misspelt_or_wrong_is_an_error() {
    for (name, value) in [
        ("GATEWAY__SERVRE__DRAIN_TIMEOUT", "5s"),
        ("GATEWAY__ROUTES__CHAT__AUTH", "internal"),
        ("GATEWAY__SERVER__DRAIN_TIMEOUT", "soon"),
        ("GATEWAY__ROUTES__OPEN__AUTH", "jwt"),
    ] {
        let output = Gateway::with(OPEN).env(name, value).run(&["check"]).await;
        assert_eq!(code(&output), Some(3), "{name}: {output:?}");
        assert!(stderr(&output).contains(name), "{name}: {output:?}");
    }
}

#[tokio::test]
async fn r18_a_variable_or_file_that_is_missing_is_an_error_that_names_it() {
    for reference in ["${env:NOT_SET}", "${file:not-there}"] {
        let route = "[[routes]]\nname = \"a\"\npaths = [\"/a\"]\nupstream = \"up\"\nauth = \"none\"\n";
        let config = format!("{route}set_headers = {{ X-Key = \"{reference}\" }}\n");
        let config = format!("{config}[upstreams.up]\nurls = [\"http://127.0.0.1:1\"]\n");
        let output = Gateway::with(&config).run(&["check"]).await;
        assert_eq!(code(&output), Some(3), "{output:?}");
        let text = stderr(&output);
        let name = reference.trim_matches(['$', '{', '}']).split_once(':').unwrap().1;
        assert!(text.contains(name) && text.contains("routes.a.set_headers"), "{text}");
    }
}

#[tokio::test]
async fn a_new_key_hashes_to_what_was_shown_with_it() {
    let output = fed(&["key", "new", "--prefix", "hok_live_"], b"").await;
    assert_eq!(code(&output), Some(0), "{output:?}");
    let text = stdout(&output);
    let key = text.lines().next().unwrap();
    // 256 bits in base64url.
    assert!(
        key.starts_with("hok_live_") && key.len() == "hok_live_".len() + 43,
        "{key}"
    );
    let again = stdout(&fed(&["key", "new", "--prefix", "hok_live_"], b"").await);
    assert_ne!(again.lines().next(), Some(key));
    for input in [key.to_owned(), format!("{key}\n")] {
        let hash = stdout(&fed(&["key", "hash"], input.as_bytes()).await);
        assert!(hash.starts_with("sha256:"), "{hash}");
        assert!(
            text.contains(&format!("hash = \"{}\"", hash.trim_end())),
            "{text}\n{hash}"
        );
    }
    assert_ne!(
        stdout(&fed(&["key", "hash"], format!("{key}\n\n").as_bytes()).await),
        stdout(&fed(&["key", "hash"], key.as_bytes()).await),
        "one newline is dropped, not two"
    );
}

#[tokio::test]
async fn the_lines_of_a_new_key_open_a_route() {
    let made = stdout(&fed(&["key", "new"], b"").await);
    let (key, lines) = made.split_once('\n').unwrap();
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(&format!(
        "[[routes]]\nname = \"a\"\npaths = [\"/*\"]\nupstream = \"up\"\nauth = \"api_key\"\n[api_keys]\n{lines}"
    ))
    .upstream("up", &upstream)
    .start()
    .await;
    let response = gateway.send(&Request::get("/").header("X-API-Key", key)).await;
    assert_eq!(response.head.status(), 200, "{response:?}");
    assert_eq!(upstream.last().header("x-user-id").as_deref(), Some("whose-it-is"));
}

#[tokio::test]
async fn key_hash_refuses_what_is_no_key() {
    for input in [&b""[..], b"\n", &[b'x'; 100_000]] {
        let output = fed(&["key", "hash"], input).await;
        assert_eq!(code(&output), Some(1), "{output:?}");
        assert_eq!(stdout(&output), "");
    }
    let output = fed(&["key", "new", "--prefix", "a b"], b"").await;
    assert_eq!(code(&output), Some(1), "{output:?}");
}

#[tokio::test]
async fn health_asks_the_running_gateway() {
    let upstream = Upstream::echo().await;
    let mut gateway = Gateway::with("[[routes]]\nname = \"a\"\npaths = [\"/*\"]\nupstream = \"up\"\nauth = \"none\"\n[server]\nworkers = 1\ndrain_delay = \"10m\"\n")
        .upstream("up", &upstream)
        .start()
        .await;
    let health = Gateway::with(&format!("[admin]\naddress = \"{}\"\n{OPEN}", gateway.admin));
    assert_eq!(code(&health.run(&["health"]).await), Some(0));
    gateway.signal("TERM");
    gateway.event("draining").await;
    let output = health.run(&["health"]).await;
    assert_eq!(code(&output), Some(1));
    assert!(stderr(&output).contains("not ready"), "{output:?}");
    gateway.signal("TERM");
    gateway.ended().await;
    assert_eq!(code(&health.run(&["health"]).await), Some(1));
}

#[tokio::test]
async fn the_demo_says_which_port_is_taken() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = fed(&["demo", "--port", &port], b"").await;
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert!(stderr(&output).contains(&port), "{output:?}");
}

#[tokio::test]
async fn ctrl_c_ends_the_demo_and_its_lines_were_ready_to_paste() {
    for signal in ["INT", "TERM"] {
        let mut child = gateway(&["demo"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        loop {
            let line = soon("a curl line", lines.next_line()).await.unwrap();
            if line
                .expect("curl lines before the end")
                .trim_start()
                .starts_with("curl ")
            {
                break;
            }
        }
        harness::signal(&child, signal);
        let mut rest = String::new();
        let _ = soon("the end of its output", lines.into_inner().read_to_string(&mut rest)).await;
        let ended = soon("the demo ends", child.wait()).await.unwrap();
        assert_eq!(ended.code(), Some(0));
    }
}

#[tokio::test]
async fn the_demo_tries_itself() {
    let output = fed(&["demo", "--once"], b"").await;
    assert_eq!(code(&output), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).contains("came out as they should"));
}

#[tokio::test]
async fn routes_says_where_each_value_came_from() {
    let upstream = Upstream::echo().await;
    let text = "include = [\"more.toml\"]\n[internal]\nkeys = [\"an-internal-secret-1\"]\n[defaults]\naccess_log = false\nmax_body = \"1MiB\"\n\
                [[routes]]\nname = \"a\"\npaths = [\"/a\"]\nupstream = \"up\"\nauth = \"none\"\nmax_body = \"2MiB\"\n";
    let more = "[[routes]]\nname = \"b\"\npaths = [\"/b\"]\nupstream = \"up\"\nauth = \"internal\"\n\
                [[routes]]\nname = \"c\"\npaths = [\"/c\"]\nupstream = \"up\"\nauth = [\"internal\", \"none\"]\n";
    let setup = Gateway::with(text).upstream("up", &upstream);
    let setup = setup
        .file("more.toml", more)
        .file("gateway.overrides.toml", "[routes.c]\nauth = \"internal\"\n");
    let setup = setup.env("GATEWAY__ROUTES__B__MAX_BODY", "3MiB");
    let output = setup.run(&["routes", "--json"]).await;
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |row: usize, key: &str| {
        let source = rows[row]["sources"][key].as_str()?;
        Some(source.rsplit('/').next().unwrap().to_owned())
    };
    for (row, key, source) in [
        (0, "max_body", Some("gateway.toml:12:12")),
        (0, "access_log", Some("gateway.toml:5:14 [defaults]")),
        (0, "paths", Some("gateway.toml:9:9")),
        (0, "methods", None),
        (0, "require", None),
        (1, "paths", Some("more.toml:3:9")),
        (1, "max_body", Some("GATEWAY__ROUTES__B__MAX_BODY")),
        (1, "auth", Some("more.toml:5:8")),
        (2, "auth", Some("gateway.overrides.toml:2:8")),
        (2, "max_body", Some("gateway.toml:6:12 [defaults]")),
    ] {
        assert_eq!(of(row, key).as_deref(), source, "{row} {key} {rows:#}");
    }
    let output = setup.run(&["routes"]).await;
    let table = String::from_utf8(output.stdout).unwrap();
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(
        table.starts_with("ROUTE") && table.lines().next().unwrap().ends_with("FROM"),
        "{table}"
    );
    assert!(
        line("b ").contains("more.toml:1:1; access_log: ")
            && line("b ").ends_with("max_body: GATEWAY__ROUTES__B__MAX_BODY")
    );
    assert!(
        line("c ").contains("auth: ") && line("c ").contains("gateway.overrides.toml:2:8"),
        "{table}"
    );
}

#[tokio::test]
async fn check_warns_where_a_narrower_route_hides_a_method_of_a_wider_one() {
    let upstream = Upstream::echo().await;
    let route = |name: &str, path: &str, more: &str| {
        format!("[[routes]]\nname = \"{name}\"\npaths = [\"{path}\"]\nupstream = \"up\"\nauth = \"none\"\n{more}\n")
    };
    for (routes, warns) in [
        (
            route("wide", "/api/*", "") + &route("narrow", "/api/users", "methods = [\"GET\"]"),
            Some("routes.narrow.methods: warning: hides everything but GET of the wider route \"wide\" at /api/users"),
        ),
        (
            route("wide", "/api/{id}/*", "methods = [\"GET\", \"POST\", \"DELETE\"]")
                + &route("narrow", "/api/users/*", "methods = [\"GET\"]"),
            Some("hides POST, DELETE of the wider route \"wide\" at /api/users/*"),
        ),
        (
            route("wide", "/x", "") + &route("narrow", "/x", "hosts = [\"a.example.com\"]\nmethods = [\"PUT\"]"),
            Some("hides everything but PUT of the wider route \"wide\" at /x"),
        ),
        // All methods of the wider one have a route there.
        (
            route("wide", "/api/*", "methods = [\"GET\", \"POST\"]")
                + &route("narrow", "/api/users", "methods = [\"GET\"]")
                + &route("other", "/api/users", "methods = [\"POST\", \"PUT\"]"),
            None,
        ),
        (route("wide", "/api/*", "") + &route("narrow", "/api/users", ""), None),
        (
            route("wide", "/api/*", "methods = [\"GET\"]") + &route("narrow", "/api/users", "methods = [\"GET\"]"),
            None,
        ),
        (
            route("other", "/a/*", "") + &route("narrow", "/b/x", "methods = [\"GET\"]"),
            None,
        ),
        (
            route("wide", "/a/{x}", "") + &route("narrow", "/a/b/*", "methods = [\"GET\"]"),
            None,
        ),
        (
            route("wide", "/a/*", "hosts = [\"b.example.com\"]")
                + &route("narrow", "/a/b", "hosts = [\"a.example.com\"]\nmethods = [\"GET\"]"),
            None,
        ),
    ] {
        let output = Gateway::with(&routes).upstream("up", &upstream).run(&["check"]).await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "a warning is no error: {told}");
        match warns {
            None => assert_eq!(told, "", "{routes}"),
            Some(warning) => {
                assert!(
                    told.contains("gateway.toml:") && told.contains(warning),
                    "{routes}{told}"
                );
                assert_eq!(told.lines().count(), 1, "{told}");
            }
        }
    }
}
