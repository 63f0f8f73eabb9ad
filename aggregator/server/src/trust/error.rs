//! Why a draft was not changed or not signed.

use dsmil_authority::{BundleError, Fingerprint};
use dsmil_crypto::csr::CsrError;
use dsmil_crypto::identity::CertificateError;
use dsmil_crypto::issue::IssueError;
use dsmil_crypto::trust::TrustError;
use std::io;
use std::path::PathBuf;

/// Why a draft was not changed or not signed.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// The file could not be read or written.
    #[error("{path} cannot be read or written")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is too large for what it should be.
    #[error("{0} is larger than any draft or trust bundle: it is another file")]
    TooLarge(PathBuf),
    /// Not a draft of this format.
    #[error("draft_malformed: this is no draft of a trust bundle; `dsmil-aggregator trust add-issuer` begins one")]
    Malformed(#[source] serde_json::Error),
    /// A draft of another format.
    #[error(
        "draft_format: the draft has format {0}, this program knows format 1: sign it with the program that made it"
    )]
    Format(u8),
    /// The bundle that the draft came from is none of ours.
    #[error("the trust bundle inside the draft is refused: make the draft anew")]
    Base(#[source] TrustError),
    /// None of the roots that were given has signed the bundle that the draft came from.
    #[error(
        "draft_other_root: none of these roots has signed the trust bundle that the draft came from: give the root of this fleet"
    )]
    OtherRoot,
    /// A bundle has been published since.
    #[error(
        "draft_stale: the draft came from trust bundle {draft}, now {held} is in force: `trust discard`, then make it anew"
    )]
    Stale {
        /// The version it came from.
        draft: u64,
        /// The version in force.
        held: u64,
    },
    /// A request in it was changed after it was made.
    #[error("draft_altered: the request of issuer {name} does not fit its key: somebody has altered the draft")]
    Altered {
        /// The issuer.
        name: String,
        /// What is wrong with the request.
        source: CsrError,
    },
    /// Another root of the fleet has to sign too.
    #[error(
        "draft_root_missing: root {name} ({fingerprint}) is in the new trust bundle and has to sign: give its folder with one more --root, or retire it"
    )]
    RootMissing {
        /// The root's name.
        name: String,
        /// Its fingerprint.
        fingerprint: Fingerprint,
    },
    /// A root of another fleet was given.
    #[error("draft_other_fleet: root {0} is of another fleet: leave it out")]
    OtherFleet(Fingerprint),
    /// The clock of whoever signs is behind.
    #[error(
        "draft_clock: the bundle in the draft was signed more than a day after what this machine's clock says: set the clock"
    )]
    Clock,
    /// The clock of whoever has signed was ahead, and hosts would take its time for the present.
    #[error(
        "bundle_future: the trust bundle was signed more than a day after what our clock says: set whichever clock is wrong, and sign it again"
    )]
    Future,
    /// Not a name for an issuer.
    #[error(
        "{0:?} is no name for an issuer or an order key: 1 to 63 of a-z, 0-9, '-' and '.', a letter or digit at both ends"
    )]
    Name(String),
    /// An issuer of that name is there.
    #[error("there is one called {0} already: give another --name")]
    NameTaken(String),
    /// Not the key of an order key.
    #[error("draft_order_key: the public key of order key {0} is none: make the draft anew")]
    OrderKey(String),
    /// The key or root is there.
    #[error("{0} is in it already")]
    There(Fingerprint),
    /// Nothing is called so.
    #[error(
        "no issuer, no root and no order key is called {0:?}, and no fingerprint starts with it: `trust show` lists them"
    )]
    Unknown(String),
    /// Several are called so.
    #[error("{0:?} fits more than one: give more digits of the fingerprint")]
    Ambiguous(String),
    /// There would be no issuer.
    #[error("{0} is the last issuer, and without one no host gets in: add another first (`trust add-issuer`)")]
    LastIssuer(String),
    /// There would be no root.
    #[error("{0} is the last root, and without one nothing can be signed: add another first (`trust add-root`)")]
    LastRoot(String),
    /// More than fits into a bundle.
    #[error("no trust bundle holds that much: retire issuers or roots that are not used any more")]
    Limits(#[source] BundleError),
    /// A certificate in the bundle cannot be read.
    #[error("a certificate of the draft cannot be read: make the draft anew")]
    Certificate(#[from] CertificateError),
    /// A root could not certify.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A bundle is not taken.
    #[error(transparent)]
    Refused(TrustError),
    /// The result would be refused.
    #[error("the signed trust bundle would be refused")]
    Result(#[source] TrustError),
}

impl DraftError {
    /// The short name for logs and tests.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::TooLarge(_) => "draft_file",
            Self::Malformed(_) | Self::Certificate(_) => "draft_malformed",
            Self::Format(_) => "draft_format",
            Self::Base(error) | Self::Result(error) | Self::Refused(error) => error.name(),
            Self::OtherRoot => "draft_other_root",
            Self::Stale { .. } => "draft_stale",
            Self::Altered { .. } => "draft_altered",
            Self::RootMissing { .. } => "draft_root_missing",
            Self::OtherFleet(_) => "draft_other_fleet",
            Self::Clock => "draft_clock",
            Self::Future => "bundle_future",
            Self::Name(_) => "draft_name",
            Self::OrderKey(_) => "draft_order_key",
            Self::NameTaken(_) | Self::There(_) => "draft_twice",
            Self::Unknown(_) => "draft_unknown",
            Self::Ambiguous(_) => "draft_ambiguous",
            Self::LastIssuer(_) => "draft_last_issuer",
            Self::LastRoot(_) => "draft_last_root",
            Self::Limits(_) => "draft_limits",
            Self::Issue(_) => "draft_issue",
        }
    }
}
