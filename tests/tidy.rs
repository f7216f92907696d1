//! The rules of the house, held by a test: what a file opens with and how long it is, who may import whom, what the judgement may
//! not do, and that the documents speak of what is there. Each message says what to do.
//!
//! Reads the sources as text, with the standard library and `toml`, and runs the built binary for its help.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of production code of one file.
const LONGEST: usize = 400;

/// Room → the rooms that it may import. `lib.rs` draws the same map.
const MAY_IMPORT: [(&str, &[&str]); 10] = [
    ("policy", &[]),
    ("config", &[]),
    ("protocol", &[]),
    ("compile", &["config", "policy"]),
    ("observe", &["policy"]),
    ("runtime", &["compile", "config", "observe", "policy", "protocol"]),
    (
        "proxy",
        &["compile", "config", "observe", "policy", "runtime", "protocol"],
    ),
    ("admin", &["compile", "config", "observe", "policy", "runtime"]),
    ("demo", &[]),
    (
        "command",
        &[
            "admin", "compile", "config", "demo", "observe", "policy", "proxy", "runtime", "protocol",
        ],
    ),
];

/// What would let the outside into the judgement: I/O, clocks, waiting, logging.
const IMPURE: [&str; 13] = [
    ".await",
    "async ",
    "Instant",
    "SystemTime",
    "hyper::",
    "println!",
    "reqwest::",
    "std::env",
    "std::fs",
    "std::io",
    "std::thread",
    "tokio::",
    "tracing::",
];

/// What crashes where it should refuse.
const PANICS: [&str; 7] = [
    ".unwrap()",
    ".expect(\"",
    "panic!(",
    "unreachable!(",
    "todo!(",
    "unimplemented!(",
    ".unwrap_unchecked(",
];

/// Names that say nothing, and so take anything in.
const NAMELESS: [&str; 8] = [
    "common", "helper", "helpers", "manager", "misc", "util", "utils", "shared",
];

/// The hardening rules are r01 to this.
const LAST_RULE: u32 = 46;

/// Rules without a test of their own name, and why. A rule that gets its test leaves this list.
const WITHOUT_A_TEST: [(&str, &str); 0] = [];

/// What reads strangers' bytes, and the version whose advisories were looked through last. A release looks again, and raises these.
const LOOKED_THROUGH: [(&str, [u32; 3]); 7] = [
    ("hyper", [1, 12, 0]),
    ("h2", [0, 4, 20]),
    ("http", [1, 5, 0]),
    ("rustls", [0, 23, 46]),
    ("rustls-webpki", [0, 103, 16]),
    ("aws-lc-rs", [1, 19, 0]),
    ("tokio", [1, 54, 1]),
];

#[test]
fn every_file_says_what_lives_there() {
    let silent = sources().filter(|file| !file.text.starts_with("//! "));
    let listed = list(silent.map(|file| file.name));
    assert!(
        listed.is_empty(),
        "begin these with `//! `, what lives there and what it may depend on:{listed}"
    );
}

#[test]
fn no_file_is_too_long_to_be_read_at_once() {
    let long = sources().map(|file| (file.production().lines().count(), file.name));
    let listed = list(
        long.filter(|(lines, _)| *lines > LONGEST)
            .map(|(lines, name)| format!("{name}: {lines}")),
    );
    assert!(
        listed.is_empty(),
        "split these by what they are about; a file has {LONGEST} lines of production code:{listed}"
    );
}

#[test]
fn imports_go_down_only() {
    let rooms: BTreeMap<&str, &[&str]> = MAY_IMPORT.into_iter().collect();
    let mut wrong = Vec::new();
    for file in sources().filter(|file| !matches!(file.name.as_str(), "src/lib.rs" | "src/main.rs")) {
        let room = file.room();
        let Some(allowed) = rooms.get(room) else {
            wrong.push(format!(
                "{}: a room that MAY_IMPORT does not know; give it its place there",
                file.name
            ));
            continue;
        };
        let production = file.production().lines().count();
        for (number, line) in file.text.lines().enumerate() {
            for other in imported_rooms(line) {
                // The demo's tokens and clients are tools of tests too, and know nothing of the gateway.
                let is_tool = other == "demo" && number >= production;
                if other != room && rooms.contains_key(other) && !allowed.contains(&other) && !is_tool {
                    wrong.push(format!(
                        "{}:{}: `{room}` may not import `{other}`",
                        file.name,
                        number + 1
                    ));
                }
            }
        }
    }
    let listed = list(wrong);
    assert!(listed.is_empty(), "move the code down, or hand the value in:{listed}");
}

