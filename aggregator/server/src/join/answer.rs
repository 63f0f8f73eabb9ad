//! What a host that joins or renews is answered.
//!
//! The order is the same for both: what costs nothing is looked at first, then the signatures, then the leaf is made, and
//! last everything is decided once more and written in one transaction. Only then is the leaf handed out.

use super::JoinPort;
use crate::credentials::Held;
use dsmil_crypto::csr::CheckedCsr;
use dsmil_crypto::issue::LEAF_LIFETIME;
use dsmil_crypto::join_token::secret_hash;
use dsmil_crypto::key::{key_fingerprint, sha384, verify};
use dsmil_crypto::policy::exporter;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::HostName;
use dsmil_protocol::join::{EXPORTER_LABEL, Granted, HostSettings, JoinAnswer, JoinRequest, renewal_statement};
use dsmil_protocol::session::aggregator::Grant;
use dsmil_store::state::{Join, JoinOutcome, Renew, RenewOutcome, StateError};

/// A refusal on its way to the peer.
struct Refusal(ErrorCode, String);

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self(code, code.remedy().to_string())
    }
}

impl From<StateError> for Refusal {
    fn from(error: StateError) -> Self {
        tracing::error!(%error, "the registry could not be asked");
        ErrorCode::Busy.into()
    }
}

impl JoinPort {
    /// Answers one request that came on `connection`.
    pub(super) async fn answer(&self, connection: &quinn::Connection, request: JoinRequest) -> JoinAnswer {
        let from = connection.remote_address().ip().to_string();
        let outcome = match request {
            JoinRequest::Join { host, secret, csr } => self.join(host, &secret, &csr, from).await,
            JoinRequest::Renew { host, public_key, csr, proof } => {
                let bound = match exporter(connection, EXPORTER_LABEL) {
                    Ok(exporter) => renewal_statement(&exporter, &sha384(&csr).0),
                    Err(_) => return JoinAnswer::refused(ErrorCode::OutOfTurn, ErrorCode::OutOfTurn.remedy()),
                };
                self.renew(host, &public_key, &csr, &bound, &proof, from).await
            }
            JoinRequest::Bundle { held } => Ok(self.bundle(held)),
        };
        outcome.unwrap_or_else(|Refusal(code, detail)| JoinAnswer::refused(code, &detail))
    }

    async fn join(&self, host: HostName, secret: &[u8; 32], csr: &[u8], from: String) -> Result<JoinAnswer, Refusal> {
        let now_ms = self.clock.wall_ms();
        let token = secret_hash(secret);
        // Who has no token is not worth a signature.
        let known = self.registry.state().token(token).await?.ok_or(ErrorCode::TokenInvalid)?;
        let grant = self.grant(&host)?;
        if known.host == host && !grant.devices.iter().eq(known.devices.iter()) {
            return Err(ErrorCode::TokenStale.into());
        }
        let csr = check(csr)?;
        let held = self.held(now_ms)?;
        let (leaf, leaf_not_after_s) = self.leaf(&held, &host, &csr, now_ms)?;
        let key = csr.fingerprint();
        let join = Join { token, host: host.clone(), key, leaf_not_after_s, now_ms, from: from.clone() };
        match self.registry.state().join(join).await? {
            JoinOutcome::Enrolled | JoinOutcome::Again => {}
            JoinOutcome::TokenUnknown => return Err(ErrorCode::TokenInvalid.into()),
            JoinOutcome::TokenUsed => return Err(ErrorCode::TokenUsed.into()),
            JoinOutcome::TokenExpired => return Err(ErrorCode::TokenExpired.into()),
            JoinOutcome::TokenOfAnotherHost => return Err(ErrorCode::TokenWrongHost.into()),
            JoinOutcome::Revoked => return Err(ErrorCode::Revoked.into()),
        }
        tracing::info!(%host, from, "a host joined");
        self.granted(&held, leaf, grant)
    }

