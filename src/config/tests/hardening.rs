//! The rules that a config can break by itself, by their numbers; and that no text makes the reader panic.

use proptest::prelude::*;

use super::{LEAST, REFERENCE, assert_wrong, load_in, reference_environment, wrong, wrong_in, wrong_with};
use crate::config::{ConfigErrors, Environment};

const SECRET: &str = "kT9-this-is-the-secret-itself";

#[test]
fn r29_no_token_and_no_key_is_taken_from_a_body() {
    for place in ["body", "body:token", "form:access_token"] {
        let errors = wrong(&format!(
            "[issuers.a]\njwks_url = 'https://a'\ntoken_sources = ['{place}']\n[api_keys]\nsources = ['{place}']\n"
        ));
        let found = |key: &str| errors.iter().any(|error| error.starts_with(key));
        assert!(
            found("issuers.a.token_sources") && found("api_keys.sources"),
            "{errors:?}"
        );
    }
}

#[test]
fn r12_no_error_shows_a_value_that_came_from_a_reference() {
    let environment = Environment::from([("TOKEN", SECRET)]);
    for more in [
        "[log]\nlevel = '${env:TOKEN}'",
        "[server]\ndrain_timeout = '${env:TOKEN}'",
        "[log]\naccess = '${env:TOKEN}'",
        "[internal]\nkeys = ['a-good-key-of-ours']\nallowed_from = ['${env:TOKEN}']",
        "[limits.a]\nrate = 'x${env:TOKEN}'",
        "auth = ['${env:TOKEN}', 'none']",
    ] {
        let more = if more.starts_with("auth") {
            LEAST.replace("auth = \"none\"", more)
        } else {
            format!("{LEAST}{more}")
        };
        let errors = wrong_with(&more, &environment);
        assert_wrong(&errors, &["the value of ${env:TOKEN} does not fit"]);
        assert!(!errors[0].contains(SECRET), "{errors:?}");
    }
}

#[test]
fn r12_no_error_shows_the_value_of_a_secret_key() {
    let short = "kT9-12";
    for more in [
        format!("[internal]\nkeys = ['{short}']"),
        format!("[internal]\nkeys = '{SECRET}'"),
        format!("[issuers.a]\nsecrets = ['{SECRET}']"),
        format!("[api_keys]\n[[api_keys.keys]]\nid = 'a'\nuser = 'u'\nhash = '{SECRET}'"),
        format!("[issuers.a]\njwks_url = 'https://user:{SECRET}@a/jwks'"),
        format!("[upstreams.b]\nurls = ['http://user:{SECRET}@b']"),
        "[upstreams.c]\nurls = ['http://c']\n[defaults]\nset_headers = { X-Key = \"kT9-\\n\" }".to_owned(),
    ] {
        let errors = wrong(&more);
        assert_wrong(&errors, &["expected"]);
        assert!(!errors[0].contains("kT9"), "{errors:?}");
    }
    let environment = Environment::from([("GATEWAY__INTERNAL__KEYS", short)]);
    let errors = wrong_in("[internal]\nkeys = ['a-good-key-of-ours']", &environment);
    assert_wrong(&errors, &["internal.keys[0]: expected a secret of at least 8 bytes"]);
    assert!(!errors[0].contains(short), "{errors:?}");
}

#[test]
fn r12_debug_output_of_a_config_and_of_the_environment_has_no_secret() {
    let environment = Environment::from([("KEY", SECRET)]);
    let more = "set_headers = { X-Key = '${env:KEY}' }\n[internal]\nkeys = ['${env:KEY}']";
    let loaded = load_in(&format!("{LEAST}{more}"), &environment).unwrap();
    assert_eq!(loaded.config.internal.as_ref().unwrap().keys[0].expose(), SECRET);
    assert!(!format!("{loaded:?} {environment:?}").contains(SECRET));
}

#[test]
fn r18_an_unresolved_secret_is_refused() {
    assert_wrong(
        &wrong("[internal]\nkeys = ['${env:NOT_SET}']"),
        &["internal.keys[0]", "the environment variable NOT_SET is not set"],
    );
    assert_wrong(
        &wrong("[internal]\nkeys = ['${file:no/such/file}']"),
        &["internal.keys[0]", "the file no/such/file cannot be read"],
    );
    assert_wrong(
        &wrong("[internal]\nkeys = ['${env:NOT_SET']"),
        &["a `${` without its `}`"],
    );
    assert_wrong(
        &wrong("[internal]\nkeys = ['${vault:x}']"),
        &["${vault:x} is no reference"],
    );
}

