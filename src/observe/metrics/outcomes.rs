//! One counter for each way a judgement ends: it holds, or it is refused by a code. Depends on `policy` for the codes.

use prometheus::{IntCounter, IntCounterVec};

use crate::policy::denial::Code;

/// Counters of what judgements came to.
#[derive(Debug)]
pub struct Outcomes {
    family: IntCounterVec,
    /// The labels of a refusal, without its code's name, which comes last.
    refused: Vec<String>,
    held: IntCounter,
    expected: Vec<(Code, IntCounter)>,
}

impl Outcomes {
    /// The series with the labels `held`, and those of each `expected` code after the labels `refused`, all there from now on.
    pub(super) fn new(
        family: &IntCounterVec,
        held: &[&str],
        refused: &[&str],
        expected: impl Iterator<Item = Code>,
    ) -> Self {
        let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
        Self {
            held: family.with_label_values(held),
            expected: expected.map(|code| (code, series(family, &refused, code))).collect(),
            family: family.clone(),
            refused,
        }
    }

    /// Counts one; `None`: it held.
    pub fn count(&self, denied: Option<Code>) {
        let Some(code) = denied else {
            return self.held.inc();
        };
        match self.expected.iter().find(|(expected, _)| *expected == code) {
            Some((_, counter)) => counter.inc(),
            None => series(&self.family, &self.refused, code).inc(),
        }
    }
}

fn series(family: &IntCounterVec, labels: &[String], code: Code) -> IntCounter {
    let labels: Vec<&str> = labels.iter().map(String::as_str).chain([code.name()]).collect();
    family.with_label_values(&labels)
}
