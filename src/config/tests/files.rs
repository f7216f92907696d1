//! More files than one: includes, the overrides file, `${file:}`.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::LEAST;
use crate::config::model::AuthMethod;
use crate::config::{ConfigErrors, Environment, Loaded, Source, load};

const CLOSED: &str = "[internal]\nkeys = ['a-good-key-of-ours']\n[issuers.a]\njwks_url = 'https://a'\n";

struct Folder(TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(TempDir::new().unwrap());
        for (name, text) in files {
            let path = folder.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        self.load_in(&Environment::default())
    }

    fn load_in(&self, environment: &Environment) -> Result<Loaded, ConfigErrors> {
        load(&self.0.path().join("gateway.toml"), environment)
    }

    /// The errors, with the folder's own name taken off.
    fn errors(&self) -> String {
        let errors = self.load().unwrap_err().to_string();
        errors.replace(&format!("{}/", self.0.path().display()), "")
    }

    fn names(&self, paths: &[std::path::PathBuf]) -> Vec<String> {
        let name = |path: &Path| path.strip_prefix(self.0.path()).unwrap().display().to_string();
        paths.iter().map(|path| name(path)).collect()
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    assert!(
        Folder::with(&[])
            .errors()
            .starts_with("gateway.toml: the file cannot be read")
    );
}

#[test]
fn includes_add_named_entries_and_list_entries_in_the_order_of_their_names() {
    let route = |name: &str| {
        format!(
            "[[routes]]\nname = '{name}'\npaths = ['/{name}']\nupstream = '{name}'\nauth = 'none'\n[upstreams.{name}]\nurls = ['http://{name}']\n"
        )
    };
    let folder = Folder::with(&[
        (
            "gateway.toml",
            &format!("include = ['routes.d/*.toml', 'more.toml', 'none.d/*.toml']\n{LEAST}"),
        ),
        ("routes.d/2.toml", &route("two")),
        ("routes.d/1.toml", &route("one")),
        ("routes.d/.3.toml.swp", "not toml"),
        ("routes.d/4.toml~", "not toml"),
        ("more.toml", "[roles]\nadmin = ['*']\n[log]\nlevel = 'warn'"),
    ]);
    let loaded = folder.load().unwrap();
    let names: Vec<&str> = loaded.config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["chat", "one", "two"]);
    assert_eq!(loaded.config.upstreams.len(), 3);
    assert_eq!(loaded.config.roles["admin"], ["*"]);
    assert_eq!(
        folder.names(&loaded.files),
        [
            "gateway.toml",
            "routes.d/1.toml",
            "routes.d/2.toml",
            "more.toml",
            "gateway.overrides.toml"
        ]
    );
    assert_eq!(folder.names(&loaded.folders), ["routes.d", "none.d"]);
}

#[test]
fn what_is_defined_in_two_files_is_refused_and_both_places_are_named() {
    let folder = Folder::with(&[
        (
            "gateway.toml",
            &format!("include = ['more.toml']\n[log]\nlevel = 'info'\n{LEAST}"),
        ),
        (
            "more.toml",
            "[log]\naccess = false\n[upstreams.app]\nurls = ['http://b']\n[[routes]]\nname = 'chat'\npaths = ['/b']\nupstream = 'app'\nauth = 'none'\n",
        ),
    ]);
    assert_eq!(
        folder.errors(),
        "more.toml:1:2: log: is defined twice, first at gateway.toml:2:2; remove one of them\n\
         more.toml:3:12: upstreams.app: is defined twice, first at gateway.toml:7:12; remove one of them\n\
         more.toml:6:8: routes[1].name: is defined twice, first at gateway.toml:10:8; remove one of them"
    );
}

#[test]
fn an_error_in_an_included_file_has_its_place_there() {
    let folder = Folder::with(&[
        ("gateway.toml", &format!("include = ['more.toml']\n{LEAST}")),
        ("more.toml", "\n[limits.a]\nrate = 'often'\n"),
    ]);
    assert!(
        folder
            .errors()
            .starts_with("more.toml:3:8: limits.a.rate: expected a rate")
    );
}

#[test]
fn nested_includes_and_wild_folders_and_missing_files_are_refused() {
    let folder = Folder::with(&[
        ("gateway.toml", &format!("include = ['more.toml']\n{LEAST}")),
        ("more.toml", "include = ['third.toml']"),
    ]);
    assert!(
        folder
            .errors()
            .contains("more.toml:1:1: include: an included file cannot include others")
    );
    let folder = Folder::with(&[("gateway.toml", "include = ['*/a.toml', 'gone.toml']\n")]);
    let errors = folder.errors();
    assert!(
        errors.contains("include[0]: `*` may stand in the last segment only"),
        "{errors}"
    );
    assert!(errors.contains("gone.toml cannot be read"), "{errors}");
    assert!(!errors.contains("at least one"), "{errors}");
}

