//! Which section of docs/runbooks helps with what. Every list is matched whole, so that a new code does not compile
//! without a line here; a test follows each link.

use dsmil_aggregator::api::ProblemKind;
use dsmil_crypto::refusal::Refusal;
use dsmil_protocol::error::ErrorCode;

/// A section: the file, and the heading's anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section(&'static str, &'static str);

const CANNOT_JOIN: Section = Section("identity.md", "a-host-cannot-join");
const HOST_REFUSED: Section = Section("identity.md", "a-host-is-refused");
const MISBEHAVES: Section = Section("identity.md", "a-host-is-stolen-or-misbehaves");
const BUNDLE_ENDS: Section = Section("identity.md", "the-trust-bundle-runs-out");
const HANDSHAKE: Section = Section("identity.md", "a-handshake-fails");
const FULL: Section = Section("identity.md", "the-machine-is-full");
const OTHER_VERSION: Section = Section("wire.md", "the-peer-is-of-another-version");
const NOT_OURS: Section = Section("wire.md", "the-peer-is-none-of-ours");
const HOSTILE: Section = Section("wire.md", "the-peer-is-broken-or-hostile");
const CHANGED: Section = Section("wire.md", "bytes-changed");
const TWICE: Section = Section("wire.md", "a-frame-came-twice");
const CLASS: Section = Section("wire.md", "data-of-another-class-tenant-or-device");
const TWO_PEOPLE: Section = Section("wire.md", "two-people-have-to-sign");
const REQUEST: Section = Section("api.md", "a-request-is-refused");
const QUERY: Section = Section("api.md", "a-query-is-refused-or-slow");

impl Section {
    /// As a link from a generated page; the heading's own words stand for it.
    pub(super) fn link(self) -> String {
        let Self(file, anchor) = self;
        format!("[{}](../runbooks/{file}#{anchor})", anchor.replace('-', " "))
    }
}

/// The section for a code of the protocol.
pub(super) fn of_code(code: ErrorCode) -> Section {
    use ErrorCode as E;
    match code {
        E::BadMagic => NOT_OURS,
        E::BadVersion | E::BadType | E::BadFlags | E::TlvUnknown | E::NoCommonVersion | E::Unknown => OTHER_VERSION,
        E::BadLength | E::TlvMalformed | E::TlvMissing | E::TlvTwice | E::OutOfTurn | E::PayloadMalformed => HOSTILE,
        E::CsrInvalid | E::TooFast => HOSTILE,
        E::BadCrc | E::UnknownMetricSet | E::BatchMalformed => CHANGED,
        E::TenantMismatch | E::KineticRefused | E::NotDominated | E::NotCovered | E::NotOfThisHost => CLASS,
        E::Replay => TWICE,
        E::TokenInvalid | E::TokenExpired | E::TokenUsed | E::TokenWrongHost | E::TokenStale => CANNOT_JOIN,
        E::TwoPersonMissing | E::SameSigner => TWO_PEOPLE,
        E::NotEnrolled | E::Revoked | E::IdentityMismatch | E::KeyNotEnrolled | E::LeafExpired => HOST_REFUSED,
        E::IssuerRetired | E::RenewalWrongKey | E::RenewalTooOld => HOST_REFUSED,
        E::RenewalReplayed => MISBEHAVES,
        E::Busy => FULL,
        E::TrustUnavailable => BUNDLE_ENDS,
    }
}

/// What to do about a handshake that failed for this reason, and the section that says more.
pub(super) fn of_refusal(refusal: Refusal) -> (&'static str, Section) {
    use Refusal as R;
    match refusal {
        R::KeyExchange => (
            "Over HTTPS: update the client, or name its network in `api.allow_classical_from`. On the fleet link: compare `link.policy` at both ends.",
            HANDSHAKE,
        ),
        R::CipherSuite | R::SignatureScheme | R::TlsVersion | R::HandshakeFailure => {
            ("No agent of ours speaks so: find out what it is, by its address.", HANDSHAKE)
        }
        R::ApplicationProtocol => {
            ("Something else speaks on this port, or a peer of another version. Compare versions.", HANDSHAKE)
        }
        R::NoCertificate => ("On the fleet link: the host has to join. Agents always show one.", CANNOT_JOIN),
        R::UnknownRoot => (
            "The host is of another fleet, or has missed a change of roots: compare `dsmil-aggregator trust show` with `dsmilctl host status`.",
            HANDSHAKE,
        ),
        R::RetiredIssuer => {
            ("The agent renews by itself. If it lasts, see that it reaches the join port.", HOST_REFUSED)
        }
        R::Revoked => ("The key was shut out on purpose: `dsmil-aggregator trust show`.", HOST_REFUSED),
        R::TrustExpired => ("Sign a new trust bundle with the root and publish it.", BUNDLE_ENDS),
        R::Expired => (
            "The agent renews by itself. If it lasts, compare both clocks, and see that it reaches the join port.",
            HOST_REFUSED,
        ),
        R::NotYetValid => ("One of the two clocks is wrong: compare both with `date --utc`.", HANDSHAKE),
        R::WrongPurpose | R::WrongRole => {
            ("A certificate is at the wrong end: see which files were copied.", HANDSHAKE)
        }
        R::WrongName => (
            "The certificate names somebody else: join the host again; over HTTPS, ask by a name in `init --https-name`.",
            HANDSHAKE,
        ),
        R::WrongTrustDomain => ("The host is of another fleet: join it to this one.", HANDSHAKE),
        R::BadCertificate => ("The peer is broken or hostile. Look at its address and its log.", MISBEHAVES),
        R::Busy => ("The peer comes back by itself. If it lasts, look which limit is run into.", FULL),
        R::Lost => ("Nothing, if there are few. If there are many, look at the network between the two.", HANDSHAKE),
        R::Other => ("The log of whoever refused has the words.", HANDSHAKE),
    }
}

/// The section for a problem of the API.
pub(super) fn of_problem(kind: ProblemKind) -> Section {
    use ProblemKind as P;
    match kind {
        P::BadRequest | P::Unauthorized | P::NotFound | P::MethodNotAllowed | P::NotAcceptable => REQUEST,
        P::PayloadTooLarge | P::UnsupportedMediaType => REQUEST,
        P::ServiceUnavailable => QUERY,
    }
}

/// The kinds of errors of queries: what they mean, what to do, and where more is said. The OpenAPI document names the same.
pub(super) const OF_QUERIES: [(&str, &str, &str, Section); 5] = [
    (
        "bad_data",
        "400",
        "A parameter is wrong, or the query is more than a plain selector. The message says where.",
        QUERY,
    ),
    (
        "execution",
        "422",
        "The answer would be too large. Narrow the selector, shorten the time, or raise the step.",
        QUERY,
    ),
    ("timeout", "503", "It took too long. Ask for less time or fewer series.", QUERY),
    ("unavailable", "503", "Too much is asked at once. Try again.", QUERY),
    ("internal", "500", "The store failed. The aggregator's log says how.", QUERY),
];
