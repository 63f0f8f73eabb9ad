//! Identity and refusals as the API tells them: which protection every session has, whom this aggregator trusts, who is
//! enrolled, and who was refused for which reason and from where.
//!
//! `link` is the document of `/api/v1/security/link`; `trust`, `enrolment` and `refused` are its parts, which
//! `/health/pipeline`, `/metrics` and `/api/v1/hosts/{id}` use too. `log` is the security log.

pub(super) mod enrolment;
pub(super) mod link;
pub(super) mod log;
pub(super) mod refused;
pub(super) mod trust;

use super::problem::{Problem, ProblemKind};

/// The number of a parameter `limit`: `default` where it is left out, and never over `most`.
fn limit(text: Option<&str>, default: usize, most: usize) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(default) };
    match text.parse() {
        Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
        _ => Err(bad_parameter("limit", &format!("give a number from 1 to {most}, or leave it out"))),
    }
}

fn bad_parameter(name: &str, remedy: &str) -> Problem {
    Problem::new(ProblemKind::BadRequest, format!("the parameter {name} is not valid")).remedy(remedy)
}

/// The API tells all times in milliseconds since 1970; certificates and bundles have seconds.
fn ms(seconds: i64) -> i64 {
    seconds.saturating_mul(1000)
}
