//! The decision corpus: each case of `tests/cases/*.toml` is judged three ways, which must agree with the case and so with each
//! other: by the library ([`library`]), by `gateway explain --json` and over live HTTP ([`outside`]).
//!
//! A file is a config, keys, tokens and cases; [`case`] reads it.

mod case;
mod library;
mod outside;

use case::Corpus;

/// How one of the ways judged a case. What a way cannot see is not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// 0: allowed.
    pub status: u64,
    /// The `error` of the answer.
    pub error: Option<String>,
    /// The exact cause.
    pub detail: Option<String>,
    /// The route.
    pub route: Option<String>,
    /// The method that decided; of a refusal before any was asked, none.
    pub method: Option<String>,
    /// Who it is.
    pub user: Option<String>,
    /// Whom an internal caller acts for.
    pub acting_for: Option<String>,
}

impl Verdict {
    /// Texts of a JSON object by these names; null is none.
    fn text(object: &serde_json::Value, name: &str) -> Option<String> {
        object[name].as_str().map(str::to_owned)
    }
}

async fn agree(name: &str) {
    let corpus = Corpus::read(name).await;
    let (setup, gateway) = (corpus.setup(), corpus.setup().start().await);
    let mut wrong = Vec::new();
    for case in &corpus.cases {
        let by_library = library::judge(&setup.config(), &corpus, case);
        let by_explain = outside::explain(&setup, &corpus, case).await;
        let by_wire = outside::send(&gateway, &corpus, case).await;
        for (way, outcome) in [
            ("library", &by_library),
            ("explain", &by_explain.verdict),
            ("protocol", &by_wire.verdict),
        ] {
            wrong.extend(
                case.differences(outcome)
                    .map(|text| format!("{}, by {way}: {text}", case.name)),
            );
        }
        for (way, said) in [("explain", &by_explain), ("protocol", &by_wire)] {
            let answer = case.unlike(said.answer.as_ref());
            let target = case
                .target
                .as_ref()
                .filter(|target| said.target.as_ref() != Some(target));
            let target = target.map(|target| format!("{target:?} instead of {:?}", said.target));
            let all = answer.into_iter().chain(target);
            wrong.extend(all.map(|text| format!("{}, by {way}: {text}", case.name)));
        }
        for (way, head) in [("explain", &by_explain.head), ("protocol", &by_wire.head)] {
            wrong.extend(
                case.missing_in(head)
                    .map(|text| format!("{}, by {way}: {text}", case.name)),
            );
        }
        let difference = outside::compare(case, by_explain.head, by_wire.head);
        wrong.extend(difference.map(|text| format!("{}: {text}", case.name)));
    }
    assert!(
        wrong.is_empty(),
        "{} differences in {} cases:\n{}",
        wrong.len(),
        corpus.cases.len(),
        wrong.join("\n")
    );
}

/// One test a file, so that they run side by side; and no file without a test.
macro_rules! files {
    ($($test:ident: $file:literal),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            agree($file).await;
        })+

        #[test]
        fn every_file_is_run_and_there_are_enough_cases() {
            let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases")).unwrap();
            let mut found: Vec<String> = folder
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            let mut run = vec![$(format!("{}.toml", $file)),+];
            found.sort();
            run.sort();
            assert_eq!(found, run);
            let cases: usize = run.iter().map(|file| case::text_of(file).matches("[[case]]").count()).sum();
            assert!(cases >= 120, "{cases} cases");
        }
    };
}

files! {
    three_ways_agree_on_every_pair_of_the_chain: "chain",
    three_ways_agree_on_tokens: "tokens",
    three_ways_agree_on_keys_and_secrets: "secrets",
    three_ways_agree_on_authorisation: "authorisation",
    three_ways_agree_on_routes: "routes",
    three_ways_agree_on_malformed_requests: "malformed",
    three_ways_agree_on_addresses: "addresses",
    three_ways_agree_on_headers: "headers",
    three_ways_agree_on_issuers_out_of_reach: "unavailable",
    three_ways_agree_on_fixed_answers_and_redirects: "answers",
    three_ways_agree_on_paths: "paths",
    three_ways_agree_on_cross_origin_requests: "cors",
}
