//! A join port on loopback.

use super::{Fleet, NOW, settings};
use dsmil_authority::Fingerprint;
use dsmil_crypto::csr::CheckedCsr;
use dsmil_crypto::key::{key_fingerprint, sha384, verify};
use dsmil_crypto::policy::{exporter, join_server};
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::join::{
    EXPORTER_LABEL, Granted, HostSettings, JoinAnswer, JoinRequest, MAX_REQUEST_LEN, PREFIX_LEN, length,
    renewal_statement,
};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

/// What was asked, in short: the fingerprints of the keys concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Join { key: Fingerprint },
    Renew { by: Fingerprint, next: Fingerprint },
    Bundle { held: u64 },
}

/// Changes an answer before it is sent; nothing is an answer that is lost on the way.
type Twist = Box<dyn FnMut(JoinAnswer) -> Option<JoinAnswer> + Send>;

/// A join port that is there until it is dropped.
pub(crate) struct JoinServer {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    supervisor: Supervisor,
}

pub(crate) struct State {
    fleet: Fleet,
    now_s: i64,
    version: u64,
    settings: HostSettings,
    /// Whom leaves name.
    subject: String,
    /// Who may renew.
    enrolled: Vec<Fingerprint>,
    asked: Vec<Asked>,
    twist: Option<Twist>,
}

impl JoinServer {
    /// A join port of `fleet` at `now_s`, whose newest bundle has `version`.
    pub(crate) fn start(fleet: Fleet, now_s: i64, version: u64) -> Self {
        let bundle = dsmil_crypto::trust::Trust::own(&fleet.bundle_of(version, now_s)).expect("a bundle");
        let time = TimeSource::new(move || now_s);
        let keys = EndpointKeys::random();
        let config = join_server(&fleet.aggregator(now_s), &bundle, time, &keys).expect("a configuration");
        let socket = endpoint((Ipv4Addr::LOCALHOST, 0).into(), Some(config), &keys).expect("a socket");
        let address = socket.local_addr().expect("an address");
        let settings = settings("h1", vec![address.to_string()]);
        let (enrolled, asked) = (vec![], vec![]);
        let subject = settings.host.to_string();
        let state = State { fleet, now_s, version, settings, subject, enrolled, asked, twist: None };
        let state = Arc::new(Mutex::new(state));
        let supervisor = Supervisor::new(Clock::real());
        supervisor.spawn("join-server", OnFailure::Note, serve(socket, state.clone(), supervisor.clone()));
        Self { state, address, supervisor }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn token(&self, host: &str) -> String {
        self.with(|state| state.fleet.token(self.address.to_string(), host).text())
    }

    pub(crate) fn enrol(&self, key: Fingerprint) {
        self.with(|state| state.enrolled.push(key));
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.with(|state| state.asked.clone())
    }

    pub(crate) fn settings(&self) -> HostSettings {
        self.with(|state| state.settings.clone())
    }

    /// From now on answers go through `twist`.
    pub(crate) fn twist(&self, twist: impl FnMut(JoinAnswer) -> Option<JoinAnswer> + Send + 'static) {
        self.with(|state| state.twist = Some(Box::new(twist)));
    }

    /// From now on answers are honest again.
    pub(crate) fn untwist(&self) {
        self.with(|state| state.twist = None);
    }

    pub(crate) fn refuse(&self, code: ErrorCode) {
        self.twist(move |_| Some(JoinAnswer::refused(code, "as the test wants it")));
    }

    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().expect("no test panics with it"))
    }
}

impl Drop for JoinServer {
    fn drop(&mut self) {
        self.supervisor.request_stop();
    }
}

async fn serve(socket: quinn::Endpoint, state: Arc<Mutex<State>>, supervisor: Supervisor) -> Result<(), Infallible> {
    let stop = supervisor.stop();
    loop {
        let incoming = tokio::select! {
            incoming = socket.accept() => incoming,
            () = stop.requested() => None,
        };
        let Some(incoming) = incoming else { break };
        let state = state.clone();
        supervisor.spawn("join-connection", OnFailure::Note, async move {
            let connection = incoming.await?;
            // Ends with the connection.
            let _ = answer(&connection, &state).await;
            connection.closed().await;
            Ok::<(), quinn::ConnectionError>(())
        });
    }
    socket.close(quinn::VarInt::from_u32(0), b"");
    Ok(())
}

async fn answer(connection: &quinn::Connection, state: &Mutex<State>) -> Option<()> {
    let (mut send, mut receive) = connection.accept_bi().await.ok()?;
    let mut prefix = [0; PREFIX_LEN];
    receive.read_exact(&mut prefix).await.ok()?;
    let mut body = vec![0; length(prefix, MAX_REQUEST_LEN).ok()?];
    receive.read_exact(&mut body).await.ok()?;
    let exporter = exporter(connection, EXPORTER_LABEL).ok()?;
    let answer = {
        let mut state = state.lock().expect("no test panics with it");
        let honest = state.judge(JoinRequest::decode(&body).ok()?, &exporter);
        match &mut state.twist {
            Some(twist) => twist(honest),
            None => Some(honest),
        }
    };
    match answer {
        Some(answer) => {
            send.write_all(&answer.encode()).await.ok()?;
            send.finish().ok()
        }
        None => {
            connection.close(quinn::VarInt::from_u32(9), b"lost on purpose");
            None
        }
    }
}

impl State {
    pub(crate) fn settings_mut(&mut self) -> &mut HostSettings {
        &mut self.settings
    }

    /// From now on leaves are those of another host.
    pub(crate) fn misname(&mut self, subject: &str) {
        self.subject = subject.to_owned();
    }

    pub(crate) fn forget(&mut self) {
        self.enrolled.clear();
    }

    fn judge(&mut self, request: JoinRequest, exporter: &[u8; 48]) -> JoinAnswer {
        let fingerprint = |csr: &[u8]| CheckedCsr::check(csr).expect("a sound request").fingerprint();
        match request {
            JoinRequest::Join { csr, .. } => {
                let key = fingerprint(&csr);
                self.asked.push(Asked::Join { key });
                self.enrolled = vec![key];
                self.grant(&csr)
            }
            JoinRequest::Renew { public_key, csr, proof, .. } => {
                let (by, next) = (key_fingerprint(&public_key), fingerprint(&csr));
                self.asked.push(Asked::Renew { by, next });
                if !self.enrolled.contains(&by) {
                    return JoinAnswer::refused(ErrorCode::RenewalWrongKey, "");
                }
                if !verify(&public_key, &renewal_statement(exporter, &sha384(&csr).0), &proof) {
                    return JoinAnswer::refused(ErrorCode::RenewalReplayed, "");
                }
                self.enrolled = vec![by, next];
                self.grant(&csr)
            }
            JoinRequest::Bundle { held } => {
                self.asked.push(Asked::Bundle { held });
                if held < self.version { JoinAnswer::Bundle(self.bundle()) } else { JoinAnswer::UpToDate }
            }
        }
    }

    fn bundle(&self) -> Vec<u8> {
        self.fleet.bundle_of(self.version, self.now_s.max(NOW))
    }

    fn grant(&self, csr: &[u8]) -> JoinAnswer {
        let leaf = self.fleet.leaf(&self.subject, csr, self.now_s);
        JoinAnswer::Granted(Box::new(Granted { leaf, bundle: self.bundle(), settings: self.settings.clone() }))
    }
}
