//! The tables of refusals: codes of the protocol, handshakes, requests to the API; each with what to do about it.

use super::runbooks::{OF_QUERIES, of_code, of_problem, of_refusal};
use super::source::variants;
use super::{Page, table};
use dsmil_aggregator::api::ProblemKind;
use dsmil_crypto::refusal::Refusal;
use dsmil_protocol::error::ErrorCode;

const ERROR_SOURCE: &str = include_str!("../../../protocol/src/error.rs");
const REFUSAL_SOURCE: &str = include_str!("../../../crypto/src/refusal.rs");
const PROBLEM_SOURCE: &str = include_str!("../../../aggregator/server/src/api/problem.rs");

/// The error codes.
pub(super) fn errors() -> Page {
    let meanings = variants(ERROR_SOURCE);
    let rows = ErrorCode::ALL.iter().map(|code| {
        let meaning = meanings.get(&format!("{code:?}")).cloned().unwrap_or_default();
        let (number, name) = (code.number().to_string(), format!("`{}`", code.name()));
        [number, name, meaning, code.remedy().to_owned(), of_code(*code).link()]
    });
    Page::markdown(
        "errors.md",
        "Error codes",
        "Why a frame, a batch or a peer was refused, and what to do about it. The number crosses the wire; the name is in logs, \
         in `dsmilctl` and in the labels of metrics.",
        &table(["code", "name", "meaning", "what to do", "runbook"], rows),
    )
}

/// Why handshakes come to nothing.
pub(super) fn refusals() -> Page {
    let meanings = variants(REFUSAL_SOURCE);
    let rows = Refusal::ALL.iter().map(|refusal| {
        let meaning = meanings.get(&format!("{refusal:?}")).cloned().unwrap_or_default();
        let (remedy, section) = of_refusal(*refusal);
        [format!("`{}`", refusal.as_str()), meaning, remedy.to_owned(), section.link()]
    });
    Page::markdown(
        "refusals.md",
        "Refused handshakes",
        "Why a connection came to nothing before a frame was read: the label `reason` of `dsmil_refusals_total`, and `reason` in \
         `GET /api/v1/security/link`, in the security log and in `dsmilctl host status`. Refusals after the handshake have the \
         names of [errors.md](errors.md).",
        &table(["reason", "meaning", "what to do", "runbook"], rows),
    )
}

/// How the API says no.
pub(super) fn problems() -> Page {
    let meanings = variants(PROBLEM_SOURCE);
    let rows = ProblemKind::ALL.iter().map(|kind| {
        let meaning = meanings.get(&format!("{kind:?}")).cloned().unwrap_or_default();
        let status = kind.status().as_u16().to_string();
        [format!("`{}`", kind.urn()), status, meaning, kind.remedy().to_owned(), of_problem(*kind).link()]
    });
    let queries = OF_QUERIES
        .map(|(name, status, meaning, section)| [format!("`{name}`"), status.into(), meaning.into(), section.link()]);
    let body = format!(
        "{}\n## Queries\n\nUnder `/prometheus` errors are in Prometheus's form; this is `errorType`.\n\n{}",
        table(["type", "status", "meaning", "what to do", "runbook"], rows),
        table(["errorType", "status", "meaning, and what to do", "runbook"], queries),
    );
    Page::markdown(
        "problems.md",
        "Refused requests",
        "How the HTTPS API says no: a problem document (RFC 9457). `detail` says what is wrong this time, `remedy` what to do about \
         it. A request whose line and headers have more than 16 KiB gets 431 and no document.",
        &body,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_meaning_a_remedy_and_a_runbook() {
        for page in [errors(), refusals(), problems()] {
            for line in page.text.lines().filter(|line| line.starts_with("| ")) {
                let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
                assert!(cells.iter().all(|cell| !cell.is_empty()), "{}: {line}", page.name);
            }
        }
        let rows = |page: &Page| page.text.lines().filter(|line| line.contains("](../runbooks/")).count();
        assert_eq!(rows(&errors()), ErrorCode::ALL.len());
        assert_eq!(rows(&refusals()), Refusal::ALL.len());
        assert_eq!(rows(&problems()), ProblemKind::ALL.len() + OF_QUERIES.len());
    }
}
