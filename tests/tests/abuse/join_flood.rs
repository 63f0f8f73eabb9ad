//! A join port under a flood of wrong tokens, and the host that joins and renews meanwhile.

use crate::rig::{Rig, Setup, drill};
use crate::villain::endpoint_at;
use anyhow::{Context, ensure};
use dsmil_agent::join::{JoinOptions, join};
use dsmil_agent::join_port::JoinPort;
use dsmil_aggregator::credentials::time_source;
use dsmil_crypto::csr;
use dsmil_crypto::identity::Identity;
use dsmil_crypto::key::{SigningKey, sha384};
use dsmil_crypto::policy::join_client;
use dsmil_crypto::trust::JoinTrust;
use dsmil_protocol::ids::HostName;
use dsmil_protocol::join::{JoinAnswer, JoinRequest, renewal_statement};
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Attempts a second, and for how long.
const PER_SECOND: u32 = 1_000;
const SECONDS: u32 = 6;
/// Of a flood of this size so much gets a handshake and an answer at most.
const SHARE: f64 = 0.2;
/// Where they come from.
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 66, 0, 2));
/// A host that joins or renews meanwhile has to be through within this.
const THROUGH_WITHIN: Duration = Duration::from_secs(5);
/// 256 places of one address at less than 160 KB each, and what allocators keep.
const MEMORY: u64 = 64 << 20;

fn client(rig: &Rig<'_>) -> anyhow::Result<quinn::ClientConfig> {
    Ok(join_client(JoinTrust::Held(rig.trust.clone()), time_source(&rig.clock), rig.trust.bundle().issued_s)?)
}

/// Attempts with secrets that nobody gave.
async fn flood(rig: &Rig<'_>) -> anyhow::Result<()> {
    let (config, name) = (client(rig)?, rig.trust.trust_domain().aggregator_dns_name());
    let endpoint = endpoint_at(FROM)?;
    let supervisor = Supervisor::new(rig.clock.clone());
    let request = JoinRequest::Join { host: HostName::new("stranger-0001")?, secret: [7; 32], csr: vec![0; 5_000] };
    let asked = bytes::Bytes::from(request.encode());
    let start = rig.clock.mono();
    for number in 0..PER_SECOND * SECONDS {
        rig.clock.sleep_until(start + Duration::from_secs(1) * number / PER_SECOND).await;
        let (connecting, asked) = (endpoint.connect_with(config.clone(), rig.join, &name)?, asked.clone());
        supervisor.spawn("attempt", OnFailure::Note, async move {
            if let Ok(connection) = connecting.await
                && let Ok((mut send, mut receive)) = connection.open_bi().await
            {
                let _ = send.write_all(&asked).await;
                let _ = send.finish();
                let _ = receive.read_to_end(1 << 16).await;
                connection.close(quinn::VarInt::from_u32(0), b"");
            }
            Ok::<(), std::convert::Infallible>(())
        });
    }
    endpoint.close(quinn::VarInt::from_u32(0), b"");
    supervisor.drain(Duration::from_secs(2)).await;
    Ok(())
}

/// A real host joins with a token, as its engineer would have it.
async fn joins(rig: &Rig<'_>, token: &str) -> anyhow::Result<()> {
    rig.clock.sleep(Duration::from_secs(3)).await;
    let (from, folder) = (rig.clock.mono(), tempfile::tempdir()?);
    let (dir, state) = (folder.path().into(), folder.path().into());
    let options = JoinOptions { dir, state, again: false, within: THROUGH_WITHIN };
    join(token, &options, &rig.clock, &mut |_| {}).await.context("a host could not join beside the flood")?;
    println!("a host joined within {:?}", rig.clock.mono() - from);
    Ok(())
}

/// An enrolled host renews by its key.
async fn renews(rig: &Rig<'_>, host: &HostName, identity: &Identity) -> anyhow::Result<()> {
    rig.clock.sleep(Duration::from_secs(4)).await;
    let (from, name) = (rig.clock.mono(), rig.trust.trust_domain().aggregator_dns_name());
    let port = JoinPort::connect(&rig.join.to_string(), client(rig)?, &name, &rig.clock, THROUGH_WITHIN).await?;
    let (old, csr) = (identity.key()?, csr::request(&SigningKey::generate()?)?);
    let statement = renewal_statement(&port.exporter()?, &sha384(&csr).0);
    let proof = old.sign(&statement)?;
    let request = JoinRequest::Renew { host: host.clone(), public_key: old.public_key().to_vec(), csr, proof };
    let answer = port.ask(&request, THROUGH_WITHIN).await?;
    ensure!(matches!(answer, JoinAnswer::Granted(_)), "the renewal was answered with {answer:?}");
    println!("a host renewed within {:?}", rig.clock.mono() - from);
    Ok(())
}

#[test]
fn a_flood_of_wrong_tokens_is_counted_and_a_host_joins_and_renews_beside_it() {
    drill(&Setup { villains: 1, strangers: 1, ..Setup::default() }, async |rig| {
        rig.start().await?;
        let tokens = rig.centre.tokens(&rig.strangers)?;
        let token = &tokens.first().context("a token")?.token;
        let (host, identity) = &rig.villains[0];
        let attack = async {
            tokio::try_join!(flood(rig), joins(rig, token), renews(rig, host, identity))?;
            Ok(())
        };
        let began = rig.clock.mono();
        let damage = Box::pin(rig.beside(attack)).await?;
        let took = rig.clock.mono() - began;
        damage.memory_within(MEMORY)?;
        damage.cores_within(1.0)?;
        let invalid = damage.more(|m| m.refused("join", Some("token_invalid")));
        let busy = damage.more(|m| m.refused("join", Some("busy")));
        let ignored = damage.more(|m| m.get("dsmil_admission_ignored_total"));
        println!("{invalid} wrong tokens, {busy} turned away before a handshake, {ignored} not answered");
        ensure!(invalid > 0.0 && busy > 0.0, "a flood that is not counted");
        // What is let through goes by the clock, and a machine that is busy with something else takes longer over the flood.
        let most = SHARE * f64::from(PER_SECOND) * took.as_secs_f64();
        ensure!(invalid <= most, "{invalid} attempts got a handshake and an answer in {took:?}");
        rig.nobody_half_open().await?;
        logged_once_a_minute(rig)?;
        rig.finish().await?;
        Ok(())
    });
}

/// The security log of a flood has one row for each reason and minute, not one for each attempt.
fn logged_once_a_minute(rig: &mut Rig<'_>) -> anyhow::Result<()> {
    let log = rig.centre.cli(&["security", "log", "--json"])?;
    println!("security log: {} bytes", log.len());
    ensure!(log.len() < 64 << 10, "the security log has {} bytes after a flood of half a minute", log.len());
    Ok(())
}
