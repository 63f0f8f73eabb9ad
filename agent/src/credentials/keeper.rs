//! Keeps identity and trust fresh: asks a join port when half of the leaf's life is over, and when the link was refused with
//! something that a renewal may mend.
//!
//! A renewal is proved by possession of the enrolled key, over the connection it is made on. So it needs no valid leaf: a
//! host that was off for a month renews first and connects then, and nobody has to come and touch it.

use super::record::Failure;
use super::schedule::{Now, Schedule};
use super::{Credentials, Held, Want};
use crate::addresses::Addresses;
use crate::join_port::{JoinPort, PortError};
use crate::settings::{Difference, differences};
use dsmil_crypto::csr::{self, CsrError};
use dsmil_crypto::identity::{Identity, IdentityError};
use dsmil_crypto::key::{SigningKey, sha384};
use dsmil_crypto::policy::{PolicyError, join_client};
use dsmil_crypto::trust::{JoinTrust, TrustError};
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::join::{Granted, HostSettings, JoinAnswer, JoinRequest, renewal_statement};
use dsmil_runtime::backoff::uniform;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{Stop, Supervisor};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;

/// A join port that has not taken the connection by then is not asked.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A join port that has not answered by then will not: it commits a renewal to disk before it does, which is milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The wall clock may step and a suspended host wakes late: the schedule is looked at this often at least.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Renews one host's credentials.
#[derive(Debug)]
pub struct Keeper {
    credentials: Credentials,
    /// What agent.toml says of this host. Its addresses are those of the start; those of now are in `addresses`.
    settings: HostSettings,
    addresses: Addresses,
    clock: Clock,
    stop: Stop,
    wishes: watch::Receiver<Option<super::Wish>>,
    /// What was told already of settings that differ.
    told: Vec<Difference>,
}