#[test]
fn r18_an_internal_section_without_a_key_is_refused() {
    assert_wrong(
        &wrong("[internal]"),
        &["internal.keys: is empty; at least one entry is needed"],
    );
    assert_wrong(&wrong("[internal]\nkeys = []"), &["internal.keys: is empty"]);
    assert_wrong(
        &wrong("[internal]\nkeys = ['']"),
        &["internal.keys[0]: expected a secret"],
    );
    let unset = Environment::from([("KEY", "")]);
    assert_wrong(
        &wrong_in("[internal]\nkeys = ['${env:KEY}']", &unset),
        &["expected a secret"],
    );
    assert_wrong(
        &wrong("[internal]\nkeys = ['a-good-key-of-ours']\nallowed_from = []"),
        &["internal.allowed_from: is empty"],
    );
}

#[test]
fn r18_an_issuer_whose_list_of_secrets_is_empty_is_refused() {
    assert_wrong(
        &wrong("[issuers.a]\nissuer = 'a'\nsecrets = []"),
        &["issuers.a.secrets: is empty; at least one entry is needed"],
    );
    let emptied = Environment::from([("GATEWAY__ISSUERS__A__SECRETS", "")]);
    let text = "[issuers.a]\nissuer = 'a'\nsecrets = ['0123456789abcdef0123456789abcdef']";
    assert_wrong(&wrong_in(text, &emptied), &["issuers.a.secrets: is empty"]);
}

#[test]
fn r21_an_algorithm_without_its_kind_of_key_is_refused() {
    let secrets = "secrets = ['0123456789abcdef0123456789abcdef']";
    let url = "jwks_url = 'https://a/jwks'";
    for (keys, algorithms, word) in [
        (secrets, "['RS256']", "RS256 needs a key set"),
        (url, "['RS256', 'HS256']", "HS256 needs `secrets`"),
    ] {
        let errors = wrong(&format!("[issuers.a]\n{keys}\nalgorithms = {algorithms}"));
        assert!(errors.iter().any(|error| error.contains(word)), "{errors:?}");
    }
    assert_wrong(
        &wrong(&format!("[issuers.a]\n{url}\n{secrets}\nalgorithms = ['RS256']")),
        &["issuers.a.algorithms: allows no HS256"],
    );
    assert_wrong(
        &wrong(&format!("[issuers.a]\n{url}\nalgorithms = ['none']")),
        &["algorithms[0]", "found \"none\""],
    );
    assert_wrong(
        &wrong(&format!("[issuers.a]\n{url}\nalgorithms = []")),
        &["algorithms: is empty"],
    );
}

#[test]
fn r27_a_secret_that_everybody_knows_is_refused() {
    for known in [
        "changeme",
        "CHANGE_ME_please",
        "your-secret-key-change-in-production-now",
        "password",
        "dev-secret-123",
    ] {
        assert_wrong(
            &wrong(&format!("[internal]\nkeys = ['{known}']")),
            &["internal.keys[0]: expected a secret of your own, not a placeholder"],
        );
    }
    let nothing = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_wrong(
        &wrong(&format!(
            "[api_keys]\n[[api_keys.keys]]\nid = 'a'\nuser = 'u'\nhash = '{nothing}'"
        )),
        &["this is the hash of nothing"],
    );
}

#[test]
fn r27_a_hmac_secret_shorter_than_its_hash_is_refused() {
    for (algorithm, bytes) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        let issuer = |length: usize| {
            let secret = "k".repeat(length);
            format!("[issuers.a]\nalgorithms = ['{algorithm}']\nsecrets = ['{secret}']")
        };
        assert_wrong(
            &wrong(&issuer(bytes - 1)),
            &[&format!("a secret of at least {bytes} bytes")],
        );
        assert!(wrong(&issuer(bytes)).is_empty());
    }
}

