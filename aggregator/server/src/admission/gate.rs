//! What an accept loop calls: asks admission about each peer, answers those it does not let in, and runs handshakes
//! within their time; every refusal is counted.

use super::{Admission, Place, Proof, Verdict};
use crate::refusals::{Port, Reason, Refused};
use crate::telemetry::Telemetry;
use dsmil_crypto::refusal::Refusal;
use dsmil_runtime::clock::Clock;
use std::net::IpAddr;

/// The gate of one port; clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Gate {
    port: Port,
    admission: Admission,
    telemetry: Telemetry,
    clock: Clock,
}

/// A peer that gets a handshake.
#[derive(Debug)]
pub struct Admitted {
    incoming: quinn::Incoming,
    place: Place,
}

impl Gate {
    /// The gate of `port`; its refusals are counted in `telemetry`.
    pub fn new(port: Port, admission: Admission, telemetry: Telemetry, clock: Clock) -> Self {
        Self { port, admission, telemetry, clock }
    }

    /// Lets a peer in, or answers it and returns nothing. It never waits, so it can stand in the accept loop.
    pub fn admit(&self, incoming: quinn::Incoming) -> Option<Admitted> {
        let from = incoming.remote_address().ip();
        let proof = if incoming.remote_address_validated() { Proof::Given } else { Proof::None };
        match self.admission.ask(from, proof) {
            Verdict::Admit(place) => return Some(Admitted { incoming, place }),
            Verdict::ProveAddress => {
                // It fails only for an address that is proven already, and such a one is not asked for a proof.
                let _ = incoming.retry();
            }
            Verdict::Refuse(_) => {
                self.refused(from, Refusal::Busy);
                incoming.refuse();
            }
            // Admission counts them; most have forged addresses, which must not push true ones out of the table.
            Verdict::Ignore => incoming.ignore(),
        }
        None
    }

    /// Runs the handshake of a peer that was let in; nothing if it failed or took too long. Give it a task of its own:
    /// one slow peer must not hold the accept loop.
    pub async fn handshake(&self, admitted: Admitted) -> Option<(quinn::Connection, Place)> {
        let Admitted { incoming, place } = admitted;
        let from = incoming.remote_address().ip();
        let handshake = async { incoming.accept()?.await };
        let error = tokio::select! {
            connection = handshake => match connection {
                Ok(connection) => return Some((connection, place)),
                Err(error) => error,
            },
            () = self.clock.sleep(place.within()) => quinn::ConnectionError::TimedOut,
        };
        let refused = Refused::of_quic(self.port, &error);
        tracing::debug!(%from, reason = refused.reason.as_str(), "a handshake failed");
        self.telemetry.refused.note(refused, from, self.clock.wall_ms());
        None
    }

