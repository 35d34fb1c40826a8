//! What came out, and the medians over the rounds.

use std::collections::BTreeMap;

/// Named values of one measurement.
pub(crate) type Sample = BTreeMap<String, f64>;

pub(crate) enum Outcome {
    Measured(Sample),
    /// The server cannot do what the cell asks for.
    NotApplicable,
    Failed(String),
}

#[derive(Default)]
pub(crate) struct Results(Vec<Measurement>);

struct Measurement {
    round: usize,
    cell: &'static str,
    server: String,
    outcome: Outcome,
}

/// What a row says of a server.
pub(crate) enum Summary {
    Median(f64),
    NotApplicable,
    Failed,
    NotMeasured,
}

impl Results {
    pub(crate) fn push(&mut self, round: usize, cell: &'static str, server: &str, outcome: Outcome) {
        self.0.push(Measurement { round, cell, server: server.to_owned(), outcome });
    }

    /// The median over the rounds; one failure spoils it.
    pub(crate) fn summary(&self, cell: &str, server: &str, value: &str) -> Summary {
        let mut values = Vec::new();
        for measurement in self.of(cell, server) {
            match &measurement.outcome {
                Outcome::Measured(sample) => values.extend(sample.get(value)),
                Outcome::NotApplicable => return Summary::NotApplicable,
                Outcome::Failed(_) => return Summary::Failed,
            }
        }
        median(values).map_or(Summary::NotMeasured, Summary::Median)
    }

    /// The median of the ratios to another server in the same round.
    pub(crate) fn ratio(&self, cell: &str, server: &str, other: &str, value: &str) -> Option<f64> {
        let ratios = self.of(cell, server).filter_map(|own| {
            let same_round = self.of(cell, other).find(|measurement| measurement.round == own.round)?;
            Some(own.value(value)? / same_round.value(value)?)
        });
        median(ratios.filter(|ratio| ratio.is_finite()).collect())
    }

    /// Each failure once, with its row and server.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures: Vec<_> = self.0.iter().filter_map(Measurement::failure).collect();
        failures.sort();
        failures.dedup();
        failures
    }

    pub(crate) fn has_failed(&self, server: &str) -> bool {
        self.0.iter().any(|measurement| measurement.server == server && measurement.failure().is_some())
    }

    fn of<'a>(&'a self, cell: &'a str, server: &'a str) -> impl Iterator<Item = &'a Measurement> {
        self.0.iter().filter(move |measurement| measurement.cell == cell && measurement.server == server)
    }
}

impl Measurement {
    fn value(&self, value: &str) -> Option<f64> {
        match &self.outcome {
            Outcome::Measured(sample) => sample.get(value).copied(),
            _ => None,
        }
    }

    fn failure(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Failed(reason) => Some(format!("{} on {}: {reason}", self.cell, self.server)),
            _ => None,
        }
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}