#[test]
fn r46_no_variable_opens_a_route_that_the_file_keeps_closed() {
    let closed = LEAST.replace("\"none\"", "\"internal\"");
    let closed = format!("{closed}[internal]\nkeys = ['a-good-key-of-ours']\n");
    for (variable, value) in [
        ("GATEWAY__ROUTES__CHAT__AUTH", "none"),
        ("GATEWAY__ROUTES__CHAT__AUTH", "internal,none"),
    ] {
        let environment = Environment::from([(variable, value)]);
        assert_wrong(
            &wrong_with(&closed, &environment),
            &["routes.chat.auth: `none` is not in the file here"],
        );
    }
    // Nor by way of the defaults, of a canary or of a reference.
    let inherits = closed.replace("auth = \"internal\"", "");
    let inherits = format!("{inherits}[defaults]\nauth = 'internal'\n");
    let environment = Environment::from([("GATEWAY__DEFAULTS__AUTH", "none")]);
    let errors = wrong_with(&inherits, &environment);
    assert!(
        errors.iter().any(|error| error.starts_with("routes.chat.auth: `none`")),
        "{errors:?}"
    );
    let canary = closed.replace(
        "auth = \"internal\"",
        "auth = 'internal'\ncanary = { auth = 'internal', percent = 1 }",
    );
    let environment = Environment::from([("GATEWAY__ROUTES__CHAT__CANARY__AUTH", "none")]);
    let errors = wrong_with(&canary, &environment);
    assert!(
        errors
            .iter()
            .any(|error| error.starts_with("routes.chat.canary.auth: `none`")),
        "{errors:?}"
    );
    let by_reference = closed.replace("\"internal\"", "\"${env:MODE}\"");
    let environment = Environment::from([("MODE", "none")]);
    assert_wrong(&wrong_with(&by_reference, &environment), &["routes.chat.auth: `none`"]);
}

#[test]
fn r46_no_variable_sets_a_mode_without_its_section() {
    for (mode, section) in [
        ("jwt", "[issuers.NAME]"),
        ("api_key", "[api_keys]"),
        ("internal", "[internal]"),
    ] {
        let environment = Environment::from([("GATEWAY__ROUTES__CHAT__AUTH", mode)]);
        assert_wrong(&wrong_in("", &environment), &["routes.chat.auth: there is no", section]);
    }
}

#[test]
fn r46_jwt_is_not_switched_off_where_there_is_no_internal_to_take_its_place() {
    let text = LEAST.replace("\"none\"", "\"jwt\"");
    let text = format!("{text}[issuers.a]\njwks_url = 'https://a'\n");
    let environment = Environment::from([("GATEWAY__USE_JWT_AUTH", "false")]);
    assert_wrong(
        &wrong_with(&text, &environment),
        &["server.use_jwt_auth", "no [internal]"],
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, "\\PC{0,6}|[\"'\\[\\]{}=.$:#\\n,]{0,4}"), 1..12)
    ) {
        let mut text: Vec<char> = REFERENCE.chars().collect();
        for (at, length, replacement) in cuts {
            let start = at.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, replacement.chars());
        }
        let text: String = text.into_iter().collect();
        let shown: Result<_, ConfigErrors> = load_in(&text, &reference_environment());
        if let Err(errors) = shown {
            prop_assert!(errors.iter().count() > 0);
            prop_assert!(!errors.to_string().contains("a-legacy-key-of-ours"));
        }
    }

    #[test]
    fn no_value_makes_the_reader_panic(value in "\\PC{0,30}", number in any::<i64>()) {
        let (section, keys) = [
            ("server", "drain_timeout workers overrides_file header_case"),
            ("admin", "address"),
            ("limits.a", "rate burst by charge_on ipv6_prefix"),
            ("upstreams.b", "urls retries"),
            ("issuers.c", "jwks_url algorithms token_sources claims leeway"),
            ("cors.d", "origins methods max_age"),
        ][number.unsigned_abs() as usize % 6];
        for key in keys.split(' ') {
            for value in [format!("{value:?}"), format!("[{value:?}]"), number.to_string()] {
                let _ = load_in(&format!("{LEAST}[{section}]\n{key} = {value}\n"), &Environment::default());
            }
        }
    }
}