    /// Counts that we refused a peer at `from`.
    pub fn refused(&self, from: IpAddr, reason: impl Into<Reason>) {
        self.telemetry.refused.note(Refused::by_us(self.port, reason), from, self.clock.wall_ms());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::AdmissionSection;
    use crate::refusals::Side;
    use dsmil_authority::{Issuer, TrustBundle};
    use dsmil_crypto::csr::CheckedCsr;
    use dsmil_crypto::issue::{FleetIssuer, FleetRoot, IssuerKey, LEAF_LIFETIME};
    use dsmil_crypto::policy::{join_client, join_server};
    use dsmil_crypto::refusal::refusal_reason;
    use dsmil_crypto::time::TimeSource;
    use dsmil_crypto::transport::{EndpointKeys, endpoint};
    use dsmil_crypto::trust::{JoinTrust, Trust, sign};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;
    use tokio::net::UdpSocket;

    const NOW: i64 = 1_800_000_000;
    const NAME: &str = "aggregator.fleet.example";

    /// A join port with its gate, and what connects to it.
    struct Rig {
        server: quinn::Endpoint,
        client: quinn::Endpoint,
        gate: Gate,
    }

    impl Rig {
        fn new(section: AdmissionSection, clock: &Clock) -> Self {
            let domain = "fleet.example".parse().expect("a domain");
            let root = FleetRoot::create(&domain, NOW).expect("a root");
            let key = IssuerKey::generate().expect("a key");
            let request = CheckedCsr::check(&key.request().expect("a request")).expect("sound");
            let certificates = vec![root.certify_issuer("main", &request, NOW).expect("certified").to_vec()];
            let issuer = FleetIssuer::new(&certificates, domain.clone(), key).expect("an issuer");
            let bundle = TrustBundle {
                version: 1,
                trust_domain: domain.to_string(),
                issued_s: NOW,
                expires_s: NOW + 1_000_000,
                roots: vec![root.certificate().to_vec()],
                issuers: vec![Issuer { name: "main".into(), certificates }],
                order_keys: vec![],
                revoked: vec![],
                retired: vec![],
            };
            let trust = Trust::own(&sign(&bundle, &[&root]).expect("signed")).expect("our own");
            let identity = issuer.issue_aggregator("main", NOW, LEAF_LIFETIME).expect("a leaf");
            let (time, keys) = (TimeSource::new(|| NOW), EndpointKeys::random());
            let config = join_server(&identity, &trust, time.clone(), &keys).expect("a server");
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let mut client = endpoint(any, None, &keys).expect("a port");
            client.set_default_client_config(join_client(JoinTrust::Held(trust), time, NOW).expect("a client"));
            let server = endpoint(any, Some(config), &keys).expect("a port");
            let admission = Admission::new(&section, clock.clone()).expect("within the ranges");
            Self { server, client, gate: Gate::new(Port::Join, admission, Telemetry::default(), clock.clone()) }
        }

        fn connect(&self, to: SocketAddr) -> quinn::Connecting {
            self.client.connect(to, NAME).expect("a sound address")
        }

        async fn accept(&self) -> Option<Admitted> {
            self.gate.admit(self.server.accept().await.expect("it is open"))
        }
    }

    #[tokio::test]
    async fn an_honest_peer_proves_its_address_when_it_is_told_to() {
        let section = AdmissionSection { half_open_unproven: 0, ..AdmissionSection::default() };
        let rig = Rig::new(section, &Clock::real());
        let serve = async {
            assert!(rig.accept().await.is_none(), "it is told to prove its address first");
            let admitted = rig.accept().await.expect("it has proven it");
            rig.gate.handshake(admitted).await.expect("a connection")
        };
        let to = rig.server.local_addr().expect("bound");
        let (connected, (_connection, place)) = tokio::join!(rig.connect(to), serve);
        connected.expect("connected");
        let now = rig.gate.admission.occupancy();
        assert_eq!((now.proofs_asked, now.half_open, now.unproven, now.addresses), (1, 1, 0, 1));
        drop(place);
        assert_eq!(rig.gate.admission.occupancy().half_open, 0);
        assert!(rig.gate.telemetry.refused.totals().is_empty());
    }

    #[tokio::test]
    async fn a_peer_over_a_limit_hears_that_we_are_busy_and_is_counted() {
        let rig = Rig::new(AdmissionSection { connections: 4, ..AdmissionSection::default() }, &Clock::real());
        let held: Vec<Verdict> =
            (1..=4).map(|n| rig.gate.admission.ask(IpAddr::from([10, 0, 0, n]), Proof::Given)).collect();
        assert!(held.iter().all(|verdict| matches!(verdict, Verdict::Admit(_))));
        let to = rig.server.local_addr().expect("bound");
        let (connected, admitted) = tokio::join!(rig.connect(to), rig.accept());
        assert!(admitted.is_none());
        assert_eq!(refusal_reason(&connected.expect_err("refused")), Refusal::Busy);
        let sources = rig.gate.telemetry.refused.sources();
        assert_eq!((sources.len(), sources[0].count), (1, 1));
        assert_eq!(sources[0].refused, Refused::by_us(Port::Join, Refusal::Busy));
        assert_eq!(sources[0].network.to_string(), "127.0.0.1");
    }

    #[tokio::test]
    async fn a_peer_that_says_hello_and_no_more_loses_its_place() {
        let (clock, hand) = Clock::manual();
        let rig = Rig::new(AdmissionSection::default(), &clock);
        // What a client says first, said by somebody who then falls silent.
        let ear = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let _connecting = rig.connect(ear.local_addr().expect("bound"));
        let mut hello = [0; 2048];
        let length = ear.recv(&mut hello).await.expect("a hello");
        ear.send_to(&hello[..length], rig.server.local_addr().expect("bound")).await.expect("sent");

        let admitted = rig.accept().await.expect("a place");
        assert_eq!(rig.gate.admission.occupancy().unproven, 1);
        let real = Clock::real();
        let handshake =
            async { tokio::join!(rig.gate.handshake(admitted), async { hand.advance(Duration::from_secs(10)) }).0 };
        let connection = tokio::select! {
            connection = handshake => connection,
            () = real.sleep(Duration::from_secs(5)) => panic!("only QUIC's own time-out would end it"),
        };
        assert!(connection.is_none());
        assert_eq!(rig.gate.admission.occupancy().half_open, 0);
        let lost = Refused { port: Port::Join, side: Side::Peer, reason: Refusal::Lost.into() };
        assert_eq!(rig.gate.telemetry.refused.totals().get(&lost), Some(&1));
    }
}