#[test]
fn the_map_of_the_crate_names_every_room() {
    let map = read("src/lib.rs");
    let missing = MAY_IMPORT
        .into_iter()
        .filter(|(room, _)| !map.contains(&format!("pub mod {room};")));
    let listed = list(missing.map(|(room, _)| room.to_owned()));
    assert!(
        listed.is_empty(),
        "MAY_IMPORT has rooms that src/lib.rs has not:{listed}"
    );
}

#[test]
fn the_judgement_is_pure() {
    let found = found_in(sources().filter(|file| file.room() == "policy"), &IMPURE);
    assert!(
        found.is_empty(),
        "nothing under src/policy does I/O, looks at a clock, waits or logs; gather it in runtime and hand it in:{found}"
    );
}

#[test]
fn production_code_does_not_panic() {
    let found = found_in(sources(), &PANICS);
    assert!(
        found.is_empty(),
        "refuse instead, as a `ConfigError`, a `Denial` or a `ForwardError`:{found}"
    );
}

#[test]
fn every_name_says_something() {
    let nameless = sources().filter(|file| {
        let parts = file.name.trim_end_matches(".rs").split('/');
        parts.into_iter().any(|part| NAMELESS.contains(&part))
    });
    let listed = list(nameless.map(|file| file.name));
    assert!(listed.is_empty(), "name these after what they hold:{listed}");
}

#[test]
fn the_lints_stay_on() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let lints = &manifest["lints"];
    assert_eq!(
        lints["rust"]["unsafe_code"].as_str(),
        Some("forbid"),
        "put `unsafe_code = \"forbid\"` back under [lints.rust]"
    );
    for lint in [
        "unwrap_used",
        "expect_used",
        "panic",
        "indexing_slicing",
        "dbg_macro",
        "todo",
        "unimplemented",
    ] {
        let level = lints["clippy"].get(lint).and_then(toml::Value::as_str);
        assert!(
            matches!(level, Some("warn" | "deny" | "forbid")),
            "put `{lint} = \"warn\"` back under [lints.clippy]; CI makes it an error"
        );
    }
    for lint in ["missing_docs", "unreachable_pub"] {
        let level = lints["rust"].get(lint).and_then(toml::Value::as_str);
        assert!(level.is_some(), "put `{lint} = \"warn\"` back under [lints.rust]");
    }
}

#[test]
fn dependencies_are_sorted() {
    let manifest = read("Cargo.toml");
    for section in ["[dependencies]", "[dev-dependencies]"] {
        let lines = manifest.lines().skip_while(|line| *line != section).skip(1);
        let names: Vec<&str> = lines
            .take_while(|line| !line.starts_with('['))
            .filter_map(|line| line.split_once(" = ").map(|(name, _)| name))
            .collect();
        assert!(names.is_sorted(), "sort {section} of Cargo.toml: {names:?}");
    }
}

#[test]
fn every_hardening_rule_has_a_test_of_its_name_or_a_reason() {
    let tests = names_of_tests();
    // One test may hold several: `r26_r28_…`.
    let rules_of = |name: &String| -> Vec<String> {
        let parts = name.split('_');
        parts.take_while(|part| is_rule(part)).map(str::to_owned).collect()
    };
    let tested: BTreeSet<String> = tests.iter().flat_map(rules_of).collect();
    let is_tested = |rule: &str| tested.contains(rule);
    let reasons: BTreeMap<&str, &str> = WITHOUT_A_TEST.into_iter().collect();
    let mut wrong = Vec::new();
    for rule in (1..=LAST_RULE).map(|number| format!("r{number:02}")) {
        match (is_tested(&rule), reasons.get(rule.as_str())) {
            (true, None) | (false, Some(_)) => {}
            (true, Some(_)) => wrong.push(format!("{rule} has its test: take it off the list in tests/tidy.rs")),
            (false, None) => wrong.push(format!(
                "{rule} has no test: write `fn {rule}_…`, or say why not in tests/tidy.rs"
            )),
        }
    }
    let listed = list(wrong);
    assert!(listed.is_empty(), "hardening rules:{listed}");
}