/// Why nothing was renewed.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    /// No answer.
    #[error("{address}: {source}")]
    Port { address: String, source: PortError },
    /// The answer is no.
    #[error("the aggregator refuses: {code}{}", if detail.is_empty() { String::new() } else { format!(", {detail}") })]
    Refused { code: ErrorCode, detail: String },
    /// An answer to another question.
    #[error("the aggregator answered another question than was asked")]
    OutOfTurn,
    /// The fleet has no bundle that is newer than ours, and ours has expired.
    #[error("the trust bundle has expired, and the aggregator has no newer one")]
    NoNewerBundle,
    /// The new leaf names somebody else.
    #[error("the new certificate is that of {found}, where {ours} asked")]
    OtherName { found: String, ours: String },
    /// Over before it began.
    #[error("the new certificate has expired already by this host's clock")]
    ClockAhead,
    /// The bundle was refused.
    #[error(transparent)]
    Bundle(#[from] TrustError),
    /// The identity cannot be used or written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No request could be made.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// Ours cannot be used at all.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl Keeper {
    /// A keeper of `credentials` for the host that `settings` are of. It asks the join ports of `addresses`, in turn.
    pub fn new(
        credentials: Credentials,
        settings: HostSettings,
        addresses: Addresses,
        supervisor: &Supervisor,
        clock: Clock,
    ) -> Self {
        let wishes = credentials.0.wish.subscribe();
        if !addresses.join().is_empty() {
            credentials.record().next = Some(clock.mono());
        }
        Self { credentials, settings, addresses, clock, stop: supervisor.stop(), wishes, told: Vec::new() }
    }

    /// Renews until the program stops.
    pub async fn run(mut self) -> Result<(), Infallible> {
        let mut schedule = Schedule::new(self.held().identity().validity(), self.now(), jitter());
        loop {
            if !self.has_somebody_to_ask().await {
                return Ok(());
            }
            let now = self.now();
            let due = schedule.next(now, self.held().stale());
            self.credentials.record().next = Some(due.at);
            if due.at > now.mono {
                tokio::select! {
                    () = self.clock.sleep_until(due.at.min(now.mono + LOOK_AGAIN)) => {}
                    _ = self.wishes.changed() => self.take_wish(&mut schedule),
                    () = self.stop.requested() => return Ok(()),
                }
                continue;
            }
            schedule.asking(now);
            let stop = self.stop.clone();
            let outcome = tokio::select! {
                outcome = Box::pin(self.attempt(due.want)) => outcome,
                () = stop.requested() => return Ok(()),
            };
            self.note(&mut schedule, outcome);
        }
    }

    /// Waits until there is a join port; false if the program stops before.
    async fn has_somebody_to_ask(&self) -> bool {
        if !self.addresses.join().is_empty() {
            return true;
        }
        // Nobody to ask; `check` and the status say so.
        self.credentials.record().next = None;
        tokio::select! {
            () = self.addresses.some_join() => true,
            () = self.stop.requested() => false,
        }
    }

    fn held(&self) -> std::sync::Arc<Held> {
        self.credentials.current()
    }

    fn now(&self) -> Now {
        Now { mono: self.clock.mono(), wall_s: self.held().now_s() }
    }

    fn take_wish(&mut self, schedule: &mut Schedule) {
        let wish = self.wishes.borrow_and_update().clone();
        if let Some(wish) = wish {
            tracing::info!(reason = wish.reason, "asking the join port: the link was refused");
            schedule.wish(wish.want);
        }
    }

    fn note(&mut self, schedule: &mut Schedule, outcome: Result<Want, RenewError>) {
        let now = self.now();
        let mut record = self.credentials.record();
        match outcome {
            Ok(got) => {
                schedule.succeeded(got, self.held().identity().validity(), now, jitter());
                record.failed = None;
                if got == Want::Identity {
                    // What was wished until now was about the identity that is gone.
                    self.wishes.mark_unchanged();
                    record.renewed = Some(now.mono);
                    tracing::info!("this host's identity was renewed");
                }
            }
            Err(error) => {
                let somebody_must_act = error.somebody_must_act();
                schedule.failed(now, somebody_must_act);
                tracing::warn!(code = error.code(), %error, remedy = error.remedy(), "nothing could be renewed");
                let (code, remedy) = (error.code().into(), error.remedy().into());
                let failure = Failure { code, what: error.to_string(), remedy, somebody_must_act };
                record.failed = Some((now.mono, failure));
            }
        }
    }

    /// Asks one join port after the other until one answers, whatever it says.
    async fn attempt(&mut self, want: Want) -> Result<Want, RenewError> {
        let held = self.held();
        let mut failed = None;
        for address in self.addresses.join() {
            match self.ask(&held, &address, want).await {
                Err(error @ RenewError::Port { .. }) => {
                    tracing::debug!(%error, "a join port gave no answer");
                    failed = Some(error);
                }
                outcome => return outcome,
            }
        }
        Err(failed.unwrap_or(RenewError::OutOfTurn))
    }

    async fn ask(&mut self, held: &Held, address: &str, want: Want) -> Result<Want, RenewError> {
        let floor_s = held.identity().validity().not_before.max(held.trust().bundle().issued_s);
        let client = join_client(JoinTrust::Held(held.trust().clone()), held.link().time.clone(), floor_s)?;
        let name = held.trust().trust_domain().aggregator_dns_name();
        let failed = |source| RenewError::Port { address: address.to_owned(), source };
        let port = JoinPort::connect(address, client, &name, &self.clock, CONNECT_WITHIN).await.map_err(failed)?;
        match want {
            Want::Bundle => {
                let request = JoinRequest::Bundle { held: held.trust().version() };
                let answer = port.ask(&request, ANSWER_WITHIN).await.map_err(failed)?;
                self.take_bundle(held, answer)
            }
            Want::Identity => {
                let key = SigningKey::generate().map_err(IdentityError::from)?;
                let request = self.renewal(held, &key, &port.exporter().map_err(failed)?)?;
                let answer = port.ask(&request, ANSWER_WITHIN).await.map_err(failed)?;
                match answer {
                    JoinAnswer::Granted(granted) => self.take_identity(held, &key, *granted),
                    other => Err(RenewError::of(other)),
                }
            }
        }
    }

    fn renewal(&self, held: &Held, key: &SigningKey, exporter: &[u8; 48]) -> Result<JoinRequest, RenewError> {
        let enrolled = held.identity().key()?;
        let csr = csr::request(key)?;
        let proof = enrolled.sign(&renewal_statement(exporter, &sha384(&csr).0)).map_err(IdentityError::from)?;
        let (host, public_key) = (self.settings.host.clone(), enrolled.public_key().to_vec());
        Ok(JoinRequest::Renew { host, public_key, csr, proof })
    }

    fn take_bundle(&self, held: &Held, answer: JoinAnswer) -> Result<Want, RenewError> {
        let is_new = match answer {
            JoinAnswer::Bundle(bundle) => self.credentials.accept_bundle(&bundle)?,
            JoinAnswer::UpToDate => false,
            other => return Err(RenewError::of(other)),
        };
        let expired = held.trust().is_expired(held.now_s());
        if is_new || !expired { Ok(Want::Bundle) } else { Err(RenewError::NoNewerBundle) }
    }

    fn take_identity(&mut self, held: &Held, key: &SigningKey, granted: Granted) -> Result<Want, RenewError> {
        let identity = Identity::of_key(granted.leaf, key)?;
        let (found, ours) = (identity.id(), held.identity().id());
        if found != ours {
            return Err(RenewError::OtherName { found: found.to_string(), ours: ours.to_string() });
        }
        if identity.validity().not_after <= held.now_s() {
            return Err(RenewError::ClockAhead);
        }
        // A bundle that is refused is logged and shown; the leaf is good all the same.
        let _ = self.credentials.accept_bundle(&granted.bundle);
        self.credentials.take_identity(identity)?;
        self.compare(&granted.settings);
        Ok(Want::Identity)
    }

    /// agent.toml stays as it is; where the centre says something else, the log tells, once.
    fn compare(&mut self, centre: &HostSettings) {
        let (aggregators, join_addresses) = (self.addresses.aggregators(), self.addresses.join());
        let here = HostSettings { aggregators, join_addresses, ..self.settings.clone() };
        let found = differences(&here, centre);
        for difference in found.iter().filter(|difference| !self.told.contains(difference)) {
            tracing::warn!("{difference}: agent.toml counts; change it there if the centre is right");
        }
        self.told = found;
    }
}