#[test]
fn a_file_reference_is_trimmed_of_one_newline_and_watched() {
    let folder = Folder::with(&[
        (
            "gateway.toml",
            &format!("{LEAST}[internal]\nkeys = ['${{file:secrets/key}}']\n"),
        ),
        ("secrets/key", "a-good-key-of-ours\n\n"),
    ]);
    let loaded = folder.load().unwrap();
    assert_eq!(loaded.config.internal.unwrap().keys[0].expose(), "a-good-key-of-ours\n");
    assert!(folder.names(&loaded.files).contains(&"secrets/key".to_owned()));
}

#[test]
fn a_jwks_file_is_relative_to_the_config_and_watched() {
    let text = format!("{LEAST}[issuers.a]\njwks_file = 'keys.json'\n");
    let folder = Folder::with(&[("gateway.toml", &text)]);
    let loaded = folder.load().unwrap();
    let file = loaded.config.issuers["a"].jwks_file.clone().unwrap();
    assert_eq!(file, folder.0.path().join("keys.json"));
    assert!(loaded.files.contains(&file));
}

#[test]
fn the_overrides_file_wins_over_the_file_and_the_environment_over_both() {
    let text = format!("{}{CLOSED}", LEAST.replace("\"none\"", "\"jwt\""));
    let folder = Folder::with(&[
        ("gateway.toml", &text),
        ("gateway.overrides.toml", "[routes.chat]\nauth = 'internal'\n"),
    ]);
    let loaded = folder.load().unwrap();
    assert_eq!(loaded.config.routes[0].auth.chain, [AuthMethod::Internal]);
    assert!(matches!(loaded.sources.get("routes.chat.auth"), Some(Source::Override(at)) if at.line == 2));
    let environment = Environment::from([("GATEWAY__ROUTES__CHAT__AUTH", "jwt")]);
    let loaded = folder.load_in(&environment).unwrap();
    assert_eq!(loaded.config.routes[0].auth.chain, [AuthMethod::Jwt]);
}

#[test]
fn r46_an_override_neither_opens_a_route_nor_sets_a_mode_without_its_section() {
    let text = format!("{}{CLOSED}", LEAST.replace("\"none\"", "\"jwt\""));
    for (mode, word) in [
        ("'none'", "`none` is not in the file here"),
        ("['jwt', 'none']", "`none` is not in the file here"),
        ("'api_key'", "there is no [api_keys]"),
        ("'jtw'", "expected \"none\", \"internal\""),
    ] {
        let folder = Folder::with(&[
            ("gateway.toml", text.as_str()),
            ("gateway.overrides.toml", &format!("[routes.chat]\nauth = {mode}\n")),
        ]);
        let errors = folder.errors();
        assert!(
            errors.starts_with("gateway.overrides.toml:2:8: routes.chat.auth"),
            "{errors}"
        );
        assert!(errors.contains(word), "{errors}");
    }
}

#[test]
fn an_overrides_file_holds_modes_of_routes_that_there_are_and_nothing_else() {
    let folder = Folder::with(&[
        ("gateway.toml", LEAST),
        (
            "gateway.overrides.toml",
            "[routes.chatt]\nauth = 'none'\n[routes.chat]\nmax_body = '0B'\n[log]\nlevel = 'warn'\n",
        ),
    ]);
    let errors = folder.errors();
    assert!(
        errors.contains("2:8: routes.chatt.auth: there is no route \"chatt\"; have: chat"),
        "{errors}"
    );
    assert!(
        errors.contains("routes.chat.max_body: does not belong here"),
        "{errors}"
    );
    assert!(errors.contains("log: does not belong here"), "{errors}");
}

#[test]
fn the_overrides_file_can_have_another_name() {
    let text = format!(
        "[server]\noverrides_file = 'o.toml'\n{}{CLOSED}",
        LEAST.replace("\"none\"", "\"jwt\"")
    );
    let folder = Folder::with(&[
        ("gateway.toml", text.as_str()),
        ("o.toml", "[routes.chat]\nauth = 'internal'\n"),
    ]);
    assert_eq!(
        folder.load().unwrap().config.routes[0].auth.chain,
        [AuthMethod::Internal]
    );
}