#[test]
fn r36_what_reads_strangers_bytes_is_there_once_and_no_older_than_what_was_looked_through() {
    let lock = read("Cargo.lock");
    for (name, least) in LOOKED_THROUGH {
        let start = format!("name = \"{name}\"\nversion = \"");
        let versions: Vec<[u32; 3]> = lock
            .split(&start)
            .skip(1)
            .map(|rest| {
                let version = rest.split('"').next().expect("a version");
                let numbers: Vec<u32> = version.split('.').map(|part| part.parse().expect("a number")).collect();
                numbers.try_into().expect("three numbers")
            })
            .collect();
        assert_eq!(versions.len(), 1, "{name}: {versions:?}");
        assert!(versions[0] >= least, "{name} {:?} is older than {least:?}", versions[0]);
    }
}

#[test]
fn the_reference_of_the_config_names_every_key() {
    let reference = read("docs/configuration.md");
    let readers = sources().filter(|file| file.name.starts_with("src/config/read/"));
    let keys: BTreeSet<String> = readers.flat_map(|file| keys_read_in(file.production())).collect();
    assert!(keys.len() > 100, "found {} keys only; mend `keys_read_in`", keys.len());
    let ways = |key: &str| {
        [
            format!("`{key}`"),
            format!("`{key} ="),
            format!("`[{key}"),
            format!("`[[{key}"),
        ]
    };
    let missing = keys
        .into_iter()
        .filter(|key| !ways(key).iter().any(|way| reference.contains(way.as_str())));
    let listed = list(missing);
    assert!(
        listed.is_empty(),
        "describe these in docs/configuration.md, with unit, bounds and default:{listed}"
    );
}

#[test]
fn the_documents_name_every_metric_and_every_answer() {
    let metrics = read("docs/metrics-and-logs.md");
    let families = read("src/observe/metrics/families.rs");
    let names = families
        .lines()
        .filter_map(|line| line.split_once("(\"").and_then(|(_, rest)| rest.split('"').next()));
    let missing = names.filter(|name| !metrics.contains(&format!("`{name}")));
    let listed = list(missing.map(str::to_owned));
    assert!(listed.is_empty(), "describe these in docs/metrics-and-logs.md:{listed}");

    let readme = read("README.md");
    let codes = gateway::policy::denial::Code::ALL
        .into_iter()
        .map(gateway::policy::denial::Code::name);
    let listed = list(
        codes
            .filter(|code| !readme.contains(&format!("`{code}`")))
            .map(str::to_owned),
    );
    assert!(listed.is_empty(), "say in README.md how to read these answers:{listed}");
}

#[test]
fn what_the_documents_point_at_exists() {
    let mut missing = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in links_of(&text) {
            let path = document.parent().unwrap().join(target.split('#').next().unwrap());
            if !path.exists() {
                missing.push(format!("{}: {target}", document.display()));
            }
        }
    }
    let listed = list(missing);
    assert!(listed.is_empty(), "mend these links:{listed}");
}

#[test]
fn the_files_that_the_documents_name_exist() {
    let mut missing = Vec::new();
    for document in documents().into_iter().filter(|path| !path.ends_with("CHANGELOG.md")) {
        let text = std::fs::read_to_string(&document).unwrap();
        for named in text.split('`').skip(1).step_by(2) {
            let file = named.split([':', ' ']).next().unwrap();
            let is_source = ["src/", "tests/", "docs/", "deploy/", ".ci/"]
                .iter()
                .any(|root| file.starts_with(root));
            if is_source && !file.contains(['*', '{', '…']) && !root().join(file).exists() {
                missing.push(format!("{}: {file}", document.display()));
            }
        }
    }
    let listed = list(missing);
    assert!(
        listed.is_empty(),
        "these documents name files that are not there:{listed}"
    );
}

#[test]
fn the_commands_of_the_readme_exist() {
    let help = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let known: BTreeSet<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for line in shell_lines(&read("README.md")) {
        let words: Vec<&str> = line.split_whitespace().skip_while(|word| word.contains('=')).collect();
        let command = match words.as_slice() {
            ["cargo", "run", rest @ ..] => rest.iter().skip_while(|word| **word != "--").nth(1).copied(),
            ["gateway", command, ..] => Some(*command),
            [script, ..] if script.starts_with(".ci/") => {
                if !is_executable(&root().join(script)) {
                    wrong.push(format!("{script} is not there, or not executable"));
                }
                None
            }
            _ => continue,
        };
        seen += 1;
        if let Some(command) = command.filter(|command| !known.contains(command)) {
            wrong.push(format!("`{line}`: no command `{command}`"));
        }
    }
    assert!(seen >= 3, "README.md shows {seen} commands only, in its ```sh blocks");
    let listed = list(wrong);
    assert!(listed.is_empty(), "README.md shows what does not exist:{listed}");
}

