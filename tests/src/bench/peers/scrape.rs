//! node_exporter, and the two agents that scrape it: vmagent, and Prometheus in its agent mode.

use super::package::Found;
use super::place::Place;
use super::program::PeerProgram;
use super::rig::{Home, flag};
use std::ffi::OsString;
use std::net::SocketAddr;

/// node_exporter, and where it is scraped.
#[derive(Debug)]
pub(super) struct Exporter<'f> {
    pub(super) program: PeerProgram<'f>,
    address: SocketAddr,
}

/// node_exporter with its own choice of collectors. It is not started.
pub(super) fn node_exporter<'f>(found: &Found, home: &Home<'f>, place: &Place) -> anyhow::Result<Exporter<'f>> {
    let path = home.take(&found.path("usr/bin/prometheus-node-exporter"))?;
    let address = SocketAddr::new(place.address, place.free_port()?);
    let args = vec![flag("--web.listen-address", address.to_string())];
    let program = PeerProgram::new(home.rig.fleet.launcher(), place, "node_exporter", path, args);
    Ok(Exporter { program, address })
}

/// vmagent, which scrapes `exporter` each second and sends to `backend`. It is not started.
pub(super) fn vmagent<'f>(
    found: &Found,
    home: &Home<'f>,
    place: &Place,
    exporter: &Exporter<'_>,
    backend: &str,
) -> anyhow::Result<PeerProgram<'f>> {
    let path = home.take(&found.path("usr/bin/vmagent"))?;
    let config = format!("global:\n  scrape_interval: 1s\n{}", targets(exporter));
    let args = vec![
        flag("-promscrape.config", home.write("vmagent.yml", &config)?),
        flag("-remoteWrite.url", backend),
        flag("-remoteWrite.tmpDataPath", home.data("vmagent-data")?),
        flag("-httpListenAddr", listen(place)?),
    ];
    Ok(PeerProgram::new(home.rig.fleet.launcher(), place, "vmagent", path, args))
}

/// Prometheus as an agent, which scrapes `exporter` each second and sends to `backend`. It is not started.
pub(super) fn prometheus<'f>(
    found: &Found,
    home: &Home<'f>,
    place: &Place,
    exporter: &Exporter<'_>,
    backend: &str,
) -> anyhow::Result<PeerProgram<'f>> {
    let path = home.take(&found.path("usr/bin/prometheus"))?;
    // Its timeout is 10 s otherwise, which may not be longer than the interval.
    let config = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nremote_write:\n  - url: {backend}\n{}",
        targets(exporter)
    );
    let args = vec![
        OsString::from("--enable-feature=agent"),
        flag("--config.file", home.write("prometheus.yml", &config)?),
        flag("--storage.agent.path", home.data("prometheus-data")?),
        flag("--web.listen-address", listen(place)?),
    ];
    Ok(PeerProgram::new(home.rig.fleet.launcher(), place, "prometheus", path, args))
}

fn targets(exporter: &Exporter<'_>) -> String {
    format!("scrape_configs:\n  - job_name: node\n    static_configs:\n      - targets: [\"{}\"]\n", exporter.address)
}

/// Where an agent answers for itself; nobody asks.
fn listen(place: &Place) -> anyhow::Result<String> {
    Ok(SocketAddr::new(place.address, place.free_port()?).to_string())
}