    async fn renew(
        &self,
        host: HostName,
        public_key: &[u8],
        csr: &[u8],
        statement: &[u8],
        proof: &[u8],
        from: String,
    ) -> Result<JoinAnswer, Refusal> {
        let now_ms = self.clock.wall_ms();
        let key = key_fingerprint(public_key);
        self.registry.ask(&host, &key, now_ms).await.map_err(|code| match code {
            ErrorCode::KeyNotEnrolled => ErrorCode::RenewalWrongKey,
            other => other,
        })?;
        let grant = self.grant(&host)?;
        if !verify(public_key, statement, proof) {
            return Err(ErrorCode::RenewalReplayed.into());
        }
        let csr = check(csr)?;
        let held = self.held(now_ms)?;
        let (leaf, leaf_not_after_s) = self.leaf(&held, &host, &csr, now_ms)?;
        let renew = Renew {
            host: host.clone(),
            key,
            next: csr.fingerprint(),
            leaf_not_after_s,
            max_offline_s: self.max_offline_s,
            now_ms,
            from: from.clone(),
        };
        match self.registry.state().renew(renew).await? {
            RenewOutcome::Granted => {}
            RenewOutcome::NotEnrolled => return Err(ErrorCode::NotEnrolled.into()),
            RenewOutcome::Revoked => return Err(ErrorCode::Revoked.into()),
            RenewOutcome::WrongKey => return Err(ErrorCode::RenewalWrongKey.into()),
            RenewOutcome::TooOld => return Err(ErrorCode::RenewalTooOld.into()),
        }
        tracing::debug!(%host, from, "a host renewed");
        self.granted(&held, leaf, grant)
    }

    fn bundle(&self, held: u64) -> JoinAnswer {
        let trust = &self.credentials.held().trust;
        if trust.version() > held { JoinAnswer::Bundle(trust.bytes().to_vec()) } else { JoinAnswer::UpToDate }
    }

    /// What the fleet file gives a host.
    fn grant(&self, host: &HostName) -> Result<Grant, Refusal> {
        let fleet = self.fleet.get();
        let entry = fleet.host(host).ok_or_else(|| {
            Refusal(ErrorCode::NotEnrolled, format!("the fleet file does not name {host}: add it there"))
        })?;
        Ok(entry.grant.clone())
    }

    /// Who we are, as long as we may issue at all.
    fn held(&self, now_ms: i64) -> Result<std::sync::Arc<Held>, Refusal> {
        let held = self.credentials.held();
        if held.trust.is_expired(now_ms.div_euclid(1000)) {
            return Err(ErrorCode::TrustUnavailable.into());
        }
        Ok(held)
    }

    fn leaf(&self, held: &Held, host: &HostName, csr: &CheckedCsr, now_ms: i64) -> Result<(Vec<u8>, i64), Refusal> {
        let now_s = now_ms.div_euclid(1000);
        let leaf = held.issuer.issue_agent(host.as_str(), csr, now_s, LEAF_LIFETIME).map_err(|error| {
            tracing::error!(%host, %error, "no leaf could be made");
            Refusal::from(ErrorCode::TrustUnavailable)
        })?;
        let lifetime = i64::try_from(LEAF_LIFETIME.as_secs()).unwrap_or(i64::MAX);
        let not_after_s = now_s.saturating_add(lifetime).min(held.issuer.validity().not_after);
        Ok((leaf.to_vec(), not_after_s))
    }

    fn granted(&self, held: &Held, leaf: Vec<u8>, grant: Grant) -> Result<JoinAnswer, Refusal> {
        let told = self.told.borrow().clone();
        let settings = HostSettings {
            tenant: self.tenant.clone(),
            host: grant.host,
            classification: grant.clearance,
            compartments: grant.compartments,
            devices: grant.devices.into_iter().collect(),
            aggregators: told.aggregators,
            join_addresses: told.join,
            key_exchange: told.link,
        };
        if !settings.is_bounded() {
            tracing::error!("[advertise] holds too many addresses, or one that is none");
            return Err(ErrorCode::Busy.into());
        }
        Ok(JoinAnswer::Granted(Box::new(Granted { leaf, bundle: held.trust.bytes().to_vec(), settings })))
    }
}

fn check(csr: &[u8]) -> Result<CheckedCsr, Refusal> {
    CheckedCsr::check(csr).map_err(|error| Refusal(ErrorCode::CsrInvalid, error.to_string()))
}