impl RenewError {
    fn of(answer: JoinAnswer) -> Self {
        match answer {
            JoinAnswer::Refused { code, detail } => Self::Refused { code: ErrorCode::from_number(code), detail },
            _ => Self::OutOfTurn,
        }
    }

    /// Whether asking again soon is of no use: the answer stays the same until somebody does something.
    fn somebody_must_act(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: ErrorCode::Revoked
                    | ErrorCode::NotEnrolled
                    | ErrorCode::RenewalTooOld
                    | ErrorCode::RenewalWrongKey,
                ..
            }
        )
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Port { source, .. } => source.name(),
            Self::Refused { code, .. } => code.name(),
            Self::OutOfTurn => ErrorCode::OutOfTurn.name(),
            Self::NoNewerBundle => "trust_expired",
            Self::OtherName { .. } => ErrorCode::IdentityMismatch.name(),
            Self::ClockAhead => "clock_ahead",
            Self::Bundle(error) => error.name(),
            Self::Identity(_) => "identity_file",
            Self::Csr(_) | Self::Policy(_) => "identity_unusable",
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Port { source, .. } => source.remedy(),
            Self::Refused { code, .. } => code.remedy(),
            Self::OutOfTurn => ErrorCode::OutOfTurn.remedy(),
            Self::NoNewerBundle => ErrorCode::TrustUnavailable.remedy(),
            Self::OtherName { .. } => "Compare `host` in agent.toml with the certificate: `dsmil-agent check`.",
            Self::ClockAhead => {
                "Set this host's clock (`date --utc`): it is more than a day ahead of the aggregator's."
            }
            Self::Bundle(_) => {
                "See what `dsmil-aggregator trust show` says there; if the root was replaced, join again."
            }
            Self::Identity(_) => "See that the agent may write the folder of its identity: `dsmil-agent check`.",
            Self::Csr(_) | Self::Policy(_) => {
                "Join this host again with a new token: `dsmil-agent join TOKEN --again`."
            }
        }
    }
}

/// From 0 to 1, evenly.
fn jitter() -> f64 {
    uniform(Duration::from_secs(1)).as_secs_f64()
}
