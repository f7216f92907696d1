//! What is wrong with certificates, and where it is said.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use crate::compile::{Compiled, compile};
use crate::config::{Environment, Problems, load};

/// A folder with two certificates and their keys, `a` and `b`, and what is none.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in ["a", "b"] {
        let key = KeyPair::generate().unwrap();
        let names = [format!("{name}.example")];
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        std::fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(folder.path().join("encrypted.key"), encrypted).unwrap();
    folder
}

fn compiled(folder: &Path, listener: &str) -> Result<Compiled, String> {
    let text = format!(
        "[[listeners]]\nname = 'public'\naddress = '127.0.0.1:0'\n{listener}\n\
         [upstreams.up]\nurls = ['http://127.0.0.1:1']\n\
         [[routes]]\nname = 'all'\npaths = ['/*']\nupstream = 'up'\nauth = 'none'\n"
    );
    compiled_text(folder, &text)
}

fn compiled_text(folder: &Path, text: &str) -> Result<Compiled, String> {
    let path = folder.join("gateway.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = load(&path, &Environment::default()).unwrap();
    let mut problems = Problems::new(loaded.sources.clone());
    compile(&loaded.config, &mut problems).ok_or_else(|| problems.into_errors().to_string())
}

#[test]
fn each_mistake_is_said_at_the_key_that_names_the_file() {
    let folder = folder();
    let pair = |cert: &str, key: &str| format!("certificates = [{{ cert = '{cert}', key = '{key}' }}]");
    let good = pair("a.pem", "a.key");
    for (listener, place, words) in [
        (
            pair("a.pem", "b.key"),
            "4:41: listeners.public.certificates[0].key",
            "is not the key of the first certificate in",
        ),
        (
            pair("a.key", "a.key"),
            "4:26: listeners.public.certificates[0].cert",
            "holds no certificate in PEM",
        ),
        (
            pair("a.pem", "encrypted.key"),
            "listeners.public.certificates[0].key",
            "not encrypted",
        ),
        (
            pair("a.pem", "gone.key"),
            "listeners.public.certificates[0].key",
            "gone.key cannot be read",
        ),
        (
            "client_auth = { ca = 'a.pem' }".to_owned(),
            "4:1: listeners.public.client_auth",
            "needs [[listeners.certificates]]",
        ),
        (
            format!("{good}\nclient_auth = {{ ca = 'a.key' }}"),
            "5:22: listeners.public.client_auth.ca",
            "holds no certificate in PEM",
        ),
    ] {
        let problems = compiled(folder.path(), &listener).unwrap_err();
        let lines: Vec<&str> = problems.lines().collect();
        assert!(
            lines.len() == 1 && lines.iter().all(|line| line.contains(place) && line.contains(words)),
            "{listener}: {problems}"
        );
    }
}

#[test]
fn all_mistakes_are_said_at_once() {
    let folder = folder();
    let listener = "certificates = [{ cert = 'gone', key = 'gone' }, { cert = 'a.pem', key = 'b.key' }]\n\
                    client_auth = { ca = 'gone' }";
    let problems = compiled(folder.path(), listener).unwrap_err();
    assert_eq!(problems.lines().count(), 4, "{problems}");
}

#[test]
fn what_the_files_hold_makes_two_the_same_and_not_their_names() {
    let folder = folder();
    let tls = |listener: &str| compiled(folder.path(), listener).unwrap().tls.remove(0).unwrap();
    let first = tls("certificates = [{ cert = 'a.pem', key = 'a.key' }]");
    std::fs::copy(folder.path().join("a.pem"), folder.path().join("again.pem")).unwrap();
    assert_eq!(first, tls("certificates = [{ cert = 'again.pem', key = 'a.key' }]"));
    assert_ne!(first, tls("certificates = [{ cert = 'b.pem', key = 'b.key' }]"));
    let client_auth = |mode: &str| {
        let pair = "certificates = [{ cert = 'a.pem', key = 'a.key' }]";
        tls(&format!("{pair}\nclient_auth = {{ ca = 'b.pem', mode = '{mode}' }}"))
    };
    assert_ne!(first, client_auth("required"));
    assert_ne!(client_auth("optional"), client_auth("required"));
}

#[test]
fn an_upstreams_mistakes_are_said_at_its_keys_too() {
    let folder = folder();
    let told = |url: &str, tls: &str| {
        let text = format!(
            "[[listeners]]\nname = 'public'\naddress = '127.0.0.1:0'\n\
             [upstreams.up]\nurls = ['{url}']\ntls = {tls}\n\
             [[routes]]\nname = 'all'\npaths = ['/*']\nupstream = 'up'\nauth = 'none'\n"
        );
        compiled_text(folder.path(), &text).err().unwrap_or_default()
    };
    let https = "https://app";
    for (url, tls, place, words) in [
        (https, "{ ca = 'gone' }", "upstreams.up.tls.ca", "gone cannot be read"),
        (
            https,
            "{ cert = 'a.pem', key = 'b.key' }",
            "upstreams.up.tls.key",
            "is not the key",
        ),
        (
            https,
            "{ server_name = '*.example' }",
            "upstreams.up.tls.server_name",
            "is no host",
        ),
        ("http://app", "{ ca = 'a.pem' }", "upstreams.up.tls", "is of no use"),
    ] {
        let problems = told(url, tls);
        assert!(
            problems.contains(place) && problems.contains(words),
            "{tls}: {problems}"
        );
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    assert_eq!(
        told(
            https,
            "{ ca = 'a.pem', cert = 'a.pem', key = 'a.key', server_name = 'b' }"
        ),
        ""
    );
}
