//! The published schema of reports, to which each report is held.

use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use jsonschema::Validator;

/// Faults that are worth reading.
const MOST: usize = 5;

fn validator() -> Result<&'static Validator> {
    static VALIDATOR: OnceLock<Result<Validator, String>> = OnceLock::new();
    let made = VALIDATOR.get_or_init(|| {
        let schema = include_str!("../../docs/leaktrace-report.schema.json");
        let schema = serde_json::from_str(schema).map_err(|error| error.to_string())?;
        jsonschema::validator_for(&schema).map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|error| anyhow!("the schema: {error}"))
}

/// Whether a report is as the schema has it.
pub(crate) fn check(report: &str) -> Result<()> {
    let report = serde_json::from_str(report).context("a report that is no JSON")?;
    let faults: Vec<String> = validator()?
        .iter_errors(&report)
        .take(MOST)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    ensure!(faults.is_empty(), "not as the schema has it:\n{}", faults.join("\n"));
    Ok(())
}