/// A source file.
struct Source {
    /// From the root: `src/policy/judge.rs`.
    name: String,
    text: String,
}

impl Source {
    /// `policy` of `src/policy/judge.rs`.
    fn room(&self) -> &str {
        self.name.split('/').nth(1).unwrap().trim_end_matches(".rs")
    }

    /// What is built into the binary: a file of tests has none.
    fn production(&self) -> &str {
        if self.name.ends_with("/tests.rs") || self.name.contains("/tests/") {
            return "";
        }
        self.text.split("\n#[cfg(test)]").next().unwrap()
    }
}

/// Every source of the crate, sorted.
fn sources() -> impl Iterator<Item = Source> {
    files_below(&root().join("src"), "rs").into_iter().map(|path| Source {
        text: std::fs::read_to_string(&path).unwrap(),
        name: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(),
    })
}

fn documents() -> Vec<PathBuf> {
    let mut documents = files_below(&root().join("docs"), "md");
    documents.extend(["README.md", "CHANGELOG.md", "deploy/recipes/README.md"].map(|name| root().join(name)));
    documents
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a line names as `crate::…` or `super::…`, also inside `use crate::{…}`. From a room's own root `super` is the crate.
fn imported_rooms(line: &str) -> Vec<&str> {
    let mut rooms = Vec::new();
    for rest in ["crate::", "super::"].iter().flat_map(|way| line.split(way).skip(1)) {
        let items = match rest.strip_prefix('{').and_then(|group| group.split('}').next()) {
            Some(group) => group.split(',').collect(),
            None => vec![rest],
        };
        let word = |item: &'_ str| {
            item.find(|c: char| !c.is_ascii_lowercase() && c != '_')
                .unwrap_or(item.len())
        };
        rooms.extend(items.into_iter().map(str::trim).map(|item| item.split_at(word(item)).0));
    }
    rooms
}

/// `r14`.
fn is_rule(part: &str) -> bool {
    let digits = part.strip_prefix('r').unwrap_or_default();
    digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Where the production code of `files` has one of `words`, comments left out.
fn found_in(files: impl Iterator<Item = Source>, words: &[&str]) -> String {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in file.production().lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for word in words.iter().filter(|word| code.contains(**word)) {
                found.push(format!("{}:{}: {word}", file.name, number + 1));
            }
        }
    }
    list(found)
}

/// The names of all tests, here and in the sources.
fn names_of_tests() -> Vec<String> {
    let mut files = files_below(&root().join("src"), "rs");
    files.extend(files_below(&root().join("tests"), "rs"));
    let texts = files.iter().map(|path| std::fs::read_to_string(path).unwrap());
    let names = |text: String| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.trim().split_once("fn "));
        lines
            .map(|(_, rest)| rest.split('(').next().unwrap().to_owned())
            .collect()
    };
    texts.flat_map(names).collect()
}

/// Keys that a reader of the config asks its cursor for: `t.key("rate", …`, `claim(t, "user", …`.
fn keys_read_in(text: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for way in [
        "key",
        "list",
        "some",
        "some_or",
        "optional",
        "required",
        "required_file",
        "file",
        "table",
        "section",
        "tables",
        "open",
        "named_list",
        "unnamed_list",
    ] {
        keys.extend(first_strings_after(text, &format!("t.{way}(")));
    }
    for way in ["header(t,", "claim(t,", "field(t,"] {
        keys.extend(first_strings_after(text, way));
    }
    keys
}

fn first_strings_after(text: &str, call: &str) -> Vec<String> {
    let after = text
        .split(call)
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"'));
    after.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

/// Relative links: `[text](target)`.
fn links_of(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let relative = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    relative.map(str::to_owned).collect()
}

/// The lines of ```sh blocks.
fn shell_lines(text: &str) -> Vec<String> {
    let blocks = text
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// One a line; empty if there are none.
fn list(items: impl IntoIterator<Item = String>) -> String {
    items.into_iter().fold(String::new(), |mut text, item| {
        let _ = write!(text, "\n  {item}");
        text
    })
}
